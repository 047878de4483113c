"""Let Stable-Baselines3 save small policies, and write down what they do.

Run as ``python benchmarks/conformance/foreign_sb3.py FOLDER``; see README.md beside it. Each case
becomes a folder: ``model.zip`` as `save` writes it, ``vecnormalize.pkl`` where there is one, and
``expected.npz`` with observations and the actions of ``predict(deterministic=True)``.

The weights are moved away from where they begin, because a fresh last layer is so small that any
two policies would act alike.
"""

from __future__ import annotations

import collections
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from foreign_common import OBSERVATIONS, pictures, write_case, write_versions
from gymnasium import spaces
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize


class Noise(gymnasium.Env):
    """Draws from its observation space, whatever is done; an episode has 8 steps."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self._steps += 1
        return self.observation_space.sample(), 1.0, self._steps == 8, False, {}


BOX = spaces.Box(-3.0, 3.0, (5,), np.float32)
BOUNDED = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 0.5], np.float32))
PICTURE = spaces.Box(0, 255, (36, 40, 1), np.uint8)


def moved(model: Any, seed: int) -> None:
    """Move every weight by about the size that it has."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.policy.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight += 0.5 * noise / max(weight.shape[-1] if weight.ndim else 1, 1) ** 0.5


def observations(space: spaces.Space, generator: np.random.Generator) -> Any:
    match space:
        case spaces.Dict():
            return {name: observations(part, generator) for name, part in space.spaces.items()}
        case spaces.Discrete():
            return generator.integers(space.start, space.start + space.n, OBSERVATIONS)
        case spaces.Box() if space.dtype == np.uint8:
            return pictures(space.shape)
        case spaces.Box():
            drawn = generator.normal(size=(OBSERVATIONS, *space.shape)) * 2
            return drawn.astype(space.dtype)
    raise TypeError(space)


def case(
    folder: Path,
    algorithm: Any,
    policy: str,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    *,
    learn: int = 16,
    normalize: dict[str, Any] | None = None,
    seed: int = 0,
    policy_kwargs: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    # A copy, because algorithms write into it.
    settings["policy_kwargs"] = dict(policy_kwargs or {})
    env = DummyVecEnv([lambda: Monitor(Noise(observation_space, action_space))])
    env.seed(seed)
    if normalize is not None:
        env = VecNormalize(env, **normalize)
    model = algorithm(policy, env, seed=seed, device="cpu", **settings)
    if learn:
        model.learn(learn)
    moved(model, seed)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.zip")
    generator = np.random.default_rng(seed)
    seen = observations(observation_space, generator)
    given = seen
    if normalize is not None:
        # Statistics of observations that are far from the normal ones.
        env.training = True
        for _ in range(20):
            env.obs_rms.update(generator.normal(1.5, 3.0, (16, *observation_space.shape)))
        env.training = False
        env.save(folder / "vecnormalize.pkl")
        given = env.normalize_obs(seen)
    actions, _ = model.predict(given, deterministic=True)
    more = {}
    if hasattr(model.policy, "predict_values"):
        with torch.no_grad():
            shown, _ = model.policy.obs_to_tensor(given)
            more["values"] = model.policy.predict_values(shown).numpy()[:, 0]
    write_case(folder, seen, actions, **more)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    write_versions(folder, "sb3", "stable_baselines3", "torch", "gymnasium", "numpy", "cloudpickle")
    few = {"n_steps": 8, "batch_size": 8}
    small = {"net_arch": [16, 16]}
    case(
        folder / "sb3_ppo_discrete", PPO, "MlpPolicy", BOX, spaces.Discrete(3, start=1),
        seed=1, policy_kwargs=small, **few,
    )  # fmt: skip
    case(
        folder / "sb3_ppo_box", PPO, "MlpPolicy", BOX, BOUNDED, seed=2, **few,
        normalize={"clip_obs": 5.0, "epsilon": 1e-4},
        policy_kwargs={"net_arch": {"pi": [16, 8], "vf": [12]}, "activation_fn": torch.nn.ELU},
    )  # fmt: skip
    case(folder / "sb3_ppo_default", PPO, "MlpPolicy", BOX, BOUNDED, seed=9, learn=0, **few)
    case(
        folder / "sb3_a2c_choices", A2C, "MlpPolicy", spaces.Discrete(7),
        spaces.MultiDiscrete([2, 4]), seed=3, policy_kwargs=small,
    )  # fmt: skip
    case(
        folder / "sb3_ppo_dict", PPO, "MultiInputPolicy",
        # Features are joined in the order of the entries, which an OrderedDict keeps.
        spaces.Dict(collections.OrderedDict({
            "velocity": spaces.Box(-1, 1, (2, 2), np.float32),
            "angle": spaces.Box(-3, 3, (3,), np.float32),
            "gear": spaces.Discrete(4),
        })),
        spaces.Discrete(3), seed=4, policy_kwargs=small, **few,
    )  # fmt: skip
    case(
        folder / "sb3_sac", SAC, "MlpPolicy", BOX, BOUNDED, seed=5, learn=0,
        policy_kwargs=small, buffer_size=10,
    )  # fmt: skip
    case(
        folder / "sb3_sac_normalized", SAC, "MlpPolicy", BOX, BOUNDED, seed=6, learn=12,
        normalize={}, policy_kwargs=small, buffer_size=20, learning_starts=8,
    )  # fmt: skip
    case(
        folder / "sb3_ppo_cnn", PPO, "CnnPolicy", PICTURE, spaces.Discrete(4), seed=7, learn=0,
        policy_kwargs={"features_extractor_kwargs": {"features_dim": 24}}, **few,
    )  # fmt: skip
    case(
        folder / "sb3_ppo_gsde", PPO, "MlpPolicy", BOX, BOUNDED, seed=8, learn=0, use_sde=True,
        policy_kwargs=small, **few,
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
