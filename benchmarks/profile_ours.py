"""Where the time of one iteration of ours goes; prints JSON.

The whole iteration, acting (environments included), the environments alone and learning take turns,
each in a program of its own that is compiled as a run compiles its one. The environments are given
actions that a rollout drew, from the same states on, and finished ones begin anew as in a rollout.
What a part gives is carried from one repetition to the next and handed out, so that nothing may be
left out. The environments are timed with twice as many steps as well: `profile_checks` looks
whether that takes twice as long, and whether the whole is longer than its parts.

Beside them stands what comes once in a while: compiling, calling the program from Python, and an
evaluation. ``--quick`` only sees that it runs.
"""

import dataclasses
import functools
import json
import statistics
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
from heredity.environments.infos import InfoMeans
from heredity.training.compilation import Compilations
from heredity.training.evaluation import Evaluator
from heredity.training.host_runner import HostRunner
from heredity.training.runners import DeviceRunner
from problems import PROBLEMS
from timing import seconds_in_turns

QUICK = "--quick" in sys.argv
ROUNDS, LEAST_SECONDS = (2, 0.02) if QUICK else (9, 0.3)


class Replaying(PPO):
    """Acts with actions that were drawn before: neither a network nor chance."""

    actions: jax.Array  # (T, B, ...)

    def noise(self, state):
        return self.actions

    def act(self, params, observation, noise, carry=(), is_first=None):
        nothing = jnp.zeros(0)
        return noise, (nothing, nothing, nothing), carry

    def value(self, params, observation, carry=(), is_first=None):
        return jnp.zeros(self.config.num_envs)


def first_calls(call):
    """What compiling takes, and how many programs: the first call without what the second takes."""
    counted, times = Compilations(), []
    for _ in range(2):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return {"compile_seconds": times[0] - times[1], "programs": counted.compiled}


def shown(rounds):
    """The median of each part; its share is the median of those within a round."""
    shares = {
        name: statistics.median(a / b for a, b in zip(each, rounds["iteration"], strict=True))
        for name, each in rounds.items()
    }
    return {
        **{name: statistics.median(each) for name, each in rounds.items()},
        "shares": shares,
        "rounds": rounds,
    }


def on_device(config, environment, algorithm):
    """Each part in a loop of its own, inside one program."""
    runner = DeviceRunner(algorithm, environment, 0)

    def advance(times):
        runner.state, sums = runner._advance(runner.constants, runner.state, np.int32(times))
        jax.device_get(sums)

    compiling = first_calls(lambda: runner.iterate(1))
    # Copies: an iteration gives the buffers of its state away.
    state, constants = jax.jit(lambda s: jax.tree.map(jnp.copy, s))(runner.state), runner.constants

    def params_of(state):
        return algorithm.all_params(constants, state)

    def acting(state, *_):
        return went_on(state, *collect(algorithm, environment, params_of(state), state))

    def went_on(state, experience, *rest):
        iterations = state.iterations.at[1].add(1)
        return dataclasses.replace(state, experience=experience, iterations=iterations), rest

    def stepping(lengths):
        """`lengths` rollouts one after another, without a policy."""
        longer = dataclasses.replace(config, num_steps=config.num_steps * lengths)
        spaces = environment.observation_space, environment.action_space
        replaying = Replaying(longer, *spaces, schedule_timesteps=problem.steps)

        def part(state, _, actions):
            replaying.actions = jnp.concatenate([actions] * lengths)
            return went_on(state, *collect(replaying, environment, {}, state))

        return part

    def learning(state, rollout, _):
        return algorithm.learn(constants, state, rollout)

    _, (rollout, _) = jax.jit(acting)(state)
    actions = jax.jit(algorithm.functions.family.to_action)(rollout.raw_actions)

    def repeating(part):
        """So many times, each going on from what the one before gave; all of it is handed out."""

        @functools.partial(jax.jit, compiler_options=runner._options)
        def program(state, rollout, actions, times):
            def body(_, carry):
                return part(carry[0], rollout, actions)

            made = jax.eval_shape(part, state, rollout, actions)[1]
            nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), made)
            return jax.lax.fori_loop(0, times, body, (state, nothing))

        return lambda times: jax.block_until_ready(
            program(state, rollout, actions, np.int32(times))
        )

    parts = {
        "iteration": advance,
        "acting": repeating(acting),
        "environment": repeating(stepping(1)),
        "environment_twice": repeating(stepping(2)),
        "learning": repeating(learning),
        # No iteration at all: arguments in, a condition looked at, sums out.
        "dispatch": lambda times: [advance(0) for _ in range(times)],
    }
    rounds = seconds_in_turns(parts, ROUNDS, LEAST_SECONDS)
    return {**compiling, **shown(rounds)}, params_of(state)


def on_host(config, environment, algorithm):
    """The runner's own steps, with a watch on the environment inside of them."""
    del config
    runner = HostRunner(algorithm, environment, 0)
    step, taken = environment.step, 0.0

    def watched(actions):
        nonlocal taken
        began = time.perf_counter()
        result = step(actions)
        taken += time.perf_counter() - began
        return result

    compiling = first_calls(lambda: runner.iterate(1))
    began = time.perf_counter()
    runner.iterate(1)
    times = max(round(LEAST_SECONDS / (time.perf_counter() - began)), 1)
    copied = jax.jit(lambda state: jax.tree.map(jnp.copy, state))
    names = ("iteration", "acting", "environment", "learning")
    rounds = {name: [] for name in names}
    for _ in range(ROUNDS):
        began = time.perf_counter()
        runner.iterate(times)
        rounds["iteration"].append((time.perf_counter() - began) / times)
        environment.step, taken = watched, 0.0
        began = time.perf_counter()
        for _ in range(times):
            rollout, _ = runner._collect(InfoMeans())
        rounds["acting"].append((time.perf_counter() - began) / times)
        rounds["environment"].append(taken / times)
        environment.step = step
        # Copies: learning gives the buffers of its state away.
        states = [jax.block_until_ready(copied(runner.state)) for _ in range(times)]
        began = time.perf_counter()
        for state in states:
            jax.block_until_ready(runner._learn(runner.constants, state, rollout))
        rounds["learning"].append((time.perf_counter() - began) / times)
    found = {**compiling, **shown(rounds), "dispatch": None, "environment_twice": None}
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
