"""The policies of the lifecycle table: every kind of network, with both kinds of actions.

Those of PPO, and one with a world model.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import heredity as hd
from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.algorithms.ppo.config import PPOConfig
from heredity.environments.contract import JaxEnvironment, TimeStep
from heredity.spaces import Box, Dict, Discrete, Space

STEPS = 64  # of one iteration
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": (6,)},
    "cnn": {"kind": "cnn", "convolutions": ("4x3/1",), "pooling": "mean", "hidden": (6,)},
    "vit": {
        "kind": "vit", "patch": 4, "width": 8, "depth": 1, "heads": 2, "hidden": (6,),
        "shared": True,
    },
    "gru": {"kind": "gru", "memory_size": 5, "hidden": (6,)},
    "dict": {"hidden": (6,)},
}  # fmt: skip
DREAMER = DreamerConfig(
    num_envs=4,
    num_steps=16,
    train_ratio=0.25,  # two gradient steps in each iteration
    batch_size=2,
    batch_length=4,
    replay_capacity=256,
    deter=8,
    blocks=2,
    hidden=6,
    units=6,
    groups=2,
    classes=2,
    imagination_length=2,
    learning_rate=1e-2,
    learning_rate_warmup=0,
)
KINDS = (*NETWORKS, "dreamer")
# One folder of each that can be frozen, and whose weights can be given to another policy.
FOLDERS = {
    "mlp": "actor/hidden_0",
    "cnn": "actor/image/convolution_0",
    "vit": "trunk/encoder/block_0",
    "gru": "actor/gate",
    "dict": "actor/hidden_0",
    "dreamer": "trunk/encoder/vectors/hidden_0",
}
ACTIONS: dict[str, Space] = {
    "discrete": Discrete(3, names=("left", "stay", "right")),
    "continuous": Box((2,), -1.0, 1.0, names=("push", "turn")),
}
_STATE = Box((3,), names=("position", "speed", "angle"))
_PICTURE = Box((8, 8, 3), 0, 255, "uint8")
SPACES: dict[str, Space] = {
    "mlp": _STATE,
    "cnn": _PICTURE,
    "vit": _PICTURE,
    "gru": _STATE,
    "dreamer": _STATE,
    "dict": Dict({"body": _STATE, "goal": Box((2,), names=("x", "y"))}),
}


class Toy(JaxEnvironment):
    """Twelve decisions of seeded noise; the reward is the first number that is seen.

    Args:
        network: Whose observations it shows.
        actions: What it takes.
    """

    max_episode_steps = 12

    def __init__(self, network: str, actions: str) -> None:
        self.observation_space = SPACES[network]
        self.action_space = ACTIONS[actions]

    def reset(self, key: Any) -> tuple[Any, Any]:
        state = key, jnp.int32(0)
        return state, self._seen(key)

    def step(self, state: Any, action: Any) -> tuple[Any, TimeStep]:
        key, time = state
        key = jax.random.fold_in(key, time)
        seen, time = self._seen(key), time + 1
        reward = jax.tree.leaves(seen)[0].ravel()[0].astype(jnp.float32) / 255
        over = time >= self.max_episode_steps
        return (key, time), TimeStep(seen, reward, jnp.zeros((), bool), over, {})

    def _seen(self, key: Any) -> Any:
        def drawn(space: Space) -> Any:
            if isinstance(space, Dict):
                return {name: drawn(part) for name, part in space.entries}
            assert isinstance(space, Box)
            if space.dtype == "uint8":
                return jax.random.randint(key, space.concrete_shape, 0, 255).astype(jnp.uint8)
            return jax.random.normal(key, space.concrete_shape)

        return drawn(self.observation_space)


def model_of(network: str, actions: str, **more: Any) -> hd.PPO | hd.Dreamer:
    """What trains a policy of a kind, in iterations of `STEPS` steps.

    Args:
        network: One of `KINDS`.
        actions: One of `ACTIONS`.
        more: Settings.
    """
    environment = Toy(network, actions)
    if network == "dreamer":
        return hd.Dreamer(environment, config=dataclasses.replace(DREAMER, **more))
    pixels = network in ("cnn", "vit")
    settings = {
        "num_envs": 4,
        "num_steps": 16,
        "num_epochs": 1,
        "num_minibatches": 2,
        "normalize_observations": not pixels,
        "network": NETWORKS[network],
    }
    return hd.PPO(environment, config=dataclasses.replace(PPOConfig(), **{**settings, **more}))


def observations(network: str, count: int = 32, seed: int = 0) -> Any:
    """Observations of a kind, on a leading axis."""
    generator = np.random.default_rng(seed)
    drawn = [SPACES[network].sample(generator) for _ in range(count)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *drawn)
