"""What is known of a run of DreamerV3 only once its environment and its files are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.algorithms.pretrained import PretrainedEncoder, read_encoder
from heredity.environments import Environment

ENCODER = "trunk/encoder/encoder"  # of a vit, in the weights of a policy


def prepared(
    config: DreamerConfig, environment: Environment
) -> tuple[DreamerConfig, PretrainedEncoder | None]:
    """Settings that say all that the file of the encoder says, and what is to be put in.

    Raises:
        RefusedError: when the file cannot be read, or is of no known layout.
        UsageError: when settings say something else than the file, or nothing says how many heads
            there are.
    """
    del environment
    given = config.encoder
    if given.weights is None:
        return config, None
    file, options, grid = read_encoder(given.weights, given.given())
    encoder = dataclasses.replace(given, options=options)
    return dataclasses.replace(config, encoder=encoder), PretrainedEncoder(file, grid, (ENCODER,))


def warnings_for(config: DreamerConfig, schedule: int | None, total: int) -> Iterable[str]:
    """None: nothing is scheduled over the length of a run."""
    del config, schedule, total
    return ()
