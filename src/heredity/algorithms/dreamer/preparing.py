"""What is known of a run of DreamerV3 only once its environment is."""

from __future__ import annotations

from collections.abc import Iterable

from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.environments import Environment


def prepared(config: DreamerConfig, environment: Environment) -> tuple[DreamerConfig, None]:
    """The settings as they are: nothing has to be looked up."""
    del environment
    return config, None


def warnings_for(config: DreamerConfig, schedule: int | None, total: int) -> Iterable[str]:
    """None: nothing is scheduled over the length of a run."""
    del config, schedule, total
    return ()
