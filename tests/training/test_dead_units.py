"""Units that put out the same whatever is seen."""

import dataclasses
import json

import numpy as np
import pytest
from tiny_runs import CONFIG, environment, train

from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.networks import policy_spec
from heredity.policies import ActorCritic
from heredity.training.evaluation import Evaluator
from heredity.viewer.reading import read_run
from heredity.weights import put

RELU = dataclasses.replace(CONFIG, network={"hidden": (8, 6), "activation": "relu"})


def weights_with_dead_units(config: PPOConfig, env) -> tuple:
    spec = policy_spec(config, env.observation_space, env.action_space)
    params = ActorCritic(spec).init(0)
    bias = np.full(8, 5.0, np.float32)  # alive whatever is seen
    bias[:3] = -100.0
    return spec, put(params, "actor/hidden_0/bias", bias)


@pytest.mark.parametrize("host", [False, True])
def test_a_unit_whose_output_never_changes_is_dead(host: bool):
    env = environment(host=host)
    spec, params = weights_with_dead_units(RELU, env)
    played = Evaluator(spec, env, 4, record=True).evaluate(params)
    assert played.units["actor/hidden_0"] == (3, 8)
    assert played.units["actor/hidden_1"][1] == 6
    assert Evaluator(spec, env, 4).evaluate(params).units == {}
    # Without any input all units are.
    dead = put(
        params,
        "actor/hidden_0/kernel",
        np.zeros((params["actor"]["hidden_0"]["kernel"]).shape, np.float32),
    )
    units = Evaluator(spec, env, 4, record=True).evaluate(dead).units
    assert units == {"actor/hidden_0": (8, 8), "actor/hidden_1": (6, 6)}


@pytest.mark.parametrize("host", [False, True])
def test_units_of_networks_with_memory_and_of_shared_ones_are_counted(host: bool):
    env = environment(host=host)
    config = dataclasses.replace(
        CONFIG, network={"kind": "gru", "memory_size": 5, "hidden": (4,), "shared": True}
    )
    spec = policy_spec(config, env.observation_space, env.action_space)
    played = Evaluator(spec, env, 4, record=True).evaluate(ActorCritic(spec).init(0))
    assert played.units["trunk/memory"] == (0, 5)
    assert "critic/hidden_0" not in played.units


def test_snapshots_keep_the_counts_and_the_report_finds_them(tmp_path):
    train(tmp_path, 64, config=RELU, snapshot_every=64)
    place = tmp_path / "snapshots" / "000000000064" / "evaluation.json"
    told = json.loads(place.read_text())["units"]
    assert told["actor/hidden_0"]["units"] == 8
    found = read_run(tmp_path).snapshots[-1].units
    assert found["actor/hidden_0"] == (told["actor/hidden_0"]["dead"], 8)
