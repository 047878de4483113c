"""Features of a frozen encoder are computed once, and what is learnt from them is the same."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

import heredity as hd
from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.collect import collect
from heredity.algorithms.ppo.config import PPOConfig
from heredity.common.errors import UsageError
from heredity.environments.room import bytes_of
from heredity.training.runners import make_runner

NETWORK = {
    "kind": "vit", "patch": 2, "width": 8, "depth": 1, "heads": 1, "hidden": (4,), "shared": True,
}  # fmt: skip
CONFIG = PPOConfig(
    num_envs=4,
    num_steps=6,
    num_minibatches=2,
    num_epochs=2,
    learning_rate=1e-2,
    network=NETWORK,  # pyright: ignore[reportArgumentType]
    freeze=("trunk/encoder/**",),
)


def algorithm(**changed: Any) -> PPO:
    environment = hd.make("probe/catch", 1)
    spaces = environment.observation_space, environment.action_space
    return PPO(dataclasses.replace(CONFIG, **changed), *spaces, schedule_timesteps=1000)


def learnt(host: bool, **changed: Any) -> dict[str, np.ndarray]:
    environment = hd.make("probe/catch", CONFIG.num_envs, host=host)
    runner = make_runner(algorithm(**changed), environment, 0)
    assert runner.iterate(2)["finite"] == 1
    return runner.policy_leaves()


@pytest.mark.parametrize("host", [False, True])
def test_what_is_learnt_is_the_same(host: bool):
    cached, computed = learnt(host), learnt(host, cache_features="never")
    assert cached.keys() == computed.keys()
    for path, leaf in cached.items():
        np.testing.assert_allclose(leaf, computed[path], rtol=1e-4, atol=1e-5, err_msg=path)


def test_a_rollout_holds_features_instead_of_pictures():
    ours = algorithm()
    environment = hd.make("probe/catch", CONFIG.num_envs)
    runner = make_runner(ours, environment, 0)

    def rollout() -> Any:
        runner._begin_experience()
        params = ours.all_params(runner.constants, runner.state)
        return collect(ours, environment, params, runner.state)[1]

    shapes = jax.eval_shape(rollout)
    assert shapes.observations == ()
    assert {n: leaf.shape for n, leaf in shapes.encoded.features.items()} == {"trunk": (6, 4, 8)}
    assert ours.feature_sizes == (8,) and bytes_of(ours.spec.observation_space) == 30


@pytest.mark.parametrize(
    ("changed", "cached"),
    [
        ({}, True),
        ({"freeze": ("trunk/**",)}, True),
        ({"cache_features": "never"}, False),
        ({"cache_features": "always"}, True),
        ({"freeze": ()}, False),
        ({"freeze": ("trunk/encoder/**", "!trunk/encoder/norm/**")}, False),
        ({"network": {**NETWORK, "shared": False}, "freeze": ("*/encoder/**",)}, True),
        ({"network": {**NETWORK, "shared": False}, "freeze": ("actor/encoder/**",)}, False),
        ({"network": {}, "freeze": ("actor/image/**",)}, False),
        ({"network": {}, "freeze": ("*/image/**",)}, True),
        ({"network": {"kind": "gru"}, "freeze": ("*/encoder/**",)}, False),
        ({"unfreeze": ("trunk/encoder/**@100",)}, True),
    ],
)
def test_only_where_every_encoder_is_frozen_whole(changed: dict, cached: bool):
    assert algorithm(**changed).caches_features is cached


def test_it_ends_where_the_encoder_is_unfrozen():
    ours = algorithm(unfreeze=("trunk/encoder/norm/**@100",))
    assert ours.caches_features and not ours.at_stage(1).caches_features


def test_observations_stay_where_their_statistics_are_needed():
    assert algorithm(normalize_observations=True).keeps_observations
    assert not algorithm().keeps_observations


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"network": {"kind": "mlp"}, "freeze": ("*/hidden_0/**",)},
            "or a vit; there is mlp",
        ),
        ({"network": {"kind": "gru"}, "freeze": ("*/encoder/**",)}, "a vit; there is cnn, gru"),
        ({"freeze": ()}, r"--freeze trunk/encoder/\*\*; or"),
        ({"network": {}, "freeze": ("actor/**",)}, r"actor/image/\*\* critic/image/\*\*;"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(changed: dict, told: str):
    with pytest.raises(UsageError, match=told):
        algorithm(cache_features="always", **changed)
