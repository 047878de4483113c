"""Settings of PPO: what no training could come of is refused by name."""

import dataclasses

import numpy as np
import pytest

import heredity as hd
from heredity.algorithms.ppo.config import _BOUNDS, PPOConfig, recorded_config
from heredity.algorithms.ppo.network_config import KINDS_WITH, NetworkConfig
from heredity.algorithms.ppo.networks import network_specs
from heredity.common.errors import UsageError
from heredity.spaces import Box

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


OTHERS = {
    "hidden": (8,), "critic_hidden": (8,), "activation": "relu", "kernel_init": "lecun_uniform",
    "hidden_scale": 1.0, "actor_output_scale": 1.0, "convolutions": ("8x3/1",),
    "memory_size": 64, "dtype": "bfloat16", "options": {"width": 3},
    "weights": "vit.safetensors", "patch": 8, "width": 32, "depth": 2, "heads": 4, "mlp_width": 64,
    "layer_scale": 1.0, "norm_epsilon": 1e-12, "pooling": "mean", "picture_size": (32, 32),
    "picture_channels": 3, "picture_resize": "bicubic", "picture_mean": (0.4,),
    "picture_std": (0.2,),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS_WITH)
@pytest.mark.parametrize("kind", ["auto", "cnn", "gru", "mlp", "vit", "mine:Net"])
def test_a_kind_takes_the_settings_that_it_has(kind: str, name: str):
    given = {"kind": kind, name: OTHERS[name]}
    having = KINDS_WITH[name]
    if kind in having or (kind == "mine:Net" and name == "options"):
        assert recorded_config({"network": given}).network == NetworkConfig(**given)
        return
    with pytest.raises(
        UsageError, match=f"network {name} .* is for the kind {' or '.join(having)}"
    ):
        NetworkConfig(**given)
    # Those of a run that began before this was looked at do nothing, as they always did.
    file = {n: list(v) if isinstance(v, tuple) else v for n, v in given.items()}
    assert recorded_config({"network": file}).network == NetworkConfig(kind=kind)


def test_the_layers_behind_a_shared_trunk_of_ones_own_are_ours():
    NetworkConfig(kind="mine:Net", shared=True, dtype="bfloat16", actor_output_scale=1.0)
    with pytest.raises(UsageError, match="network hidden"):
        NetworkConfig(kind="mine:Net", shared=True, hidden=(4,))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"hidden": (8, 0)}, r"hidden \(8, 0\): whole numbers >= 1"),
        ({"critic_hidden": (-1,)}, r"critic_hidden \(-1,\): whole numbers >= 1"),
        ({"kind": "gru", "memory_size": -5}, "memory_size -5: a whole number >= 1"),
    ],
)
def test_sizes_of_networks(given: dict, told: str):
    with pytest.raises(UsageError, match=told):
        NetworkConfig(**given)


def test_sequences_are_for_networks_with_memory():
    with pytest.raises(UsageError, match="sequence_length 8 is for networks with memory"):
        PPOConfig(sequence_length=8)
    assert PPOConfig(sequence_length=8, network={"kind": "gru"}).sequence_length == 8
    assert recorded_config({"sequence_length": 8}).sequence_length is None
    assert recorded_config({"sequence_length": 8, "network": {"kind": "gru"}}).sequence_length == 8


def test_what_only_the_networks_show_is_refused_when_a_run_begins():
    with pytest.raises(UsageError, match=r"convolutions .*nothing that is read is a picture"):
        hd.PPO("probe/two-step-discount", network={"convolutions": ("8x3/1",)}).learn(64)


@pytest.mark.parametrize("name", ["hidden_scale", "actor_output_scale"])
@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_gains_are_not_negative(name: str, value: float):
    with pytest.raises(UsageError, match=rf"^{name} {value!r}: a finite number >= 0"):
        PPOConfig(network={name: value})


@pytest.mark.parametrize("kind", ["mlp", "gru"])
def test_every_network_is_given_the_gain_of_hidden_layers(kind: str):
    # What layers make of it: tests/networks/test_mlp.py.
    specs = network_specs(NetworkConfig(kind, hidden_scale=0.7), Box((4,)))[1:]
    assert [spec.options["hidden_scale"] for spec in specs] == [0.7, 0.7]
    if kind == "gru":
        assert specs[0].options["encoder"]["hidden_scale"] == 0.7
    (trunk, *_) = network_specs(NetworkConfig(shared=True, hidden_scale=0.7), Box((4,)))
    assert trunk is not None and trunk.options["hidden_scale"] == 0.7
