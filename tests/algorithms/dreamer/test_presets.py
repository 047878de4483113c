"""Presets of DreamerV3: the authors' sizes, and settings for environments, which say how long."""

import pytest

import heredity as hd
from heredity.algorithms.dreamer.config import SIZES, DreamerConfig
from heredity.algorithms.dreamer.presets import preset_config, presets
from heredity.common.errors import UsageError
from heredity.environments import check_id

OF_ENVIRONMENTS = {name: one for name, one in presets().items() if name not in SIZES}


@pytest.mark.parametrize("name", OF_ENVIRONMENTS)
def test_each_says_where_it_comes_from_and_how_long(name: str):
    preset = OF_ENVIRONMENTS[name]
    check_id(name)
    assert preset.source and preset.reached
    assert set(preset.run) == {"total_timesteps", "snapshot_every"}
    assert preset_config("auto", name) == DreamerConfig(**preset.settings) != DreamerConfig()


@pytest.mark.parametrize("size", SIZES)
def test_a_size_is_no_length(size: str):
    assert presets()[size].run == {}
    assert preset_config(size, "gymnax/Catch-bsuite") == DreamerConfig(**SIZES[size])


def test_a_model_trains_as_long_as_its_preset():
    model = hd.Dreamer("gymnax/Catch-bsuite", preset="size1m")
    with pytest.raises(UsageError, match="total_timesteps is needed"):
        next(model.run())
