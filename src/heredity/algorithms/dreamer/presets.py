"""Settings of DreamerV3 by name: the sizes of the authors, and what fits known environments."""

from __future__ import annotations

import functools

from heredity.algorithms.dreamer.config import SIZES, DreamerConfig
from heredity.algorithms.presets import Preset, presets_in, settings_of


@functools.cache
def presets() -> dict[str, Preset]:
    """All presets: by the id of an environment, or by size."""
    sizes = {
        name: Preset(name, "the authors' sizes (Hafner et al. 2023)", dict(settings), 0)
        for name, settings in SIZES.items()
    }
    return {**presets_in("heredity.algorithms.dreamer"), **sizes}


def preset_config(name: str, environment_id: str) -> DreamerConfig:
    """The settings that a preset gives.

    Args:
        name: ``auto`` (that of the environment, if there is one), ``none``, the id of an
            environment, or a size such as ``size12m``.
        environment_id: That is trained in.

    Raises:
        UnknownNameError: for an unknown preset.

    Example:
        >>> preset_config("size1m", "gym/CartPole-v1").deter
        512
    """
    return DreamerConfig(**settings_of(presets(), name, environment_id))
