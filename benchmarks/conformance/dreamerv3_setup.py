"""The official DreamerV3 without its processes: its settings, spaces and model.

Needs the official repository (https://github.com/danijar/dreamerv3) at `COMMIT` on PYTHONPATH; see
README.md beside this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dreamerv3.agent
import elements
import jax.numpy as jnp
import numpy as np
import ruamel.yaml
from embodied.jax import nets

COMMIT = "e3f02248693a79dc8b0ebd62c93683888ddaccfe"

Spaces = dict[str, elements.Space]

FLAGS: Spaces = {
    "reward": elements.Space(np.float32),
    "is_first": elements.Space(bool),
    "is_last": elements.Space(bool),
    "is_terminal": elements.Space(bool),
}
# Observations and actions of walker_walk (proprio) and Crafter, as their wrappers name them.
PROBLEMS: dict[str, tuple[Spaces, Spaces]] = {
    "walker": (
        {
            "orientations": elements.Space(np.float32, (14,)),
            "height": elements.Space(np.float32, ()),
            "velocity": elements.Space(np.float32, (9,)),
        },
        {"action": elements.Space(np.float32, (6,), -1, 1)},
    ),
    "crafter": (
        {"image": elements.Space(np.uint8, (64, 64, 3))},
        {"action": elements.Space(np.int32, (), 0, 17)},
    ),
}
PRESETS = ("size1m", "size12m", "size25m", "size50m", "size100m", "size200m", "size400m")


def settings(preset: str | None = None, changes: dict[str, Any] | None = None) -> elements.Config:
    """All settings: the defaults, those of a preset over them, and changes by regex over these."""
    path = Path(dreamerv3.agent.__file__).with_name("configs.yaml")
    found = ruamel.yaml.YAML(typ="safe").load(path.read_text())
    config = elements.Config(found["defaults"])
    if preset is not None:
        config = config.update(found[preset])
    return config.update(changes or {})


def agent_settings(config: elements.Config) -> elements.Config:
    """What the official main script hands to the agent."""
    shared = ("seed", "jax", "batch_size", "batch_length", "replay_context", "report_length")
    shared += ("logdir", "replica", "replicas")
    return elements.Config(**config.agent, **{name: config[name] for name in shared})


def bare_model(observations: Spaces, actions: Spaces, config: elements.Config) -> Any:
    """The model alone, in float32, without the class that compiles and distributes it."""
    nets.COMPUTE_DTYPE = jnp.float32  # read by every module as it is called
    model = object.__new__(dreamerv3.agent.Agent)
    model.__init__(observations | FLAGS, actions, agent_settings(config))
    return model


def zeros(model: Any, batch: int, length: int) -> dict[str, np.ndarray]:
    """A batch of `batch` sequences of `length` records that says nothing."""
    spaces = model.obs_space | model.act_space | model.ext_space
    return {key: np.zeros((batch, length, *s.shape), s.dtype) for key, s in spaces.items()}
