"""What is known of a run of DreamerV3 only once its environment and its files are."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator

from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.algorithms.pretrained import PretrainedEncoder, read_encoder
from heredity.environments import Environment
from heredity.networks.pictures import picture_spaces
from heredity.networks.world_model.encoder import convolution_count
from heredity.spaces import Space

log = logging.getLogger("heredity")

ENCODER = "trunk/encoder/encoder"  # of a vit, in the weights of a policy
_LARGEST = 16  # side of what convolutions leave of a picture: more the authors' code refuses


def prepared(
    config: DreamerConfig, environment: Environment
) -> tuple[DreamerConfig, PretrainedEncoder | None]:
    """Settings that say all that the file of the encoder says, and what is to be put in.

    Raises:
        RefusedError: when the file cannot be read, or is of no known layout.
        UsageError: when settings say something else than the file, or nothing says how many heads
            there are.
    """
    given = config.encoder
    if not given.is_vit:
        _warn_of_large_pictures(environment.observation_space)
    if given.weights is None:
        return config, None
    file, options, grid = read_encoder(given.weights, given.given())
    encoder = dataclasses.replace(given, options=options)
    return dataclasses.replace(config, encoder=encoder), PretrainedEncoder(file, grid, (ENCODER,))


def _warn_of_large_pictures(space: Space) -> None:
    """Tell of pictures that cannot be halved often enough: what is made of them is large."""
    for path, box in picture_spaces(space).items():
        height, width, _ = box.concrete_shape
        count = convolution_count(box)
        if max(height, width) >> count > _LARGEST:
            log.warning(
                "%s: pictures of %d x %d can be halved %d times only, and what is left is large, "
                "and slow; resize them to multiples of 16, such as 64 x 64 (--env.resize 64 64)",
                *(path, height, width, count),
            )


def warnings_for(config: DreamerConfig, schedule: int | None, total: int) -> Iterator[str]:
    """What a person should know of a run before it begins or goes on.

    Args:
        config: Settings.
        schedule: Environment steps that schedules run over; there are none.
        total: Environment steps at which the run ends.
    """
    del schedule
    learns = config.records_to_learn * config.num_envs
    iteration = config.num_envs * config.num_steps
    if -(-total // iteration) * iteration < learns:
        yield (
            f"nothing will be learnt in {total:,} steps: learning begins after about {learns:,}, "
            "when there are as many sequences as a batch has moments (batch_size times "
            "batch_length). Give a larger --total-timesteps, or smaller batches"
        )
