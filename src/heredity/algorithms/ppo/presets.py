"""Tuned settings of PPO for known environments."""

from __future__ import annotations

from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.presets import Preset, presets_in, settings_of


def presets() -> dict[str, Preset]:
    """All presets by environment id."""
    return presets_in("heredity.algorithms.ppo")


def preset_config(name: str, environment_id: str) -> PPOConfig:
    """The settings that a preset gives.

    Args:
        name: ``auto`` (that of the environment, if there is one), ``none``, or the id of an
            environment whose preset is wanted.
        environment_id: That is trained in.

    Raises:
        UnknownNameError: for an unknown preset.

    Example:
        >>> preset_config("auto", "gymnax/CartPole-v1").num_envs > 0
        True
    """
    return PPOConfig(**settings_of(presets(), name, environment_id))
