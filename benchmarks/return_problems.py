"""What returns are recorded on: environments, lengths, and a peer's published settings.

Needs nothing but Python: peers are run in an environment of their own.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from problems import PROBLEMS


@dataclasses.dataclass(frozen=True)
class ReturnProblem:
    """One environment on which policies are trained to the end, over several seeds.

    Ours is trained with its preset, a peer with the settings its own project publishes: what is
    compared is how good the policies are after the same number of steps. Where `settings` are
    given, ours and brax train with these, by the scripts of the benchmark of speed.

    Args:
        name: On the command line, and of the file of results.
        environment: Our id.
        title: In tables.
        steps: How long everybody trains; rounded up to whole iterations.
        episodes: Of the one evaluation, of the last policy, with the most likely actions.
        options: Of the environment.
        together: Seeds trained side by side in one program of ours; 1 for one after another.
        stable_baselines3: Its settings, in its own names; empty where it is not run.
        settings: Of everybody, in our names, instead of each one's own; see `problems`.
        changed: Settings of ours that are not those of its preset.
        published: A number of somebody else's to compare with, and where it stands.
        published_curve: Steps and returns of somebody else, drawn beside ours.
        algorithm: Ours that trains.
    """

    name: str
    environment: str
    title: str
    steps: int
    episodes: int = 20
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    together: int = 1
    stable_baselines3: dict[str, Any] = dataclasses.field(default_factory=dict)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    changed: dict[str, Any] = dataclasses.field(default_factory=dict)
    published: str = ""
    published_curve: tuple[tuple[int, float], ...] = ()
    algorithm: Literal["PPO", "Dreamer"] = "PPO"

    @property
    def scripts(self) -> dict[str, str]:
        """Who is trained on it, by which script."""
        if self.settings:
            return {"ours": "ppo_ours.py", "brax": "ppo_brax.py"}
        peers = {"sb3": "returns_sb3.py"} if self.stable_baselines3 else {}
        return {"ours": "returns_ours.py", **peers}


def _as_measured(name: str) -> ReturnProblem:
    """A problem of the benchmark of speed, with the same settings for everybody."""
    measured = PROBLEMS[name]
    return ReturnProblem(
        name,
        measured.environment,
        f"{measured.title}, the same settings",
        steps=measured.chunk * measured.chunks,
        episodes=measured.episodes,
        options=measured.options,
        settings=measured.settings,
    )


# RL Baselines3 Zoo, hyperparams/ppo.yml at 22e3ff2 (2026-04-23). Its entries are for version 4 of
# the environments; it has none for version 5. All have one environment and `normalize: true`, that
# is observations and rewards, with the discount of the algorithm.
_ZOO_NETWORK = {
    "net_arch": {"pi": [256, 256], "vf": [256, 256]},
    "activation_fn": "ReLU",
    "log_std_init": -2,
    "ortho_init": False,
}
_ZOO_HALFCHEETAH = {
    "n_steps": 512,
    "batch_size": 64,
    "gamma": 0.98,
    "learning_rate": 2.0633e-05,
    "ent_coef": 0.000401762,
    "clip_range": 0.1,
    "n_epochs": 20,
    "gae_lambda": 0.92,
    "max_grad_norm": 0.8,
    "vf_coef": 0.58096,
    "policy_kwargs": _ZOO_NETWORK,
}
_ZOO_HOPPER = {
    "n_steps": 512,
    "batch_size": 32,
    "gamma": 0.999,
    "learning_rate": 9.80828e-05,
    "ent_coef": 0.00229519,
    "clip_range": 0.2,
    "n_epochs": 5,
    "gae_lambda": 0.99,
    "max_grad_norm": 0.7,
    "vf_coef": 0.835671,
    "policy_kwargs": _ZOO_NETWORK,
}
_ZOO_WALKER2D = {
    "n_steps": 512,
    "batch_size": 32,
    "gamma": 0.99,
    "learning_rate": 5.05041e-05,
    "ent_coef": 0.000585045,
    "clip_range": 0.1,
    "n_epochs": 20,
    "gae_lambda": 0.95,
    "max_grad_norm": 1.0,
    "vf_coef": 0.871923,
}

# danijar/dreamerv3, scores/dmc_proprio-dreamerv3.json.gz: the mean over five seeds, size12m, with
# a train ratio of 512.
_AUTHORS_SWINGUP = tuple(
    zip(
        range(10_000, 100_001, 10_000),
        (63.0, 189.0, 261.0, 298.0, 322.0, 372.0, 453.0, 403.0, 504.0, 528.0),
        strict=True,
    )
)

_PICTURES = ReturnProblem(
    "dreamer-pictures",
    "probe/catch",
    "DreamerV3 on Catch in pictures of 16 x 16",
    steps=10_240,
    episodes=100,
    options={"resize": [16, 16]},
    published="1 is the most that can be had; standing still gives -0.6",
    algorithm="Dreamer",
)
_ALL = (
    ReturnProblem(
        "playground-cartpole",
        "playground/CartpoleBalance",
        "MuJoCo Playground CartpoleBalance",
        steps=2_000_000,
        episodes=128,
        together=5,
        published="1,000 is the most that can be had",
    ),
    ReturnProblem(
        "gym-hopper",
        "gym/Hopper-v5",
        "Gymnasium Hopper-v5",
        steps=1_000_000,
        stable_baselines3=_ZOO_HOPPER,
        published="zoo's own run on Hopper-v3: 2,410 (benchmark.md, one seed)",
    ),
    ReturnProblem(
        "gym-halfcheetah",
        "gym/HalfCheetah-v5",
        "Gymnasium HalfCheetah-v5",
        steps=1_000_000,
        stable_baselines3=_ZOO_HALFCHEETAH,
        published="zoo's own run on HalfCheetah-v3: 5,819 (benchmark.md, one seed)",
    ),
    ReturnProblem(
        "gym-walker2d",
        "gym/Walker2d-v5",
        "Gymnasium Walker2d-v5",
        steps=1_000_000,
        stable_baselines3=_ZOO_WALKER2D,
        published="zoo's own run on Walker2d-v3: 3,479 (benchmark.md, one seed)",
    ),
    ReturnProblem(
        "envpool-cartpole",
        "envpool/CartPole-v1",
        "EnvPool CartPole-v1",
        steps=150_000,
        episodes=100,
        published="500 is the most that can be had",
    ),
    ReturnProblem(
        "envpool-pendulum",
        "envpool/Pendulum-v1",
        "EnvPool Pendulum-v1",
        steps=300_000,
        episodes=100,
        published="zoo's own run on Gymnasium's: -172 (benchmark.md, one seed, 100,000 steps)",
    ),
    ReturnProblem(
        "minigrid-empty",
        "minigrid/MiniGrid-Empty-5x5-v0",
        "MiniGrid Empty-5x5",
        steps=100_000,
        episodes=100,
        published="the shortest way gives 0.955",
    ),
    ReturnProblem(
        "minigrid-doorkey",
        "minigrid/MiniGrid-DoorKey-5x5-v0",
        "MiniGrid DoorKey-5x5",
        steps=200_000,
        episodes=100,
        published="zoo's own run: 0.964 (benchmark.md, one seed, 100,000 steps)",
    ),
    ReturnProblem(
        "dm-control-cartpole",
        "dm_control/cartpole-balance",
        "dm_control cartpole-balance",
        steps=300_000,
        episodes=20,
        published="1,000 is the most that can be had",
    ),
    ReturnProblem(
        "minatar-breakout",
        "gymnax/Breakout-MinAtar",
        "gymnax Breakout-MinAtar, pictures",
        steps=2_000_000,
        episodes=128,
        together=1,
        published="gymnax's PPO (gymnax-blines, an MLP, 10 M steps): 28, as its README says",
    ),
    ReturnProblem(
        "dreamer-catch",
        "gymnax/Catch-bsuite",
        "DreamerV3 on gymnax Catch-bsuite",
        steps=32_000,
        episodes=100,
        published="1 is the most that can be had",
        algorithm="Dreamer",
    ),
    ReturnProblem(
        "dreamer-memory",
        "probe/repeat-first",
        "DreamerV3 on a puzzle for memory",
        steps=10_240,
        episodes=100,
        published="1 is the most that can be had, and 1/6 without a memory",
        algorithm="Dreamer",
    ),
    _PICTURES,
    dataclasses.replace(
        _PICTURES,
        name="dreamer-no-decoder",
        title="DreamerV3 without a decoder (R2-Dreamer), on the same pictures",
        changed={"objective": "barlow_twins"},
    ),
    dataclasses.replace(
        _PICTURES,
        name="dreamer-bfloat16",
        title="DreamerV3 in bfloat16, on the same pictures",
        changed={"dtype": "bfloat16"},
    ),
    ReturnProblem(
        "dreamer-gridworld",
        "minigrid/MiniGrid-Empty-5x5-v0",
        "DreamerV3 on MiniGrid Empty-5x5",
        steps=12_000,
        published="the shortest way gives 0.955",
        algorithm="Dreamer",
    ),
    ReturnProblem(
        "dreamer-cartpole",
        "gym/CartPole-v1",
        "DreamerV3 on Gymnasium CartPole-v1",
        steps=24_000,
        published="500 is the most that can be had",
        algorithm="Dreamer",
    ),
    ReturnProblem(
        "dreamer-swingup",
        "dm_control/cartpole-swingup",
        "DreamerV3 on dm_control cartpole-swingup",
        steps=100_000,
        options={"action_repeat": 2},
        published="528 in training at 100,000 steps, the mean of five seeds of the authors' "
        "(grey), with settings that are the same for every task; ours has its own, a smaller "
        "model, and twice as many gradient steps, of a quarter of the size",
        published_curve=_AUTHORS_SWINGUP,
        algorithm="Dreamer",
    ),
    _as_measured("brax-inverted-pendulum"),
    _as_measured("brax-reacher"),
    _as_measured("brax-ant"),
)
RETURN_PROBLEMS = {problem.name: problem for problem in _ALL}
