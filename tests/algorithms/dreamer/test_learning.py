"""Learning is proven by learning: a puzzle for a memory, solved by every seed.

Longer proofs (CartPole, pictures, the control suite) are recorded in docs/returns.md.
"""

from __future__ import annotations

import dataclasses

import pytest

from heredity.algorithms.dreamer.algorithm import Dreamer
from heredity.algorithms.dreamer.presets import preset_config
from heredity.environments import make
from heredity.training.evaluation import Evaluator
from heredity.training.runners import make_runner
from heredity.weights import unflatten

pytestmark = pytest.mark.usefixtures("well_compiled")

LENGTH = 3  # of an episode; only its first action can be known without a memory
MOST_STEPS = 6_000


@pytest.mark.slow
def test_what_needs_a_memory_is_learnt_by_every_seed() -> None:
    name = "probe/repeat-first"
    config = dataclasses.replace(preset_config("auto", name), imagination_length=4)
    environment = make(name, num_envs=config.num_envs, length=LENGTH)
    algorithm = Dreamer(config, environment.observation_space, environment.action_space)
    evaluator = Evaluator(algorithm.spec, environment, episodes=100)
    runner = make_runner(algorithm, environment, seed=0)

    def learnt(seed: int) -> float:
        """The return as soon as the puzzle is solved, or after the most steps."""
        found = 0.0
        runner.begin(seed)
        while found < 0.95 and runner.step < MOST_STEPS:
            assert runner.iterate(2)["finite"]
            found = evaluator.evaluate(unflatten(runner.policy_leaves()), seed=1_000 + seed).mean
        return found

    # One compiled program serves all seeds.
    returns = [learnt(seed) for seed in range(3)]
    print(returns)
    without_memory = 1 / LENGTH
    assert min(returns) >= 0.95 > without_memory
