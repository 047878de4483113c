"""Policies of other releases: what is older is brought up, what is later is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heredity.common.errors import RefusedError
from heredity.common.files import seal_json
from heredity.common.formats import LINEAGE, POLICY, WEIGHTS
from heredity.common.reading import sha256_file
from heredity.common.tensors import read_tensors, tensor_bytes
from heredity.policies import Policy
from heredity.weights import content_hash, flatten, unflatten


def rewrite(folder: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> dict[str, bytes]:
    """Write a file as another release would have, hashes and seals in order; the files' bytes."""
    for place, alter in ((name, change), ("lineage.json", lambda record: None)):
        record = json.loads((folder / place).read_text())
        record.pop("sha256", None)
        alter(record)
        if place == "lineage.json":
            record["files"] = {name: sha256_file(folder / name) for name in record["files"]}
        (folder / place).write_text(seal_json(record))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(folder: Path, told: str) -> None:
    with pytest.raises(RefusedError) as raised:
        Policy.from_pretrained(folder)
    assert told in str(raised.value)


def test_an_older_config_is_brought_up(
    policy: Policy, saved: Path, monkeypatch: pytest.MonkeyPatch
):
    def older(record: dict[str, Any]) -> None:
        record["clip"] = record["preprocessing"].pop("observation_clip")
        record["schema_version"] = 0

    def way(record: dict[str, Any]) -> dict[str, Any]:
        clip = record.pop("clip")
        return {**record, "preprocessing": {**record["preprocessing"], "observation_clip": clip}}

    before = rewrite(saved, "config.json", older)
    refused(saved, f"{saved / 'config.json'}: has schema_version 0 of a policy, which this release")
    monkeypatch.setitem(POLICY.migrations, 0, way)
    again = Policy.from_pretrained(saved)
    assert again.spec == policy.spec and again.policy_hash == policy.policy_hash
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_an_older_lineage_is_brought_up(
    policy: Policy, saved: Path, monkeypatch: pytest.MonkeyPatch
):
    def older(record: dict[str, Any]) -> None:
        if "entries" in record:
            record["history"] = record.pop("entries")
            record["schema_version"] = 0

    before = rewrite(saved, "lineage.json", older)
    refused(saved, f"{saved / 'lineage.json'}: has schema_version 0 of a lineage, which this")
    monkeypatch.setitem(
        LINEAGE.migrations, 0, lambda record: {**record, "entries": record["history"]}
    )
    assert Policy.from_pretrained(saved).lineage == policy.lineage
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    # What is altered is refused before any migration looks at it.
    text = (saved / "lineage.json").read_text()
    (saved / "lineage.json").write_text(text.replace('"history"', '"entries"'))
    refused(saved, "lineage.json: was altered")


def test_a_config_that_is_not_as_its_version_says_is_refused(
    saved: Path, monkeypatch: pytest.MonkeyPatch
):
    rewrite(saved, "config.json", lambda record: record.update(schema_version=0))
    monkeypatch.setitem(POLICY.migrations, 0, lambda record: {"new": record["old"]})
    refused(saved, f"{saved / 'config.json'}: is not as schema_version 0 says")


# --- the header of the weights --------------------------------------------------------------------


def write_weights(folder: Path, leaves: dict[str, np.ndarray], header: dict[str, str]) -> None:
    """Write weights under another header, everything else in order."""
    (folder / "model.safetensors").write_bytes(tensor_bytes(leaves, header))

    def about_these(record: dict[str, Any]) -> None:
        record["policy_hash"] = record["entries"][-1]["hash"] = content_hash(unflatten(leaves))

    rewrite(folder, "lineage.json", about_these)


def test_older_weights_are_brought_up(
    policy: Policy, saved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    leaves, _ = read_tensors(saved / "model.safetensors")
    older = {path.replace("actor/", "pi/"): leaf for path, leaf in leaves.items()}
    write_weights(saved, older, {**WEIGHTS.header, "schema_version": "0"})
    refused(saved, "model.safetensors: has schema_version 0 of the weights of a policy, which this")

    def way(old: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {path.replace("pi/", "actor/"): leaf for path, leaf in old.items()}

    monkeypatch.setitem(WEIGHTS.migrations, 0, way)
    again = Policy.from_pretrained(saved)
    assert flatten(again.params).keys() == flatten(policy.params).keys()
    assert again.policy_hash == policy.policy_hash == again.lineage.head
    # The older hash is what they come from, and what is saved now is whole.
    assert again.lineage.entries[-1].parent == content_hash(unflatten(older))
    again.save_pretrained(tmp_path / "again")
    assert Policy.from_pretrained(tmp_path / "again").lineage == again.lineage


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({**WEIGHTS.header, "schema_version": "2"}, "has schema_version 2 of the weights"),
        ({**WEIGHTS.header, "schema_version": "1.5"}, "has schema_version '1.5'"),
        ({"format": "heredity.policy"}, "has schema_version ''"),
        ({**WEIGHTS.header, "format": "heredity.training_state"}, "was not written as the weights"),
        ({"format": "pt"}, "its header says format 'pt', 'heredity.policy' was expected"),
        ({}, "its header says format None"),
    ],
    ids=str,
)
def test_weights_with_another_header_are_refused(saved: Path, header: dict[str, str], told: str):
    leaves, _ = read_tensors(saved / "model.safetensors")
    write_weights(saved, leaves, header)
    refused(saved, f"{saved / 'model.safetensors'}: {told}" if "header" not in told else told)


# --- links ----------------------------------------------------------------------------------------


def test_a_link_that_moves_while_it_is_read_changes_nothing(
    policy: Policy, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """``checkpoints/last`` of a run that goes on."""
    from small_policy import build

    from heredity.policies import files

    build(7).save_pretrained(tmp_path / "later")
    link = tmp_path / "last"
    link.symlink_to(saved.name)
    real = files.read_config

    def read_config(folder: Path) -> Any:
        found = real(folder)
        link.unlink()
        link.symlink_to("later")
        return found

    monkeypatch.setattr(files, "read_config", read_config)
    assert Policy.from_pretrained(link).policy_hash == policy.policy_hash
    monkeypatch.undo()
    assert Policy.from_pretrained(link).policy_hash == build(7).policy_hash
