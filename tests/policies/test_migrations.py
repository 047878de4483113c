import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heredity.common.errors import RefusedError
from heredity.common.files import seal_json, sha256_file
from heredity.policies import Policy, lineage, migrations, specification
from heredity.policies.migrations import MIGRATIONS, migrate

NEWEST = {"config": specification.SCHEMA_VERSION, "lineage": lineage.SCHEMA_VERSION}


def rewrite(folder: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write a file as another release would have, hashes and seals in order."""
    for place, alter in ((name, change), ("lineage.json", lambda record: None)):
        record = json.loads((folder / place).read_text())
        record.pop("sha256", None)
        alter(record)
        if place == "lineage.json":
            record["files"] = {name: sha256_file(folder / name) for name in record["files"]}
        (folder / place).write_text(seal_json(record))


def registry(monkeypatch: pytest.MonkeyPatch, **ways: dict[int, migrations.Migration]) -> None:
    monkeypatch.setattr(migrations, "MIGRATIONS", {"config": {}, "lineage": {}, **ways})


@pytest.mark.parametrize("kind", MIGRATIONS)
def test_every_past_schema_has_a_way(kind: str):
    assert set(MIGRATIONS[kind]) == set(range(1, NEWEST[kind]))  # pyright: ignore[reportArgumentType]


def test_an_older_config_is_brought_up(
    policy: Policy, saved: Path, monkeypatch: pytest.MonkeyPatch
):
    def older(record: dict[str, Any]) -> None:
        record["clip"] = record["preprocessing"].pop("observation_clip")
        record["kind"] = record.pop("algorithm")

    def one(record: dict[str, Any]) -> dict[str, Any]:
        assert record["schema_version"] == 1
        clip = record.pop("clip")
        return {**record, "preprocessing": {**record["preprocessing"], "observation_clip": clip}}

    def two(record: dict[str, Any]) -> dict[str, Any]:
        assert record["schema_version"] == 2
        return {**record, "algorithm": record["kind"]}

    rewrite(saved, "config.json", older)
    registry(monkeypatch, config={2: two, 1: one})
    monkeypatch.setattr(specification, "SCHEMA_VERSION", 3)
    again = Policy.from_pretrained(saved)
    assert again.spec == policy.spec and again.policy_hash == policy.policy_hash


def test_an_older_lineage_is_brought_up(
    policy: Policy, saved: Path, monkeypatch: pytest.MonkeyPatch
):
    def older(record: dict[str, Any]) -> None:
        record["history"] = record.pop("entries")

    rewrite(saved, "lineage.json", older)
    registry(monkeypatch, lineage={1: lambda record: {**record, "entries": record["history"]}})
    monkeypatch.setattr(lineage, "SCHEMA_VERSION", 2)
    assert Policy.from_pretrained(saved).lineage == policy.lineage


def test_a_file_that_no_way_leads_from_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch):
    registry(monkeypatch)
    monkeypatch.setattr(specification, "SCHEMA_VERSION", 2)
    with pytest.raises(RefusedError, match="cannot bring up to 2") as raised:
        Policy.from_pretrained(saved)
    assert str(saved / "config.json") in str(raised.value)


def test_what_is_not_as_its_schema_says_is_refused(monkeypatch: pytest.MonkeyPatch):
    registry(monkeypatch, config={1: lambda record: {"new": record["old"]}})
    with pytest.raises(RefusedError, match="is not as schema_version 1 says"):
        migrate("config", {"schema_version": 1}, 2, Path("config.json"))
