"""Where the time of one iteration of ours goes; prints JSON.

Acting, the environments alone and learning are compiled and timed apart, the best of several
repeats each. What is compiled together can share work, so that the parts need not add up.
"""

import dataclasses
import functools
import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import heredity as hd
from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.collect import begin, collect, iteration
from heredity.algorithms.ppo.config import PPOConfig
from heredity.environments import JaxEnvironment
from heredity.training.host_runner import HostRunner
from problems import PROBLEMS

REPEATS, LEAST_SECONDS = 5, 0.5


def best(call, times=1):
    """Seconds of one of `times` things that a call does, at its best."""
    call()
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        call()
        found.append((time.perf_counter() - began) / times)
    return min(found)


def on_device(problem, config, environment, algorithm):
    """Each part in a loop of its own, inside one program."""
    constants, state = algorithm.init(jnp.uint32(0))
    first = jax.jit(lambda seed: begin(algorithm, environment, seed))
    state = dataclasses.replace(state, experience=first(np.uint32(0)))

    def params_of(state):
        return algorithm.all_params(constants, state)

    _, rollout, _ = jax.jit(lambda s: collect(algorithm, environment, params_of(s), s))(state)
    one = environment.action_space.sample(np.random.default_rng(0))
    actions = jnp.broadcast_to(jnp.asarray(one), (config.num_envs, *np.shape(one)))

    def touched(state, results):
        """The state, in a way that needs all results: else nobody would compute them."""
        leaves = [leaf.astype(jnp.float32) for leaf in jax.tree.leaves(results)]
        zero = 0.0 * sum(jnp.where(jnp.isfinite(leaf), leaf, 0.0).sum() for leaf in leaves)
        return dataclasses.replace(state, learning_rate=state.learning_rate + zero)

    def acting(state):
        experience, rollout, _ = collect(algorithm, environment, params_of(state), state)
        iterations = state.iterations.at[1].add(1)
        state = dataclasses.replace(state, experience=experience, iterations=iterations)
        return touched(state, rollout)

    def stepping(state):
        def step(states, _):
            states, result = jax.vmap(environment.step)(states, actions)
            return states, (result.observation, result.reward)

        experience = state.experience
        states, seen = jax.lax.scan(step, experience.environment, None, config.num_steps)
        state = dataclasses.replace(state, experience=experience._replace(environment=states))
        return touched(state, seen)

    parts = {
        "iteration": lambda state: iteration(algorithm, environment, constants, state)[0],
        "acting": acting,
        "environment": stepping,
        "learning": lambda state: algorithm.learn(constants, state, rollout)[0],
    }
    found = {}
    for name, part in parts.items():

        @functools.partial(jax.jit, static_argnums=1)
        def program(state, times, part=part):
            return jax.lax.fori_loop(0, times, lambda _, state: part(state), state)

        once = best(lambda program=program: jax.block_until_ready(program(state, 1)))
        times = max(int(LEAST_SECONDS / once), 1)
        found[name] = best(
            lambda program=program, times=times: jax.block_until_ready(program(state, times)), times
        )
    return found


def on_host(problem, config, environment, algorithm):
    """The runner's own steps, with a watch on them."""
    runner = HostRunner(algorithm, environment, 0)
    taken = {"environment": 0.0}
    step = environment.step

    def watched(actions):
        began = time.perf_counter()
        result = step(actions)
        taken["environment"] += time.perf_counter() - began
        return result

    runner.iterate(1)
    rollout, _ = runner._collect()
    copied = jax.jit(lambda state: jax.tree.map(jnp.copy, state))
    states = [jax.block_until_ready(copied(runner.state)) for _ in range(REPEATS + 1)]
    learning = best(
        lambda: jax.block_until_ready(runner._learn(runner.constants, states.pop(), rollout))
    )
    iteration = best(lambda: runner.iterate(3), 3)
    environment.step = watched
    acting = []
    for _ in range(REPEATS):
        taken["environment"] = 0.0
        began = time.perf_counter()
        runner._collect()
        acting.append((time.perf_counter() - began, taken["environment"]))
    return {
        "iteration": iteration,
        "acting": min(acting)[0],
        "environment": min(acting)[1],
        "learning": learning,
    }


problem = PROBLEMS[sys.argv[1]]
config = PPOConfig(**problem.settings)
environment = hd.make(problem.environment, config.num_envs, **problem.options)
algorithm = PPO(
    config,
    environment.observation_space,
    environment.action_space,
    schedule_timesteps=problem.steps,
)
on_jax = isinstance(environment, JaxEnvironment)
parts = (on_device if on_jax else on_host)(problem, config, environment, algorithm)
print(json.dumps({"problem": problem.name, "steps": problem.steps_per_iteration, **parts}))
