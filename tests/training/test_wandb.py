"""What is sent to Weights & Biases: to a stand-in that counts and drops rows as it does."""

from __future__ import annotations

import json
import logging
import math
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import metrics_steps, resume, train

from heredity.common.errors import MissingExtraError
from heredity.common.run_folder import RunFolder
from heredity.training.callbacks import WandbCallback
from heredity.training.metrics import STEP, WandbSink


class StoredRun:
    """A run as it lies there, over all processes that logged to it."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.begun: list[dict[str, Any]] = []
        self.metrics: dict[str, dict[str, Any]] = {}
        self.finished = 0

    def define_metric(self, name: str, **options: Any) -> None:
        self.metrics[name] = options

    def log(self, row: dict[str, float], step: int | None = None) -> None:
        following = self.rows[-1][0] + 1 if self.rows else 0
        if step is not None and step < following:
            return  # with a warning: "step must be monotonically increasing"
        self.rows.append((following if step is None else step, dict(row)))

    def finish(self) -> None:
        self.finished += 1

    @property
    def steps(self) -> list[float]:
        return [row[STEP] for _, row in self.rows]


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, StoredRun]:
    """The runs there are, by id."""
    runs: dict[str, StoredRun] = {}

    def init(*, project: str, config: dict[str, Any], id: str, resume: str) -> StoredRun:
        assert id not in runs or resume == "allow"
        run = runs.setdefault(id, StoredRun())
        run.begun.append({"project": project, "config": config, "resume": resume})
        return run

    module = types.ModuleType("wandb")
    monkeypatch.setattr(module, "init", init, raising=False)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return runs


def test_rows_are_drawn_over_steps(stored: dict[str, StoredRun]):
    sink = WandbSink("ants", {"seed": 3}, "abc")
    sink.write(64, {"train/loss": 0.5, "rollout/ep_rew_mean": math.nan})
    sink.write(2**40, {"train/loss": 0.25})
    sink.close()
    run = stored["abc"]
    assert run.begun == [{"project": "ants", "config": {"seed": 3}, "resume": "allow"}]
    assert run.metrics == {STEP: {"hidden": True}, "*": {"step_metric": STEP}}
    # What was not measured is not sent, as in the other logs.
    assert run.rows == [
        (0, {STEP: 64, "train/loss": 0.5}),
        (1, {STEP: 2**40, "train/loss": 0.25}),
    ]
    assert run.finished == 1


def test_no_row_is_lost_after_going_back(
    stored: dict[str, StoredRun], caplog: pytest.LogCaptureFixture
):
    sink = WandbSink("ants", {}, "abc")
    for step in (64, 128, 192):
        sink.write(step, {"a": step})
    with caplog.at_level(logging.WARNING):
        sink.rewind(64)
    assert "keeps the rows after step 64" in caplog.text
    sink.write(128, {"a": 7})
    sink.close()
    again = WandbSink("ants", {}, "abc")  # another process, from the checkpoint at 64
    again.write(128, {"a": 8})
    again.write(192, {"a": 9})
    run = stored["abc"]
    assert run.steps == [64, 128, 192, 128, 128, 192]
    assert [row["a"] for _, row in run.rows] == [64, 128, 192, 7, 8, 9]
    counted = [count for count, _ in run.rows]
    assert counted == sorted(set(counted))


def test_a_run_and_its_resume_are_one_run_there(tmp_path: Path, stored: dict[str, StoredRun]):
    folder = RunFolder(tmp_path / "run")
    train(
        folder.root, 256, WandbCallback("ants"), log_every=64, checkpoint_every=128,
        evaluation_episodes=0,
    )  # fmt: skip
    config = folder.read_config()
    ((name, run),) = stored.items()
    assert name == config["run_id"]
    assert json.loads(json.dumps(run.begun[0]["config"])) == config
    assert run.steps == metrics_steps(folder.root) == [64, 128, 192, 256]
    shutil.rmtree(folder.checkpoint(256))  # as if it had died on the way there
    resume(folder.root, WandbCallback("ants"), total_timesteps=320)
    assert list(stored) == [name] and run.finished == 2
    assert run.steps == [64, 128, 192, 256, 192, 256, 320]
    table = folder.read_metrics()
    assert table[STEP].tolist() == [64, 128, 192, 256, 320]
    # The same numbers went to both, and going over steps again gave the same ones.
    by_step = {row[STEP]: row["train/loss"] for _, row in run.rows}
    assert [by_step[step] for step in table[STEP]] == pytest.approx(table["train/loss"], rel=1e-6)


def test_the_library_takes_what_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Offline: nothing leaves this machine."""
    for name, value in (("MODE", "offline"), ("DIR", str(tmp_path)), ("SILENT", "true")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    sink = WandbSink("ants", {"seed": 3}, "abc")
    for step in (64, 128, 192, 128):
        sink.write(step, {"a": float(step)})
    assert sink._run.step == 4
    assert dict(sink._run.summary)["a"] == 128
    sink.close()
    assert list(tmp_path.glob("wandb/offline-run-*/run-abc.wandb"))


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"heredity\[wandb\]"):
        WandbSink("ants", {}, "abc")
