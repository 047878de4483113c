"""What is measured: environments and settings, in our names. Needs nothing but Python.

Peers read the same table and translate it; what they cannot do or do otherwise they tell themselves
(`measure.report`, ``differences``).
"""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Problem:
    """One environment with one set of settings.

    Args:
        name: Of the problem, on the command line and in the results.
        environment: Our id.
        settings: Fields of `PPOConfig`.
        steps: How long is trained.
        chunks: Evaluations on the way, at equal distances; the clock stands still meanwhile.
        episodes: Of each evaluation, all with the most likely actions.
        threshold: Mean return that counts as solved, for the time to return.
        options: Of the environment.
        seeds: How many agents are trained in one program.
        title: Of the problem, in tables.
        rounds: How often it is alternated between the contestants.
        limit: Seconds after which a run is given up, on a machine with nothing else to do.
        start_again: Whether ours is run once more, with the programs kept that it compiled.
    """

    name: str
    environment: str
    settings: dict[str, Any]
    steps: int
    chunks: int
    episodes: int
    threshold: float
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    seeds: int | None = None
    title: str = ""
    rounds: int = 3
    limit: float = 300.0
    start_again: bool = False

    @property
    def steps_per_iteration(self) -> int:
        """Decisions between two updates, of one agent."""
        return self.settings["num_envs"] * self.settings["num_steps"]

    @property
    def chunk(self) -> int:
        """Steps between two evaluations, of one agent: whole iterations."""
        size = self.steps_per_iteration
        return max(round(self.steps / self.chunks / size), 1) * size

    @property
    def minibatch_size(self) -> int:
        """Transitions in one gradient step."""
        return self.steps_per_iteration // self.settings["num_minibatches"]

    def quick(self) -> Problem:
        """The same, too short to learn anything, long enough for a first guess of the rate."""
        seeds = None if self.seeds is None else 4
        steps = max(8 * self.steps_per_iteration, self.steps // 25)
        return dataclasses.replace(self, steps=steps, chunks=4, episodes=2, seeds=seeds)


# The settings of the training notebook in brax's repository (its rate, discount, scale of rewards,
# epochs), for two cores: 256 environments instead of 2,048, windows of 20 steps, smaller networks.
# brax's 0.5 in front of the squared error and its vf_loss_coefficient of 0.5 make our
# value_coefficient of 0.25.
_BRAX: dict[str, Any] = {
    "num_envs": 256,
    "num_steps": 20,
    "num_epochs": 4,
    "num_minibatches": 8,
    "learning_rate": 3e-4,
    "discount": 0.97,
    "gae_lambda": 0.95,
    "clip_range": 0.3,
    "entropy_coefficient": 1e-2,
    "value_coefficient": 0.25,
    "max_grad_norm": 1.0,
    "adam_epsilon": 1e-8,
    "reward_scale": 10.0,
    "distribution": "tanh_normal",
    "normalize_observations": True,
    "observation_clip": 1e9,  # brax does not cut them
    "network": {
        "hidden": (64, 64, 64),
        "critic_hidden": (128, 128, 128),
        "activation": "swish",
        "kernel_init": "lecun_uniform",
        "hidden_scale": 1.0,
        "actor_output_scale": 1.0,
    },
}
# brax's own networks, which are made for another kind of machine: nearly all of the time goes into
# the critic's matrix products.
_BRAX_NETWORK = {
    **_BRAX["network"],
    "hidden": (32, 32, 32, 32),
    "critic_hidden": (256, 256, 256, 256, 256),
}

# PureJaxRL's ppo.py on CartPole, without the linear schedule, which rejax does not have.
_GYMNAX_CARTPOLE = {
    "num_envs": 4,
    "num_steps": 128,
    "num_epochs": 4,
    "num_minibatches": 4,
    "learning_rate": 2.5e-4,
    "discount": 0.99,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "entropy_coefficient": 0.01,
    "value_coefficient": 0.5,
    "max_grad_norm": 0.5,
    "adam_epsilon": 1e-5,
    "network": {"hidden": (64, 64), "critic_hidden": (64, 64), "activation": "tanh"},
}

PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "brax-inverted-pendulum",
            "brax/inverted_pendulum",
            _BRAX,
            title="brax inverted_pendulum, 256 environments",
            rounds=2,
            steps=307_200,
            chunks=6,
            episodes=32,
            threshold=950.0,
            options={"backend": "positional"},
        ),
        Problem(
            "brax-reacher",
            "brax/reacher",
            {**_BRAX, "discount": 0.95, "reward_scale": 5.0, "entropy_coefficient": 1e-3},
            title="brax reacher, 256 environments",
            rounds=2,
            steps=307_200,
            chunks=6,
            episodes=32,
            threshold=-10.0,
            options={"backend": "positional"},
        ),
        Problem(
            "brax-ant",
            "brax/ant",
            _BRAX,
            title="brax ant, 256 environments",
            start_again=True,
            rounds=2,
            steps=256_000,
            chunks=5,
            episodes=32,
            threshold=1000.0,
            options={"backend": "positional"},
        ),
        Problem(
            "brax-ant-wide",
            "brax/ant",
            {**_BRAX, "network": _BRAX_NETWORK},
            title="brax ant, 256 environments, brax's own networks",
            rounds=1,
            steps=102_400,
            chunks=5,
            episodes=32,
            threshold=1000.0,
            options={"backend": "positional"},
        ),
        Problem(
            "gymnax-cartpole",
            "gymnax/CartPole-v1",
            _GYMNAX_CARTPOLE,
            title="gymnax CartPole, one agent",
            start_again=True,
            rounds=3,
            steps=1_024_000,
            chunks=10,
            episodes=128,
            threshold=475.0,
        ),
        Problem(
            "gymnax-cartpole-32-seeds",
            "gymnax/CartPole-v1",
            _GYMNAX_CARTPOLE,
            title="gymnax CartPole, 32 seeds in one program",
            rounds=2,
            steps=102_400,
            chunks=4,
            episodes=16,
            threshold=475.0,
            seeds=32,
        ),
        Problem(
            "gym-cartpole",
            "gym/CartPole-v1",
            {
                # CleanRL's numbers of environments and steps, RL Baselines3 Zoo's rate and
                # discounts: what all three can do.
                "num_envs": 8,
                "num_steps": 128,
                "num_epochs": 4,
                "num_minibatches": 4,
                "learning_rate": 1e-3,
                "discount": 0.98,
                "gae_lambda": 0.9,
                "clip_range": 0.2,
                "entropy_coefficient": 0.0,
                "value_coefficient": 0.5,
                "max_grad_norm": 0.5,
                "adam_epsilon": 1e-5,
                "network": {"hidden": (64, 64), "critic_hidden": (64, 64), "activation": "tanh"},
            },
            title="Gymnasium CartPole, 8 environments",
            start_again=True,
            rounds=2,
            steps=500_000,
            chunks=10,
            episodes=20,
            threshold=475.0,
        ),
        Problem(
            "gym-halfcheetah",
            "gym/HalfCheetah-v5",
            {
                # Stable-Baselines3's defaults for PPO, with eight environments.
                "num_envs": 8,
                "num_steps": 256,
                "num_epochs": 10,
                "num_minibatches": 32,
                "learning_rate": 3e-4,
                "discount": 0.99,
                "gae_lambda": 0.95,
                "clip_range": 0.2,
                "entropy_coefficient": 0.0,
                "value_coefficient": 0.5,
                "max_grad_norm": 0.5,
                "adam_epsilon": 1e-5,
                "network": {"hidden": (64, 64), "critic_hidden": (64, 64), "activation": "tanh"},
            },
            title="Gymnasium HalfCheetah-v5, 8 environments",
            rounds=2,
            steps=300_000,
            chunks=5,
            episodes=8,
            threshold=1000.0,
            limit=900.0,
        ),
    )
}
