"""Learning is proven by learning: returns over seeds on known problems, with the presets."""

from __future__ import annotations

import pytest

from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.presets import preset_config
from heredity.environments import HostEnvironment, make
from heredity.training.evaluation import Evaluator
from heredity.training.runners import make_runner
from heredity.weights import unflatten

pytestmark = pytest.mark.usefixtures("well_compiled")

EPISODES = 100


def final_returns(name: str, total_timesteps: int, seeds: int, **options: str) -> list[float]:
    """Mean returns over 100 episodes after training with the preset, one for each seed."""
    config = preset_config("auto", name)
    environment = make(name, num_envs=config.num_envs, **options)
    algorithm = PPO(
        config,
        environment.observation_space,
        environment.action_space,
        schedule_timesteps=total_timesteps,
        action_repeat=environment.action_repeat,
    )
    shown = environment
    if isinstance(environment, HostEnvironment):
        shown = make(name, num_envs=10, **options)
    evaluator = Evaluator(algorithm.spec, shown, EPISODES)
    runner = make_runner(algorithm, environment, seed=0)
    returns = []
    for seed in range(seeds):
        # One compiled program serves all seeds.
        runner.begin(seed)
        iterations = -(-total_timesteps // algorithm.steps_per_iteration)
        assert runner.iterate(iterations)["finite"]
        evaluation = evaluator.evaluate(unflatten(runner.policy_leaves()), seed=1_000 + seed)
        returns.append(evaluation.mean)
    for made in (environment, shown):
        if isinstance(made, HostEnvironment):
            made.close()
    print(name, returns)
    return returns


# Each problem, and each path with both kinds of actions: brax has continuous ones on the device.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "total_timesteps", "least"),
    [
        ("gymnax/CartPole-v1", 200_000, 475),
        ("gym/CartPole-v1", 100_000, 475),
        ("gym/Pendulum-v1", 200_000, -200),
        ("gymnax/Acrobot-v1", 200_000, -100),
    ],
)
def test_classic_control_is_solved_by_every_seed(
    name: str, total_timesteps: int, least: float
) -> None:
    assert min(final_returns(name, total_timesteps, seeds=3)) >= least


@pytest.mark.slow
def test_a_brax_pendulum_is_balanced_by_every_seed() -> None:
    returns = final_returns("brax/inverted_pendulum", 200_000, seeds=3, backend="positional")
    assert min(returns) >= 950
