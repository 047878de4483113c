"""Where the time of one iteration of ours goes; prints JSON.

The whole iteration, acting (environments included), the environments alone and learning are
compiled and timed apart, the best of several repeats each. What is compiled together can share
work, so that the parts need not add up. Beside them stands what comes once in a while: compiling,
calling the program from Python, and an evaluation.
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
from heredity.algorithms.ppo.collect import collect
from heredity.algorithms.ppo.config import PPOConfig
from heredity.environments import JaxEnvironment
from heredity.training.compilation import Compilations
from heredity.training.evaluation import Evaluator
from heredity.training.host_runner import HostRunner
from heredity.training.runners import DeviceRunner
from problems import PROBLEMS

REPEATS, LEAST_SECONDS = 5, 0.3


def best(call, times=1):
    """Seconds of one of `times` things that a call does, at its best."""
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        call()
        found.append((time.perf_counter() - began) / times)
    return min(found)


def often(once):
    """So many repeats take about `LEAST_SECONDS`."""
    return max(int(LEAST_SECONDS / max(once, 1e-6)), 1)


def first_calls(call):
    """What compiling takes, and how many programs: the first call without what the second takes."""
    counted, times = Compilations(), []
    for _ in range(2):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return {"compile_seconds": times[0] - times[1], "programs": counted.compiled}


def on_device(config, environment, algorithm):
    """Each part in a loop of its own, inside one program."""
    runner = DeviceRunner(algorithm, environment, 0)

    def advance(times):
        runner.state, sums = runner._advance(runner.constants, runner.state, np.int32(times))
        jax.device_get(sums)

    compiling = first_calls(lambda: runner.iterate(1))
    times = often(best(lambda: advance(1)))
    found = {
        **compiling,
        "iteration": best(lambda: advance(times), times),
        # No iteration at all: arguments in, a condition looked at, sums out.
        "dispatch": best(lambda: [advance(0) for _ in range(50)], 50),
    }
    state, constants = runner.state, runner.constants

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
            states, result = environment.step_batch(states, actions)
            return states, (result.observation, result.reward)

        experience = state.experience
        states, seen = jax.lax.scan(step, experience.environment, None, config.num_steps)
        state = dataclasses.replace(state, experience=experience._replace(environment=states))
        return touched(state, seen)

    def learning(state):
        return algorithm.learn(constants, state, rollout)[0]

    for name, part in {"acting": acting, "environment": stepping, "learning": learning}.items():

        @functools.partial(jax.jit, static_argnums=1)
        def program(state, times, part=part):
            return jax.lax.fori_loop(0, times, lambda _, state: part(state), state)

        def call(times, program=program):
            jax.block_until_ready(program(state, times))

        call(1)
        times = often(best(lambda call=call: call(1)))
        call(times)
        found[name] = best(lambda call=call, times=times: call(times), times)
    return found, params_of(state)


def on_host(config, environment, algorithm):
    """The runner's own steps, with a watch on them."""
    del config
    runner = HostRunner(algorithm, environment, 0)
    taken = {"environment": 0.0}
    step = environment.step

    def watched(actions):
        began = time.perf_counter()
        result = step(actions)
        taken["environment"] += time.perf_counter() - began
        return result

    compiling = first_calls(lambda: runner.iterate(1))
    times = often(best(lambda: runner.iterate(1)))
    iteration = best(lambda: runner.iterate(times), times)
    rollout, _ = runner._collect()
    copied = jax.jit(lambda state: jax.tree.map(jnp.copy, state))
    states = [jax.block_until_ready(copied(runner.state)) for _ in range(REPEATS + 1)]

    def learn():
        jax.block_until_ready(runner._learn(runner.constants, states.pop(), rollout))

    learn()
    learning = best(learn)
    environment.step = watched
    acting = []
    for _ in range(REPEATS):
        taken["environment"] = 0.0
        began = time.perf_counter()
        runner._collect()
        acting.append((time.perf_counter() - began, taken["environment"]))
    found = {
        **compiling,
        "iteration": iteration,
        "dispatch": None,
        "acting": min(acting)[0],
        "environment": min(acting)[1],
        "learning": learning,
    }
    return found, algorithm.all_params(runner.constants, runner.state)


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
parts, params = (on_device if on_jax else on_host)(config, environment, algorithm)
own = environment if on_jax else hd.make(problem.environment, min(problem.episodes, 8))
evaluator = Evaluator(algorithm.spec, own, problem.episodes)
evaluating = first_calls(lambda: evaluator.evaluate(params))
began = time.perf_counter()
lengths = evaluator.evaluate(params).lengths
found = {
    "problem": problem.name,
    "steps": problem.steps_per_iteration,
    **parts,
    "evaluation": time.perf_counter() - began,
    "evaluation_episodes": problem.episodes,
    "evaluation_steps": int(lengths.sum()),
    "evaluation_compile_seconds": evaluating["compile_seconds"],
}
print(json.dumps(found))
