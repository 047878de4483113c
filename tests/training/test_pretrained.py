"""An encoder from another library's file inside of a run: three ways to put it there."""

import json
import re
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
from heredity.common.errors import RefusedError, UsageError
from heredity.common.run_folder import RunFolder
from heredity.common.tensors import tensor_names
from heredity.networks import read_vit
from heredity.policies import ActorCritic
from heredity.policies.elsewhere import Elsewhere
from heredity.policies.files import load_policy, policy_files, read_elsewhere, read_lineage
from heredity.training.checkpoints import verify_checkpoint
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


@pytest.fixture(scope="module")
def left_out(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose folders leave the bytes of its encoder in the library's file; beside it, that."""
    place = tmp_path_factory.mktemp("left_out")
    library = shutil.copytree(file, place / "library")
    network = {**NETWORK, "weights": str(library)}
    model = hd.PPO("probe/catch", network=network, freeze=FROZEN, **SMALL)
    kept = {"evaluation_episodes": 0, "checkpoint_every": 32, "snapshot_every": 32}
    model.learn(32, directory=place / "run", encoder_kept="hash", **kept)
    return place


def test_its_bytes_may_stay_in_its_file(left_out: Path, tmp_path: Path):
    run = RunFolder(left_out / "run")
    names = tensor_names(run.checkpoint(32) / "policy" / "model.safetensors")
    assert names and not any(name.startswith("trunk/encoder/") for name in names)
    policy = hd.Policy.from_pretrained(run.snapshot(32) / "policy")
    assert policy.policy_hash == policy.lineage.head
    expected = encoder_of(
        read_vit(left_out / "library").inject(policy.params, "trunk/encoder", (2, 2))[0]
    )
    for path, leaf in encoder_of(policy.params).items():
        assert leaf.tobytes() == expected[path].tobytes()
    # Saved by a person it is whole again.
    policy.save_pretrained(tmp_path / "whole")
    assert "trunk/encoder/positions" in tensor_names(tmp_path / "whole" / "model.safetensors")
    # A resume leaves them out as well, as long as they do not move.
    shutil.copytree(left_out / "run", tmp_path / "run", symlinks=True)
    run = RunFolder(tmp_path / "run")
    hd.resume(run.root).learn(64)
    assert tensor_names(run.checkpoint(64) / "policy" / "model.safetensors") == names
    verify_checkpoint(run.checkpoint(64))
    # Until somebody wants them.
    hd.resume(run.root).learn(96, encoder_kept="bytes")
    assert len(tensor_names(run.checkpoint(96) / "policy" / "model.safetensors")) > len(names)
    with pytest.raises(UsageError, match="a resume can only change it to bytes"):
        hd.resume(run.root).learn(128, encoder_kept="hash")


def test_without_that_file_it_is_told_where_it_was(left_out: Path, tmp_path: Path):
    policy = left_out / "run" / "snapshots" / "000000000032" / "policy"
    weights = left_out / "library" / "model.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-1])
        with pytest.raises(
            RefusedError, match=r"leaves out an encoder, .* was altered or torn"
        ) as told:
            hd.Policy.from_pretrained(policy)
        assert "Put the file whose SHA-256 is" in str(told.value)
        weights.unlink()
        with pytest.raises(RefusedError, match=re.escape(f"{weights}: is missing")):
            hd.Policy.from_pretrained(policy)
    finally:
        weights.write_bytes(whole)


def test_what_a_hook_made_of_them_is_written(file: Path, tmp_path: Path):
    def scaled(params: Any) -> Any:
        params["trunk"]["encoder"]["positions"] = params["trunk"]["encoder"]["positions"] * 2
        return params

    network = {**NETWORK, "weights": str(file)}
    model = hd.PPO("probe/catch", network=network, freeze=FROZEN, post_init=scaled, **SMALL)
    model.learn(32, directory=tmp_path, encoder_kept="hash", evaluation_episodes=0)
    last = RunFolder(tmp_path).checkpoint(32) / "policy"
    assert "trunk/encoder/positions" in tensor_names(last / "model.safetensors")
    hd.Policy.from_pretrained(last)


def test_weights_that_move_are_written(left_out: Path):
    folder = left_out / "run" / "checkpoints" / "000000000032" / "policy"
    spec, leaves, lineage, _ = load_policy(folder)
    elsewhere = read_elsewhere(read_lineage(folder)[1], folder)
    leaves["trunk/encoder/positions"] = leaves["trunk/encoder/positions"] + 1
    files = policy_files(spec, leaves, lineage, elsewhere)
    assert b"trunk/encoder/positions" in files["model.safetensors"]
    assert "elsewhere" not in json.loads(files["lineage.json"])


def test_what_cannot_be_left_out_is_refused(tmp_path: Path):
    model = hd.PPO("probe/catch", **SMALL)
    with pytest.raises(UsageError, match="encoder_kept hash: this run has no encoder from a file"):
        model.learn(32, directory=tmp_path, encoder_kept="hash")
    with pytest.raises(UsageError, match="encoder_kept 'sum': bytes or hash was expected"):
        model.learn(32, encoder_kept="sum")
    with pytest.raises(RefusedError, match="does not say where its weights are"):
        Elsewhere.from_json({"file": "a"}, tmp_path)


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
