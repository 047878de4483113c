import contextlib
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
from rich.console import Console

from heredity.cli.lineage import _check_parents, _drawn, describe
from heredity.cli.places import kind_of
from heredity.common.errors import RefusedError
from heredity.common.files import seal_json
from heredity.common.run_folder import RunFolder
from heredity.policies import Lineage, LineageEntry, Policy
from heredity.weights import flatten, unflatten

CHECKPOINT_FILES = (
    "policy/config.json",
    "policy/model.safetensors",
    "policy/lineage.json",
    "training_state/state.safetensors",
    "training_state/manifest.json",
)


@pytest.fixture
def policy(trained: Path) -> Path:
    return trained / "checkpoints" / "best" / "policy"


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "flipped":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :])
    elif how == "truncated":
        path.write_bytes(data[:-3])
    elif how == "missing":
        path.unlink()
    else:
        value = json.loads(data)
        value.pop("sha256")
        path.write_text(seal_json({**value, "schema_version": 99}))


# --- inspect --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "kind", "step"),
    [
        (".", "run", 512),
        ("checkpoints/last", "checkpoint", 512),
        ("checkpoints/000000000384", "checkpoint", 384),
        ("checkpoints/last/policy", "policy", 512),
        ("snapshots/000000000256", "snapshot", 256),
        ("snapshots/000000000256/policy", "policy", 256),
    ],
)
def test_inspect_tells_what_it_is(trained: Path, heredity, place: str, kind: str, step: int):
    done = heredity("inspect", trained / place, "--json")
    assert done.code == 0
    found = done.json
    assert (found["kind"], found["step"]) == (kind, step)
    policy = Policy.from_pretrained(
        trained / place / ("policy" if kind in ("checkpoint", "snapshot") else "")
        if kind != "run"
        else trained / "checkpoints" / "last" / "policy"
    )
    assert found["policy_hash"] == policy.policy_hash
    assert found["parameters"] == policy.parameter_count
    assert found["observation_space"]["type"] == "box"
    assert found["action_space"] == {"type": "discrete", "n": 2, "start": 0, "names": []}
    assert found["environment"]["id"] == "probe/observation-action-reward"
    told = heredity("inspect", trained / place)
    assert told.code == 0 and policy.policy_hash[:12] in told.told and f"step {step}" in told.told


def test_inspect_speaks_to_people(trained: Path, heredity, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "300")
    for place in (trained, trained / "checkpoints" / "last"):
        told = heredity("inspect", place).told
        for mark in ("{'", "['", "=", "True", "False", "None"):
            assert mark not in told, mark
        for words in (
            "environment probe/observation-action-reward, host no, length 5",
            "observation space 1 float32 from -1 to 1: signal",
            "action space 2 choices",
            "exactness exact",
            "prng implementation threefry2x32",
            "xla flags",
            "jax 0.",
        ):
            assert words in told, words
        assert re.search(r"time spent \d+\.\d s ", told)
    assert "shown last whole checkpoint, step 512" in heredity("inspect", trained).told


def test_inspect_of_a_run_names_what_is_torn(trained: Path, heredity):
    damage(trained / "checkpoints" / "last" / "policy" / "config.json", "flipped")
    found = heredity("inspect", trained, "--json").json
    assert found["step"] == 384
    assert "000000000512/policy/config.json" in found["refused"][0]


def test_a_checkpoint_of_another_run_is_not_shown_as_this_runs(trained: Path, heredity):
    path = trained / "checkpoints" / "000000000512" / "training_state" / "manifest.json"
    record = json.loads(path.read_text())
    own = record["run"]
    record.pop("sha256")
    path.write_text(seal_json({**record, "run": "elsewhere"}))
    done = heredity("inspect", trained, "--json")
    assert (done.code, done.json["run"], done.json["step"]) == (0, own, 384)
    (refused,) = done.json["refused"]
    assert f"belongs to the run elsewhere, this folder holds {own}" in refused
    assert f"belongs to the run elsewhere, this folder holds {own}" in heredity(
        "inspect", trained
    ).told.replace("  ", " ")


@pytest.mark.parametrize("command", ["inspect", "evaluate", "lineage"])
@pytest.mark.parametrize("what", ["absent", "empty", "file", "long"])
def test_what_is_none_of_them_is_refused(heredity, tmp_path: Path, command: str, what: str):
    place = tmp_path / ("x" * 300 if what == "long" else what)
    if what == "empty":
        place.mkdir()
    elif what == "file":
        place.write_text("x")
    done = heredity(command, place, "--json")
    assert done.code == (1 if what == "long" else 3)
    assert str(place) in done.err and done.out == ""


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, how) for name in CHECKPOINT_FILES for how in ("flipped", "truncated", "missing")),
        # The schema of the others stands in the JSON beside them.
        *((name, "future") for name in CHECKPOINT_FILES if name.endswith(".json")),
    ],
)
def test_damage_is_refused_by_name(trained: Path, heredity, name: str, how: str):
    checkpoint = (trained / "checkpoints" / "last").resolve()
    damage(checkpoint / name, how)
    places = [checkpoint]
    if name.startswith("policy/"):
        places.append(checkpoint / "policy")
    for place in places:
        for command in (["inspect"], ["evaluate", "--episodes", "1"]):
            done = heredity(command[0], place, *command[1:], "--json")
            assert done.code == 3
            assert name in done.err and done.out == ""
            if how == "future" and (place != checkpoint or "manifest" in name):
                assert "Upgrade heredity" in done.err


def test_a_checkpoint_without_its_training_state_is_no_snapshot(trained: Path, heredity):
    shutil.rmtree(trained / "checkpoints" / "000000000512" / "training_state")
    for command in ("inspect", "evaluate"):
        done = heredity(command, trained / "checkpoints" / "last")
        assert done.code == 3 and "manifest.json: is missing" in done.err


def test_brackets_in_names_are_text(trained: Path, heredity, tmp_path: Path):
    odd = tmp_path / "[red]run[" / "[/]"
    shutil.copytree(trained, odd, symlinks=True)
    for words in (["inspect", odd], ["lineage", odd], ["evaluate", odd, "--episodes", "1"]):
        done = heredity(*words)
        assert done.code == 0
    assert "[red]run[/[/]" in heredity("inspect", odd).told.replace(" ", "")


def test_a_forged_lineage_has_no_power_over_the_terminal(policy: Path, heredity):
    path = policy / "lineage.json"
    record = json.loads(path.read_text())
    record.pop("sha256")
    record["entries"][0]["operation"] = "[/bold][link=http://x]train"
    path.write_text(seal_json(record))
    done = heredity("lineage", policy)
    assert done.code == 0 and "[/bold][link=http://x]train" in done.told


# --- evaluate -------------------------------------------------------------------------------------


def test_evaluate_tells_the_return(policy: Path, heredity):
    words = ("evaluate", policy, "--episodes", "3", "--seed", "7")
    found = heredity(*words, "--json").json
    assert found["episodes"] == 3 and found["mean_length"] == 5.0
    assert found["policy_hash"] == Policy.from_pretrained(policy).policy_hash
    assert found["environment"] == "probe/observation-action-reward"
    assert (found["deterministic"], found["seed"], found["cut"]) == (True, 7, 0)
    assert -5 <= found["mean_return"] <= 5 and found["std_return"] >= 0
    assert heredity(*words, "--json").json == found
    told = heredity(*words)
    assert told.code == 0 and f"{found['mean_return']:.2f} ±" in told.told
    assert heredity(*words, "--json", "--stochastic").json["deterministic"] is False


def test_of_a_run_the_choice_is_told(trained: Path, heredity):
    best = (trained / "checkpoints" / "best").resolve()
    told = f"best checkpoint of {trained}, step {int(best.name):,}"
    for command in (["evaluate", "--episodes", "1"], ["lineage"]):
        done = heredity(command[0], trained, *command[1:])
        assert done.out.splitlines()[0] == told
        assert "checkpoint of" not in heredity(command[0], best, *command[1:]).out
    found = heredity("evaluate", trained, "--episodes", "1", "--json").json
    assert found["path"] == str(trained / "checkpoints" / "best" / "policy")
    for name in ("best", "last"):
        with pytest.raises(RefusedError, match=f"Did you mean {trained}/checkpoints/{name}/policy"):
            Policy.from_pretrained(trained)
        (trained / "checkpoints" / name).unlink()
        if name == "best":
            assert heredity("lineage", trained).out.startswith("last checkpoint of")
    with pytest.raises(RefusedError, match="is a run folder without a checkpoint"):
        Policy.from_pretrained(trained)
    shutil.rmtree(trained / "checkpoints")
    with pytest.raises(RefusedError, match="describes a run, not a policy"):
        Policy.from_pretrained(trained)


def test_with_its_links_broken_a_run_stands_for_its_newest_checkpoint(trained: Path, heredity):
    newest = (trained / "checkpoints" / "last").resolve()
    for name in ("best", "last"):
        (trained / "checkpoints" / name).unlink()
        (trained / "checkpoints" / name).symlink_to(name)
    told = f"newest checkpoint of {trained}, step {int(newest.name):,}"
    assert heredity("evaluate", trained, "--episodes", "1").out.splitlines()[0] == told


@pytest.mark.parametrize("place", [".", "checkpoints/best", "snapshots/000000000512"])
def test_any_folder_with_a_policy_will_do(trained: Path, heredity, place: str):
    assert heredity("evaluate", trained / place, "--episodes", "1", "--json").json["episodes"] == 1


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--episodes", "0"], 2, "episodes 0: a whole number >= 1"),
        (["--episodes", "-3"], 2, "episodes -3"),
        (["--episodes", "1.5"], 2, "whole number such as"),
        (["--seed", "-1"], 2, "seed -1"),
        (["--seed", "1e10"], 2, "seed 10000000000"),
        (["--env", "gymnax/CartPole-v1"], 3, "observations are not the policy's"),
        (["--env", "probe/continuous-action"], 3, "actions are not the policy's"),
        (["--env", "probe/constant-rewrad"], 2, "did you mean 'probe/constant-reward'"),
        (["--env", "probe/constant-reward", "--env.length", "x"], 2, "--env.length"),
        (["--env.length", "3"], 2, "--env.length"),
        (["--episods", "3"], 2, "--episodes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_answered(policy: Path, heredity, words: list[str], code: int, told: str):
    done = heredity("evaluate", policy, *words, "--json")
    assert done.code == code and told in done.told and done.out == ""


def test_another_environment_can_be_named(policy: Path, heredity):
    found = heredity(
        "evaluate", policy, "--env", "probe/constant-reward", "--env.length", "2",
        "--episodes", "2", "--json",
    ).json  # fmt: skip
    assert (found["environment"], found["mean_return"]) == ("probe/constant-reward", 2.0)


def test_a_return_that_is_no_number_is_told(
    policy: Path, heredity, monkeypatch: pytest.MonkeyPatch
):
    import dataclasses

    from heredity.training.evaluation import Evaluator

    real = Evaluator.evaluate

    def evaluate(self, params, seed=0):
        evaluation = real(self, params, seed)
        return dataclasses.replace(evaluation, returns=evaluation.returns * float("nan"))

    monkeypatch.setattr(Evaluator, "evaluate", evaluate)
    done = heredity("evaluate", policy, "--episodes", "1", "--json")
    assert done.code == 1 and "is not finite" in done.err and done.out == ""


# --- lineage --------------------------------------------------------------------------------------


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
    entries = heredity("lineage", place, "--verify", "--json").json["entries"]
    lines = heredity("lineage", place, "--verify").out.splitlines()
    assert lines[0] == f"{place}/policy"
    assert lines[1] == f"sha256:{Policy.from_pretrained(place / 'policy').policy_hash}"
    assert lines[-1] == "chain whole: 5 weights checked"
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
        assert "000000000256/policy/model.safetensors" in done.told.replace(" ", "")
        assert words or done.out.splitlines()[-1] == "chain broken: 5 weights checked, 1 altered"
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
        return {"operation": operation, "step": step, "hash": own, "parent": parent}

    born, later = entry("train", 0, "a", None), entry("checkpoint", 8, "c", "b")
    _check_parents(tmp_path, [born, later])
    assert [e["parent_verified"] for e in (born, later)] == [None, "not kept"]
    middle = entry("snapshot", 4, "b", "a")
    _check_parents(tmp_path, [born, middle, later])
    assert (middle["parent_verified"], later["parent_verified"]) == ("recorded", "recorded")
    for entries in (
        [born, entry("snapshot", 4, "b", "c"), later],
        [born, entry("snapshot", 4, "b", None), later],
        [entry("train", 0, "a", "z"), later],
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
    told = r"chain whole: 1 weights checked, [12] no longer kept \(pruned\)"
    assert done.code == 0 and re.fullmatch(told, done.out.splitlines()[-1])


def test_view_says_where(trained: Path, heredity, monkeypatch: pytest.MonkeyPatch):
    served = []

    class Handle:
        url = "http://127.0.0.1:8081"

        def wait(self) -> None:
            raise KeyboardInterrupt

        def stop(self) -> None:
            served.append("stopped")

    monkeypatch.setattr("heredity.viewer.view", lambda *given: Handle())
    done = heredity("view", trained, "--port", "8081")
    assert (done.code, done.out, done.err) == (0, f"{Handle.url} (ctrl-C to stop)\n", "")
    assert served == ["stopped"]
    assert heredity("view", trained).err == "port 8080 was taken\n"


def test_view_of_what_is_no_run(heredity, tmp_path: Path):
    done = heredity("view", tmp_path, "--report")
    assert done.code == 3 and str(tmp_path) in done.err


def test_retired_snapshots_leave_the_rest_readable(trained: Path, heredity):
    folder = RunFolder(trained)
    for step in folder.snapshot_steps()[:3]:
        shutil.rmtree(folder.snapshot(step))
    found = heredity("lineage", trained / "checkpoints" / "last", "--verify", "--json").json
    assert found["entries"][0]["operation"] == "train"
    assert "altered" not in {entry["verified"] for entry in found["entries"]}
