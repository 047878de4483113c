"""Presets: data that is whole, in files that make settings."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.presets import preset_config, presets
from heredity.common.errors import UnknownNameError
from heredity.environments import check_id


@pytest.mark.parametrize("preset", presets().values(), ids=lambda preset: preset.environment)
def test_each_says_where_it_comes_from(preset):
    assert preset.source
    assert preset.total_timesteps > 0
    check_id(preset.environment)
    config = preset_config("auto", preset.environment)
    assert config == PPOConfig(**preset.settings)
    assert config != PPOConfig()


def test_no_environment_has_two():
    folder = resources.files("heredity.algorithms.ppo") / "presets"
    files = [entry for entry in folder.iterdir() if entry.name.endswith(".json")]
    named = [entry["environment"] for file in files for entry in json.loads(file.read_text())]
    assert sorted(named) == sorted(set(named)) == sorted(presets())


def test_a_preset_can_be_borrowed_left_out_and_misspelt():
    borrowed = preset_config("brax/ant", "gymnax/CartPole-v1")
    assert borrowed == PPOConfig(**presets()["brax/ant"].settings)
    assert preset_config("none", "brax/ant") == PPOConfig()
    assert preset_config("auto", "gym/Nobody-v0") == PPOConfig()
    with pytest.raises(UnknownNameError, match="brax/ant"):
        preset_config("brax/ants", "brax/ant")
