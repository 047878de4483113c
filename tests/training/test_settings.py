"""Settings of a run: numbers of every kind that are whole, and nothing else."""

import dataclasses

import numpy as np
import pytest

from heredity.common.errors import UsageError
from heredity.training.settings import RunSettings


@pytest.mark.parametrize("given", [5_000_000, 5e6, np.int64(5_000_000), np.float32(5e6)])
def test_whole_numbers_of_any_kind(given: object):
    settings = RunSettings(total_timesteps=given, seed=np.uint32(2**32 - 1))  # pyright: ignore[reportArgumentType]
    assert (settings.total_timesteps, settings.seed) == (5_000_000, 2**32 - 1)
    assert type(settings.total_timesteps) is type(settings.seed) is int


@pytest.mark.parametrize("given", [0, -1, 0.5, float("nan"), float("inf"), True, "5", None, 2**53])
def test_what_is_no_number_of_steps(given: object):
    with pytest.raises(UsageError, match="total_timesteps"):
        RunSettings(total_timesteps=given)  # pyright: ignore[reportArgumentType]


def test_a_seed_has_32_bits():
    with pytest.raises(UsageError, match="seed 4294967296"):
        RunSettings(total_timesteps=1, seed=2**32)


def test_a_run_that_is_extended_keeps_its_frequencies():
    settled = RunSettings(total_timesteps=20_000).settled()
    assert (settled.evaluate_every, settled.checkpoint_every, settled.log_every) == (
        1000,
        1000,
        100,
    )
    assert settled.schedule_timesteps == 20_000
    longer = dataclasses.replace(settled, total_timesteps=30_000)
    assert [longer.cadence(name) for name in ("evaluate", "checkpoint", "log")] == [1000, 1000, 100]
    assert RunSettings(20_000, evaluation_episodes=0).settled().evaluate_every is None
    assert RunSettings(20_000, snapshot_every=500).settled().evaluate_every == 500


@pytest.mark.parametrize(
    "settings",
    [
        {"total_timesteps": 0},
        {"total_timesteps": 1.5},
        {"total_timesteps": float("nan")},
        {"total_timesteps": "100"},
        {"total_timesteps": True},
        {"total_timesteps": 2**53},
        {"total_timesteps": 10, "seed": -1},
        {"total_timesteps": 10, "seed": 2**32},
        {"total_timesteps": 10, "snapshot_every": 0},
        {"total_timesteps": 10, "keep_last": 0},
        {"total_timesteps": 10, "keep_last": None},
        {"total_timesteps": 10, "evaluation_episodes": -1},
        {"total_timesteps": 10, "on_divergence": "ignore"},
    ],
    ids=str,
)
def test_settings_are_checked(settings: dict):
    with pytest.raises(UsageError, match="was expected"):
        RunSettings(**settings)


def test_whole_floats_are_whole_numbers():
    assert RunSettings(total_timesteps=5e6).total_timesteps == 5_000_000
    assert isinstance(RunSettings(total_timesteps=5e6).total_timesteps, int)
