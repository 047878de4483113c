"""``heredity inspect``, and what every command that reads a folder refuses."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from command_line import damage

from heredity.common.files import seal_json
from heredity.policies import Policy

CHECKPOINT_FILES = (
    "policy/config.json",
    "policy/model.safetensors",
    "policy/lineage.json",
    "training_state/state.safetensors",
    "training_state/manifest.json",
)


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
        # The compiler's flags are told as they were given.
        told = heredity("inspect", place).told.replace(os.environ["XLA_FLAGS"], "")
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
