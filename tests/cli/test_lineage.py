"""``heredity lineage``."""

import contextlib
import dataclasses
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import damage
from rich.console import Console

from heredity.cli.lineage import _check_parents, _drawn, describe
from heredity.cli.places import kind_of
from heredity.common.errors import RefusedError
from heredity.common.files import seal_json
from heredity.common.run_folder import RunFolder
from heredity.policies import Lineage, LineageEntry, Policy
from heredity.weights import flatten, unflatten


def test_lineage_goes_back_to_the_beginning(trained: Path, heredity):
    heredity("resume", trained, "--total-timesteps", "640", "--no-progress", "--no-report")
    place = trained / "checkpoints" / "last"
    found = heredity("lineage", place, "--verify", "--json").json
    assert found["policy_hash"] == Policy.from_pretrained(place / "policy").policy_hash
    told = [(entry["operation"], entry["step"]) for entry in found["entries"]]
    assert told == [
        ("train", 0), ("snapshot", 0), ("snapshot", 128), ("snapshot", 256), ("snapshot", 384),
        ("snapshot", 512), ("checkpoint", 512), ("resume", 512), ("snapshot", 640),
        ("checkpoint", 640),
    ]  # fmt: skip
    assert {entry["verified"] for entry in found["entries"]} == {"verified"}
    drawn = heredity("lineage", place)
    assert drawn.code == 0 and "resume" in drawn.told and "step 640" in drawn.told


def test_lineage_is_whole_where_nobody_looks(
    trained: Path, heredity, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "40")
    place = trained / "checkpoints" / "last"
    found = heredity("lineage", place, "--verify", "--json").json
    entries, nothing = found["entries"], {"altered": 0, "pruned": 0, "not_found": 0}
    assert found["verdict"] == "whole" and found["weights"] == {"checked": 5, **nothing}
    lines = heredity("lineage", place, "--verify").out.splitlines()
    assert lines[0] == f"{place}/policy"
    assert lines[1] == f"sha256:{Policy.from_pretrained(place / 'policy').policy_hash}"
    assert lines[-1] == "chain whole: 5 policies checked"
    for line, entry in zip(lines[2:-1], entries, strict=True):
        assert {entry["operation"], entry["hash"], entry["time"], "verified"} <= set(line.split())


def test_an_entry_of_a_lineage_fits_into_a_line_of_a_terminal(trained: Path):
    place = trained / "checkpoints" / "last"
    reading, writing = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "heredity", "lineage", str(place), "--verify"],
        env={
            **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "80", "TERM": "dumb",
        },
        stdout=writing, timeout=60,
    )  # fmt: skip
    os.close(writing)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal that nobody writes to
        while data := os.read(reading, 65536):
            shown += data
    os.close(reading)
    assert done.returncode == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()
    entries = describe(place, verify=True)["entries"]
    # The path of the policy may be longer than a line; its hash is not.
    assert f"sha256:{entries[-1]['hash']}" in lines
    assert sum(" step " in line for line in lines) == len(entries)
    assert lines.pop().startswith("chain whole: ")
    for line, entry in zip(lines[-len(entries) :], entries, strict=True):
        assert len(line) <= 80
        assert f"step {entry['step']:>3}  {entry['hash'][:12]}  " in line
        assert line.endswith("✓")


def test_large_numbers_fit_into_a_line_of_a_terminal():
    entry = {
        "operation": "checkpoint", "step": 100_000_000, "hash": "a" * 64, "parent": "b" * 64,
        "time": "2026-01-02T03:04:05+00:00", "verified": "not kept", "parent_verified": "not kept",
        "score": {"mean_return": 9876.5, "std_return": 1234.5},
    }  # fmt: skip
    born = {**entry, "operation": "train", "score": None, "parent_verified": None}
    found = {"path": "here", "policy_hash": "a" * 64, "entries": [born, entry]}
    out = Console(width=80, file=io.StringIO())
    out.print(_drawn(found, short=True))
    assert out.file.getvalue().splitlines()[2:] == [
        "└── train      step 100,000,000  aaaaaaaaaaaa  2026-01-02 03:04  –",
        "    └── checkpoint step 100,000,000  aaaaaaaaaaaa  return 9,876 ± 1,234  –",
        "                   parent bbbbbbbbbbbb not kept",
    ]


def test_an_ancestor_that_was_altered_is_found(trained: Path, heredity):
    damage(trained / "snapshots" / "000000000256" / "policy" / "model.safetensors", "flipped")
    place = trained / "checkpoints" / "last"
    assert heredity("lineage", place).code == 0
    for words in ([], ["--json"]):
        done = heredity("lineage", place, "--verify", *words)
        assert done.code == 3
        assert "heredity: " in done.err and "000000000256/policy/model.safetensors" in done.err
        assert words or done.out.splitlines()[-1] == "chain broken: 5 policies checked, 1 altered"
    assert done.json["verdict"] == "broken" and done.json["weights"]["altered"] == 1
    found = {entry["step"]: entry["verified"] for entry in done.json["entries"]}
    assert found[256] == "altered" and found[128] == "verified"


def test_a_torn_neighbour_is_told_and_json_stays_one_object(trained: Path, heredity):
    damage(trained / "snapshots" / "000000000256" / "policy" / "lineage.json", "truncated")
    done = heredity("lineage", trained / "checkpoints" / "last", "--json")
    assert done.code == 0 and done.json["entries"]
    assert "000000000256/policy/lineage.json" in done.err.replace("\n", "")


def test_a_policy_alone_has_its_own_lineage(policy: Path, heredity, tmp_path: Path):
    shutil.copytree(policy.resolve(), tmp_path / "alone")
    found = heredity("lineage", tmp_path / "alone", "--verify", "--json").json
    assert found["entries"][0]["operation"] == "train"
    assert found["entries"][-1]["verified"] == "verified"
    damage(tmp_path / "alone" / "lineage.json", "flipped")
    assert heredity("lineage", tmp_path / "alone").code == 3


def test_an_edited_policy_says_so(policy: Path, heredity, tmp_path: Path):
    trained = Policy.from_pretrained(policy)
    params = unflatten({k: v + 1 for k, v in flatten(trained.params).items()})
    edited = Policy(trained.spec, params, trained.lineage)
    edited.save_pretrained(tmp_path / "edited")
    found = heredity("lineage", tmp_path / "edited", "--verify", "--json").json
    last = found["entries"][-1]
    assert (last["operation"], last["hash"]) == ("edit", edited.policy_hash)
    assert (last["verified"], last["parent_verified"]) == ("verified", "recorded")
    inspected = heredity("inspect", tmp_path / "edited", "--json").json
    assert inspected["policy_hash"] == edited.policy_hash and inspected["score"] is None


def test_a_parent_that_nobody_recorded_is_told(policy: Path, heredity, tmp_path: Path):
    trained = Policy.from_pretrained(policy)
    born = LineageEntry("train", "a" * 64, None, 0, "run-1")
    saved = LineageEntry("checkpoint", trained.policy_hash, "d" * 64, 64, "run-1")
    Policy(trained.spec, trained.params, Lineage((born, saved))).save_pretrained(tmp_path / "p")
    found = heredity("lineage", tmp_path / "p", "--verify", "--json").json
    assert [entry["parent_verified"] for entry in found["entries"]] == [None, "not kept"]
    done = heredity("lineage", tmp_path / "p", "--verify")
    assert done.code == 0 and f"parent {'d' * 64} not kept" in done.told


def test_a_history_of_other_weights_is_refused(policy: Path, heredity, tmp_path: Path):
    shutil.copytree(policy.resolve(), tmp_path / "forged")
    path = tmp_path / "forged" / "lineage.json"
    record = json.loads(path.read_text())
    record.pop("sha256")
    record["entries"][-1]["hash"] = "e" * 64
    path.write_text(seal_json(record))
    for command in ("lineage", "inspect", "evaluate"):
        done = heredity(command, tmp_path / "forged", "--json")
        assert done.code == 3 and "lineage.json: ends with weights eeee" in done.err


def test_parents_are_checked_against_the_entries_before(tmp_path: Path):
    def entry(operation: str, step: int, own: str, parent: str | None) -> dict:
        return {"operation": operation, "step": step, "hash": own, "parent": parent, "run": "r"}

    born, later = entry("train", 0, "a", None), entry("checkpoint", 8, "c", "b")
    _check_parents(tmp_path, [born, later])
    assert [e["parent_verified"] for e in (born, later)] == [None, "not kept"]
    middle = entry("snapshot", 4, "b", "a")
    _check_parents(tmp_path, [born, middle, later])
    assert (middle["parent_verified"], later["parent_verified"]) == ("recorded", "recorded")
    # What a run began with may have been a policy without a lineage.
    given = entry("train", 0, "a", "z")
    _check_parents(tmp_path, [given, later])
    assert given["parent_verified"] == "not kept"
    for entries in (
        [born, entry("snapshot", 4, "b", "c"), later],
        [born, entry("snapshot", 4, "b", None), later],
    ):
        with pytest.raises(RefusedError, match=r"has (the )?parent"):
            _check_parents(tmp_path, entries)


def test_only_the_step_of_a_run_is_a_checkpoint_by_its_place(trained: Path, tmp_path: Path):
    last = (trained / "checkpoints" / "last").resolve()
    for name in ("mine", "12", "000000000512.refused-abc123"):
        shutil.copytree(last / "policy", tmp_path / "checkpoints" / name)
        assert kind_of(tmp_path / "checkpoints" / name) == "policy"
    shutil.copytree(last / "policy", tmp_path / "checkpoints" / "000000000512")
    assert kind_of(tmp_path / "checkpoints" / "000000000512") == "checkpoint"
    assert kind_of(trained / "checkpoints" / "last") == "checkpoint"


def test_pruned_ancestors_are_counted(trained: Path, heredity):
    folder = RunFolder(trained)
    for step in folder.snapshot_steps():
        shutil.rmtree(folder.snapshot(step))
    for step in folder.checkpoint_steps():
        if step != 512:
            shutil.rmtree(folder.checkpoint(step))
    done = heredity("lineage", trained / "checkpoints" / "last", "--verify")
    told = r"chain whole: 1 policy checked, [12] no longer kept \(pruned\)"
    assert done.code == 0 and re.fullmatch(told, done.out.splitlines()[-1])


def test_retired_snapshots_leave_the_rest_readable(trained: Path, heredity):
    folder = RunFolder(trained)
    for step in folder.snapshot_steps()[:3]:
        shutil.rmtree(folder.snapshot(step))
    found = heredity("lineage", trained / "checkpoints" / "last", "--verify", "--json").json
    assert found["entries"][0]["operation"] == "train"
    assert "altered" not in {entry["verified"] for entry in found["entries"]}


def test_a_forged_lineage_has_no_power_over_the_terminal(policy: Path, heredity):
    path = policy / "lineage.json"
    record = json.loads(path.read_text())
    record.pop("sha256")
    record["entries"][0]["operation"] = "[/bold][link=http://x]train"
    path.write_text(seal_json(record))
    done = heredity("lineage", policy)
    assert done.code == 0 and "[/bold][link=http://x]train" in done.told


def test_operations_tell_what_they_did_and_the_scores_before_and_after(
    trained: Path, heredity, tmp_path: Path
):
    parent = Policy.from_pretrained(trained / "checkpoints" / "last" / "policy")
    bias = parent.params["actor"]["hidden_0"]["bias"] + 1
    child, _ = parent.inject({"bias": bias}, into="actor/hidden_0", allow=["kernel"])
    score = {"mean_return": 9.0, "std_return": 1.0, "episodes": 2}
    last = child.lineage.entries[-1]
    measured = dataclasses.replace(last, operation="evaluate", parent=last.hash, score=score)
    lineage = child.lineage.then(dataclasses.replace(measured, arguments={}))
    Policy(child.spec, child.params, lineage).save_pretrained(tmp_path / "child")
    found = heredity("lineage", tmp_path / "child", "--json", "--verify").json["entries"]
    injected = next(entry for entry in found if entry["operation"] == "inject")
    assert injected["parent"] == parent.policy_hash and injected["verified"] == "verified"
    assert injected["score_before"] == parent.lineage.score_of(parent.policy_hash)
    assert injected["score_after"] == score
    # Its ancestors lie in a run elsewhere, which a person may name.
    assert {entry["verified"] for entry in found} == {"verified", "not kept"}
    searched = heredity("lineage", tmp_path / "child", "--verify", "--json", "--search", trained)
    assert {entry["verified"] for entry in searched.json["entries"]} == {"verified"}
    assert len(searched.json["entries"]) == len(found) + 5  # its snapshots
    above = heredity("lineage", tmp_path / "child", "--verify", "--search", trained.parent)
    assert above.out.splitlines()[-1].startswith("chain whole: ")
    nowhere = heredity("lineage", tmp_path / "child", "--search", tmp_path / "nowhere")
    assert nowhere.code == 3 and "given with --search" in nowhere.told
    shown = heredity("lineage", tmp_path / "child").out
    assert "inject: " in shown and " before, 9.0 ± 1.0 after" in shown


def test_a_run_that_begins_with_a_policy_of_another_counts_its_steps_anew(tmp_path: Path):
    def entry(operation: str, step: int, own: str, parent: str | None, run: str) -> dict:
        return {"operation": operation, "step": step, "hash": own, "parent": parent, "run": run}

    entries = [
        entry("train", 0, "a", None, "one"),
        entry("checkpoint", 8, "b", "a", "one"),
        entry("train", 0, "b", "b", "two"),
    ]
    _check_parents(tmp_path, entries)
    assert [e["parent_verified"] for e in entries] == [None, "recorded", "recorded"]
