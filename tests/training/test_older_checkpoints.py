"""Checkpoints of other releases, and manifests that somebody made to look whole."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import resume

from heredity.common.errors import RefusedError
from heredity.common.files import seal_json
from heredity.common.formats import CHECKPOINT, RUN, TRAINING_STATE
from heredity.common.reading import sha256_file
from heredity.common.run_folder import RunFolder
from heredity.common.tensors import read_tensors, tensor_bytes
from heredity.training import checkpoints
from heredity.training.checkpoints import newest_whole_checkpoint, read_checkpoint

MANIFEST, STATE = "training_state/manifest.json", "training_state/state.safetensors"


@pytest.fixture
def place(run: Path) -> Path:
    """The newest checkpoint of a run."""
    return RunFolder(run).checkpoint(768)


def rewrite(place: Path, change: Callable[[dict[str, Any]], Any] = lambda record: None) -> None:
    """Write the manifest as another release would have, hashes and seal in order."""
    record = json.loads((place / MANIFEST).read_text())
    del record["sha256"]
    record["files"] = {name: sha256_file(place / name) for name in record["files"]}
    change(record)
    (place / MANIFEST).write_text(seal_json(record))


def refused(place: Path, told: str) -> None:
    with pytest.raises(RefusedError) as raised:
        read_checkpoint(place)
    assert told in str(raised.value)


# --- older and later ------------------------------------------------------------------------------


def test_an_older_run_is_resumed(run: Path, place: Path, monkeypatch: pytest.MonkeyPatch):
    """Its config.json, its manifest and its training state, each of a version before."""
    now = read_checkpoint(place)
    state = {f"old/{path}": leaf for path, leaf in now.state.items()}
    header = {**TRAINING_STATE.header, "schema_version": "0"}
    (place / STATE).write_bytes(tensor_bytes(state, header))
    rewrite(place, lambda record: record.update(schema_version=0, seconds=record.pop("elapsed")))
    config = json.loads((run / "config.json").read_text())
    del config["sha256"]
    settings = config.pop("settings")
    settings["actor_hidden"] = settings.pop("network")["hidden"]  # as of schema 1
    config.update(schema_version=0, ppo=settings)
    (run / "config.json").write_text(seal_json(config))
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}

    with pytest.raises(RefusedError, match=r"config\.json: has schema_version 0 of a run, which"):
        resume(run, total_timesteps=832)
    monkeypatch.setitem(RUN.migrations, 0, lambda old: {**old, "settings": old["ppo"]})
    refused(place, "manifest.json: has schema_version 0 of a checkpoint, which this release")
    way = CHECKPOINT.migrations
    monkeypatch.setitem(way, 0, lambda old: {**old, "elapsed": old["seconds"]})
    refused(place, "state.safetensors: has schema_version 0 of a training state, which this")

    def flattened(old: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {path.removeprefix("old/"): leaf for path, leaf in old.items()}

    monkeypatch.setitem(TRAINING_STATE.migrations, 0, flattened)
    again = read_checkpoint(place)
    assert again.notes["elapsed"] == now.notes["elapsed"]
    assert again.state.keys() == now.state.keys()
    assert {path: path.read_bytes() for path in before} == before
    resume(run, total_timesteps=832)
    assert read_checkpoint(RunFolder(run).checkpoint(832)).step == 832
    # The resume writes a config.json of its own, which is of this release.
    assert json.loads((run / "config.json").read_text())["schema_version"] == RUN.newest


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({**TRAINING_STATE.header, "schema_version": "3"}, "reads up to 2. Upgrade heredity"),
        ({**TRAINING_STATE.header, "schema_version": "x"}, "schema_version 'x', a whole number"),
        ({"format": "heredity.policy", "schema_version": "1"}, "format 'heredity.policy'"),
        ({}, "was not written as a training state"),
    ],
    ids=str,
)
def test_a_state_with_another_header_is_refused(place: Path, header: dict[str, str], told: str):
    state, _ = read_tensors(place / STATE)
    (place / STATE).write_bytes(tensor_bytes(state, header))
    rewrite(place)
    refused(place, f"{place / STATE}: ")
    refused(place, told)


# --- made to look whole ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"best": {"step": "768", "mean": 1.0}},
        {"best": {"step": 768, "mean": None}},
        {"exactness": {"exact": True, "reason": None}},
        {"owed": {"log": 1, "evaluation": True, "snapshot": True, "checkpoint": True}},
    ],
    ids=str,
)
def test_a_forged_memory_is_refused(place: Path, change: dict[str, Any]):
    rewrite(place, lambda record: record.update(change))
    refused(place, f"{place / MANIFEST}: has {next(iter(change))} ")


@pytest.mark.parametrize(
    ("take", "told"),
    [
        (lambda record: record.pop("best"), "best"),
        (lambda record: record.pop("owed"), "owed"),
        (lambda record: record.pop("elapsed"), "elapsed"),
        (lambda record: record["best"].pop("mean"), "best mean"),
        (lambda record: record.update(exactness={}), "exactness exact"),
        (lambda record: record.update(owed={"log": True}), "owed evaluation"),
    ],
    ids=["best", "owed", "elapsed", "best mean", "exactness", "owed log"],
)
def test_a_memory_with_gaps_is_refused(
    place: Path, take: Callable[[dict[str, Any]], Any], told: str
):
    rewrite(place, take)
    refused(place, f"{place / MANIFEST}: does not say {told}:")


@pytest.mark.parametrize("name", ["../../../config.json", "/etc/hostname", "policy/../x"])
def test_a_manifest_names_no_files_of_others(place: Path, name: str):
    rewrite(place, lambda record: record["files"].update({name: "0" * 64}))
    refused(place, f"{place / MANIFEST}: names a file outside of it: {name!r}")


# --- while it is read -----------------------------------------------------------------------------


def test_a_bad_sector_costs_one_checkpoint(run: Path, monkeypatch: pytest.MonkeyPatch):
    folder = RunFolder(run)
    bad, real = folder.checkpoint(768) / STATE, checkpoints.check_hash

    def check_hash(path: Path, expected: object, record: str) -> None:
        with monkeypatch.context() as patched:
            if path == bad:
                patched.setattr(hashlib, "file_digest", broken)
            real(path, expected, record)

    def broken(stream: object, digest: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(checkpoints, "check_hash", check_hash)
    newest, refusals = newest_whole_checkpoint(folder)
    assert newest is not None and newest.step == 640
    assert [str(one).partition(". ")[0] for one in refusals] == [
        f"{bad}: cannot be read (Input/output error)"
    ]


def test_a_link_that_moves_while_it_is_read_changes_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = RunFolder(run)
    link, real = folder.checkpoints / "last", checkpoints.verify_checkpoint

    def verify(place: Path) -> dict[str, Any]:
        found = real(place)
        link.unlink()
        link.symlink_to("000000000640")
        return found

    monkeypatch.setattr(checkpoints, "verify_checkpoint", verify)
    assert read_checkpoint(link).lineage.entries[-1].step == 768
    monkeypatch.undo()
    assert read_checkpoint(link).lineage.entries[-1].step == 640


@pytest.mark.parametrize(("path", "age"), [("count", np.int32(5)), ("counts", np.array([5, 2]))])
def test_the_age_of_an_optimiser_had_two_names(path: str, age: Any):
    old = {f"optimizer/1/{path}": np.asarray(age), "steps": np.zeros(2)}
    found = TRAINING_STATE.migrate(old, 1, Path(STATE))
    assert found.keys() == {"optimizer/1/count", "steps"}
    assert found["optimizer/1/count"].tolist() == np.atleast_1d(age).tolist()
