"""Weights that are frozen at first and trained from a step on: exactly, recorded, and proven."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import CONFIG, SIZE, diverging, environment, final_bytes, resume, train

import heredity as hd
from heredity.algorithms.ppo.algorithm import PPO
from heredity.common.errors import UnknownNameError, UsageError
from heredity.common.run_folder import RunFolder
from heredity.training.assembly import _warn_of_late_unfreezing
from heredity.training.checkpoints import read_checkpoint
from heredity.weights import WeightReport

FROZEN = "actor/hidden_0/**"
UNFREEZE = 2 * SIZE
THAWING = dataclasses.replace(CONFIG, freeze=(FROZEN,), unfreeze=(f"{FROZEN}@{UNFREEZE}",))
TOTAL = 4 * SIZE
KEPT: dict[str, Any] = {"checkpoint_every": SIZE, "evaluation_episodes": 0, "keep_last": 9}


def bytes_at(folder: Path, step: int) -> dict[str, bytes]:
    policy = read_checkpoint(RunFolder(folder).checkpoint(step)).policy
    return {path: leaf.tobytes() for path, leaf in policy.items() if path.startswith("actor/hidd")}


def slots_at(folder: Path, step: int) -> set[str]:
    state = read_checkpoint(RunFolder(folder).checkpoint(step)).state
    return {path for path in state if path.startswith("optimizer/") and "hidden_0" in path}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thawing") / "whole"
    train(folder, TOTAL, config=THAWING, **KEPT)
    return folder


def test_it_is_frozen_up_to_the_step_and_trained_from_there(whole: Path):
    first, at_step, after = (bytes_at(whole, step) for step in (SIZE, UNFREEZE, UNFREEZE + SIZE))
    assert len(first) == 2 and first == at_step
    assert all(after[path] != at_step[path] for path in at_step)
    actors = {path for path in slots_at(whole, SIZE) if "actor" in path}
    assert actors == set()
    grown = {path for path in slots_at(whole, UNFREEZE) if "actor" in path}
    assert len(grown) == 4  # two moments of two leaves
    state = read_checkpoint(RunFolder(whole).checkpoint(UNFREEZE)).state
    assert all(not state[path].any() for path in grown)


def test_the_lineage_and_the_manifest_say_so(whole: Path):
    last = RunFolder(whole).checkpoint(TOTAL)
    entries = hd.Policy.from_pretrained(last / "policy").lineage.entries
    (entry,) = [entry for entry in entries if entry.operation == "unfreeze"]
    assert entry.step == UNFREEZE and entry.parent == entries[0].hash
    assert entry.arguments["patterns"] == [FROZEN]
    report = WeightReport.from_json(entry.arguments["report"])
    trained = {row.path: row.size for row in report.rows if row.action == "trained"}
    assert set(trained) == {"actor/hidden_0/kernel", "actor/hidden_0/bias"}
    assert f"{8 * sum(trained.values()):,} bytes" in report.notes[0]
    assert "from the source" not in report.summary()
    manifests = [
        json.loads((RunFolder(whole).checkpoint(step) / "training_state/manifest.json").read_text())
        for step in (SIZE, UNFREEZE)
    ]
    assert "unfrozen" not in manifests[0] and set(manifests[0]["frozen"]) == set(trained)
    assert manifests[1]["unfrozen"] == [{"pattern": FROZEN, "step": UNFREEZE}]
    assert manifests[1]["frozen"] == {}


@pytest.mark.parametrize("left_at", [SIZE, UNFREEZE, UNFREEZE + SIZE])
def test_resume_is_exact_before_at_and_after_the_step(whole: Path, tmp_path: Path, left_at: int):
    killed = Path(shutil.copytree(whole, tmp_path / "killed", symlinks=True))
    for step in RunFolder(killed).checkpoint_steps():
        if step > left_at:
            shutil.rmtree(RunFolder(killed).checkpoint(step))
    resume(killed)
    assert final_bytes(killed, TOTAL) == final_bytes(whole, TOTAL)


def test_environments_on_the_host_go_on_with_their_episodes(tmp_path: Path):
    train(tmp_path, TOTAL, config=THAWING, env=environment(host=True), **KEPT)
    assert bytes_at(tmp_path, SIZE) == bytes_at(tmp_path, UNFREEZE) != bytes_at(tmp_path, TOTAL)
    wanted = final_bytes(tmp_path, TOTAL)
    shutil.rmtree(RunFolder(tmp_path).checkpoint(TOTAL))
    resume(tmp_path)
    assert final_bytes(tmp_path, TOTAL) == wanted


def read_last(folder: Path) -> Any:
    return read_checkpoint(RunFolder(folder).checkpoint(TOTAL)).policy


def test_several_seeds_thaw_together_and_as_they_would_alone(whole: Path, tmp_path: Path):
    train(tmp_path, TOTAL, config=THAWING, seeds=2, **KEPT)
    seed = tmp_path / "seed-0"
    assert bytes_at(seed, SIZE) == bytes_at(seed, UNFREEZE) != bytes_at(seed, TOTAL)
    for path, leaf in read_last(whole).items():
        np.testing.assert_allclose(leaf, read_last(seed)[path], rtol=1e-3, atol=1e-4, err_msg=path)


def test_a_rollback_across_the_step_freezes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    diverging(monkeypatch, [UNFREEZE + SIZE])
    kept = {**KEPT, "checkpoint_every": TOTAL}  # so that only the first moment is a good one
    train(tmp_path, TOTAL, config=THAWING, on_divergence="rollback", **kept)
    entries = hd.Policy.from_pretrained(
        RunFolder(tmp_path).checkpoint(TOTAL) / "policy"
    ).lineage.entries
    done = [(e.operation, e.step) for e in entries if e.operation in ("unfreeze", "rollback")]
    assert done == [("unfreeze", UNFREEZE), ("rollback", 0), ("unfreeze", UNFREEZE)]
    manifest = RunFolder(tmp_path).checkpoint(TOTAL) / "training_state/manifest.json"
    assert len(json.loads(manifest.read_text())["unfrozen"]) == 1


def test_a_learning_rate_of_its_own_is_how_far_a_weight_moves(tmp_path: Path):
    one_step = {"num_epochs": 1, "num_minibatches": 1, "freeze": (), "unfreeze": ()}
    config = dataclasses.replace(CONFIG, **one_step)
    scaled = dataclasses.replace(config, learning_rate_scale=("actor/**=0.25",))
    moved = []
    for number, each in enumerate((config, scaled)):
        folder = tmp_path / str(number)
        train(folder, SIZE, config=each, **KEPT, snapshot_every=SIZE)
        before, after = (
            read_checkpoint(RunFolder(folder).checkpoint(step)).policy for step in (0, SIZE)
        )
        moved.append({path: after[path] - before[path] for path in before})
    usual, slower = moved
    for path in usual:
        share = 0.25 if path.startswith("actor/") else 1.0
        np.testing.assert_allclose(slower[path], share * usual[path], rtol=1e-3, atol=1e-6)
    assert np.abs(usual["actor/output/kernel"]).max() > 1e-3


@pytest.mark.parametrize(("total", "told"), [(UNFREEZE, True), (UNFREEZE + 1, False)])
def test_unfreezing_that_trains_nothing_is_told(
    total: int, told: bool, caplog: pytest.LogCaptureFixture
):
    env = environment()
    spaces = env.observation_space, env.action_space
    _warn_of_late_unfreezing(PPO(THAWING, *spaces, schedule_timesteps=total), total)
    assert ("trains nothing: the last iteration of this run begins at" in caplog.text) is told


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"unfreeze": ("actor/**",)}, UsageError, "PATTERN@STEP was expected"),
        ({"unfreeze": ("actor/**@0",)}, UsageError, "steps >= 1"),
        ({"unfreeze": ("actor/**@5",)}, UsageError, "no weight that is still frozen"),
        ({"freeze": (FROZEN,), "unfreeze": ("actr/**@5",)}, UnknownNameError, "'actr/"),
        ({"learning_rate_scale": ("actor/**",)}, UsageError, "PATTERN=NUMBER was expected"),
        ({"learning_rate_scale": ("actor/**=0",)}, UsageError, "> 0"),
        ({"learning_rate_scale": ("actr/**=0.5",)}, UnknownNameError, "'actr/"),
    ],
)
def test_what_cannot_be_is_refused_before_training(given: dict, error: type, told: str):
    with pytest.raises(error, match=told):
        train(None, SIZE, config=dataclasses.replace(CONFIG, **given), evaluation_episodes=0)
