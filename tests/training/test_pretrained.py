"""An encoder from another library's file inside of a run: three ways to put it there."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tests.networks.vit_files import WIDTH, write_tiny_vit

import heredity as hd
from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.network_config import NetworkConfig
from heredity.algorithms.ppo.networks import policy_spec
from heredity.algorithms.ppo.preparing import with_pretrained
from heredity.common.errors import UsageError
from heredity.networks import read_vit
from heredity.policies import ActorCritic
from heredity.weights import WeightReport, flatten, inject

NETWORK = {"kind": "vit", "shared": True, "hidden": (8,), "picture_size": (8, 8)}
FROZEN = ("trunk/encoder/**",)
SMALL = {"num_envs": 4, "num_steps": 8, "num_minibatches": 2, "num_epochs": 1}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_vit(tmp_path_factory.mktemp("library"))


def encoder_of(params: Any, folder: str = "trunk/encoder/") -> dict[str, np.ndarray]:
    leaves = flatten(params)
    return {path: np.asarray(leaf) for path, leaf in leaves.items() if path.startswith(folder)}


def fresh(network: NetworkConfig) -> tuple[ActorCritic, Any]:
    environment = hd.make("probe/catch", 1)
    config = PPOConfig(network=network)
    spec = policy_spec(config, environment.observation_space, environment.action_space)
    functions = ActorCritic(spec)
    draw = np.random.default_rng(1)
    shapes = jax.eval_shape(functions.init, 0)  # what draws fresh ones need not be compiled
    return functions, jax.tree.map(
        lambda leaf: draw.normal(size=leaf.shape).astype(leaf.dtype), shapes
    )


def test_three_ways_give_the_same_numbers(file: Path):
    pretrained = read_vit(file)
    # At construction: the settings name the file, and have nothing else to say of the encoder.
    named, encoder = with_pretrained(NetworkConfig(**NETWORK, weights=str(file)))
    assert encoder is not None
    functions, params = fresh(named)
    at_construction, report = encoder.inject(params)
    # Into an existing tree, by path; of an encoder that was described by hand.
    by_hand = NetworkConfig(**{**pretrained.options, **NETWORK})
    functions, params = fresh(by_hand)
    into, _ = inject(params, pretrained.tensors, pretrained.rules((2, 2)), into="trunk/encoder")
    # Through a hook, which gets the fresh parameters.
    hooked, _ = pretrained.inject(params, "trunk/encoder", (2, 2))
    for other in (into, hooked):
        jax.tree.map(np.testing.assert_array_equal, at_construction, other)
    actions = {row.path: row.action for row in report.rows}
    assert actions["trunk/encoder/positions"] == "resized"
    assert actions["trunk/joined/hidden_0/kernel"] == "kept"
    seen = np.zeros((2, 6, 5, 1), np.uint8)
    parameters = jax.jit(lambda params: functions.parameters(params, seen)[0])
    given = parameters(at_construction)
    np.testing.assert_array_equal(given, parameters(hooked))
    assert not np.allclose(given, parameters(params))


def test_separate_networks_each_get_the_encoder(file: Path):
    settings = NetworkConfig(**{**NETWORK, "shared": False}, weights=str(file))
    named, encoder = with_pretrained(settings)
    assert encoder is not None
    params, report = encoder.inject(fresh(named)[1])
    actor, critic = encoder_of(params, "actor/encoder/"), encoder_of(params, "critic/encoder/")
    assert [leaf.tobytes() for leaf in actor.values()] == [x.tobytes() for x in critic.values()]
    rows = [row for row in report.rows if "encoder/" in row.path]
    assert rows and all(row.action not in ("kept", "initialised") for row in rows)


def test_a_run_needs_the_file_only_to_begin(file: Path, tmp_path: Path):
    library = shutil.copytree(file, tmp_path / "library")
    network = {**NETWORK, "weights": str(library)}
    model = hd.PPO("probe/catch", network=network, freeze=FROZEN, **SMALL)
    kept = {"evaluation_episodes": 0, "checkpoint_every": 32}
    model.learn(32, directory=tmp_path / "run", **kept)
    pretrained = read_vit(library)
    first = model.policy.lineage.entries
    assert [entry.operation for entry in first[:2]] == ["train", "inject"]
    assert first[1].arguments["sha256"] == pretrained.sha256
    report = WeightReport.from_json(first[1].arguments["report"])
    assert report.coverage > 0.5
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())
    assert recorded["start"]["encoder"]["sha256"] == pretrained.sha256
    assert recorded["settings"]["network"]["width"] == WIDTH

    wanted, _ = pretrained.inject(model.policy.params, "trunk/encoder", (2, 2))
    shutil.rmtree(library)
    further = hd.resume(tmp_path / "run").learn(64)
    before, after = encoder_of(wanted), encoder_of(further.policy.params)
    assert before.keys() == after.keys() and len(after) == 22
    for path, leaf in before.items():
        assert leaf.tobytes() == after[path].tobytes(), path
    folder = hd.Policy.from_pretrained(tmp_path / "run" / "checkpoints" / "last" / "policy")
    folder.predict(np.zeros((6, 5, 1), np.uint8))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"width": 16}, "width 16 beside weights .*: the file has 8; leave width out"),
        ({"kind": "cnn"}, "weights .* is for the kind vit, the kind is 'cnn'"),
        ({"heads": 3}, "heads 3: the config.json beside .* says num_attention_heads 2"),
        ({"picture_size": (9, 8)}, "multiples of the patch 4"),
    ],
)
def test_settings_that_contradict_the_file_are_refused(file: Path, given: dict, told: str):
    with pytest.raises(Exception, match=told) as refused:
        named, _ = with_pretrained(NetworkConfig(**{**NETWORK, "weights": str(file), **given}))
        fresh(named)
    assert isinstance(refused.value, ValueError | UsageError) or "no encoder" in str(refused.value)


def test_a_policy_to_start_from_has_its_encoder(file: Path):
    network = {**NETWORK, "weights": str(file)}
    policy = hd.Policy(*policy_parts(file))
    again = hd.PPO("probe/catch", network=network, start=policy, **SMALL)
    with pytest.raises(UsageError, match="leave the network's weights"):
        again.learn(32)


def policy_parts(file: Path) -> Any:
    named, encoder = with_pretrained(NetworkConfig(**NETWORK, weights=str(file)))
    assert encoder is not None
    functions, params = fresh(named)
    return functions.spec, encoder.inject(params)[0]
