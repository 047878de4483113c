"""Settings of PPO: what no training could come of is refused by name."""

import dataclasses

import numpy as np
import pytest

from heredity.algorithms.ppo.config import _BOUNDS, PPOConfig
from heredity.common.errors import UsageError

FLOATS = [field.name for field in dataclasses.fields(PPOConfig) if "float" in str(field.type)]


def test_every_float_has_bounds():
    assert set(_BOUNDS) == set(FLOATS)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "1", True])
def test_what_is_no_finite_number_is_refused(name: str, value: object):
    with pytest.raises(UsageError, match=rf"^{name} {value!r}: a finite number"):
        PPOConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("initial_std", 0.0, "a finite number > 0"),
        ("adam_epsilon", 0.0, "> 0"),
        ("target_kl", 0.0, "> 0 or None"),
        ("clip_range_value", -0.1, "> 0 or None"),
        ("max_grad_norm", float("inf"), "a very large number such as 1e9"),
        ("observation_clip", 0, "> 0"),
        ("reward_scale", 0.0, "a finite number other than 0"),
        ("entropy_coefficient", -1e-3, ">= 0"),
        ("value_coefficient", -1.0, ">= 0"),
        ("discount", 1.01, ">= 0 and <= 1"),
        ("gae_lambda", -0.1, ">= 0 and <= 1"),
        ("learning_rate", None, ">= 0"),
        ("learning_rate_min", 0.1, "<= learning_rate_max = 0.01"),
    ],
)
def test_bounds(name: str, value: object, expected: str):
    with pytest.raises(UsageError) as refused:
        PPOConfig(**{name: value})
    assert str(refused.value).startswith(f"{name} {value!r}: ")
    assert expected in str(refused.value)


def test_what_is_unusual_and_possible():
    PPOConfig(
        learning_rate=0,
        discount=1,
        clip_range_value=None,
        target_kl=np.float64(0.1),
        reward_scale=-1.0,
        max_grad_norm=1e9,
        learning_rate_min=1e-3,
        learning_rate_max=1e-3,
    )


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("learning_rate_schedule", "adaptive-kl", "'constant' or 'linear' or 'adaptive_kl'"),
        ("clip_range_schedule", "nope", "'constant' or 'linear'"),
        ("distribution", "gauss", "'auto' or 'normal' or 'tanh_normal'"),
        ("normalize_observations", "false", "true or false"),
        ("normalize_rewards", 1, "true or false"),
        ("freeze", "actor/**", "a list of a text"),
        ("num_envs", True, "a whole number"),
        ("num_steps", 128.0, "a whole number"),
        ("num_epochs", 0, ">= 1"),
    ],
)
def test_what_is_of_another_type_is_refused(name: str, value: object, expected: str):
    with pytest.raises(UsageError) as refused:
        PPOConfig(**{name: value})
    assert str(refused.value).startswith(f"{name} {value!r}: ")
    assert expected in str(refused.value)


def test_numbers_of_numpy_become_pythons():
    config = PPOConfig(num_envs=np.int64(4), learning_rate=np.float32(0.5), freeze=["a"])
    found = (config.num_envs, config.learning_rate, config.freeze)
    assert found == (4, 0.5, ("a",))
    assert [type(value) for value in found] == [int, float, tuple]
