"""Settings of DreamerV3 by name: the sizes of the authors, and those tuned for an environment."""

from __future__ import annotations

import functools

from heredity.algorithms.dreamer.config import SIZES, DreamerConfig
from heredity.algorithms.presets import Preset, presets_in, settings_of


@functools.cache
def presets() -> dict[str, Preset]:
    """All presets, by size and by environment id."""
    sizes = {
        name: Preset(name, "the authors' sizes (Hafner et al. 2023)", dict(settings), 0)
        for name, settings in SIZES.items()
    }
    return {**sizes, **presets_in("heredity.algorithms.dreamer")}


def preset_config(name: str, environment_id: str) -> DreamerConfig:
    """The settings that a preset gives.

    Args:
        name: A size such as ``size12m``, or the id of an environment whose preset is wanted;
            ``auto`` is that of the environment, if there is one; ``none`` are the defaults, those
            of ``size12m``.
        environment_id: That is trained in.

    Raises:
        UnknownNameError: for an unknown preset.

    Example:
        >>> preset_config("size1m", "gym/CartPole-v1").deter
        512
    """
    return DreamerConfig(**settings_of(presets(), name, environment_id))
