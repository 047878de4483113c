import dataclasses
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import train

from heredity.common.errors import MissingExtraError, UsageError
from heredity.common.run_folder import RunFolder
from heredity.training.callbacks import (
    Callback,
    CheckpointCallback,
    ConvertCallback,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
    WandbCallback,
    as_callbacks,
)
from heredity.training.evaluation import Evaluation
from heredity.training.events import Event
from heredity.training.progress import ProgressBarCallback
from heredity.training.settings import RunSettings


def event(mean: float, step: int = 0, best: bool = False) -> Event:
    measured = Evaluation(np.full(2, mean), np.ones(2, np.int64), True)
    return Event(step, 100, {}, None, {}, None, measured, best)


class Recorder(Callback):
    """Writes down what it is told."""

    def __init__(self, every: int | None = None) -> None:
        self.every = every
        self.told: list[tuple] = []

    def on_training_start(self, step: int, total_timesteps: int) -> None:
        self.told.append(("start", step, total_timesteps))

    def on_progress(self, step: int, row: dict[str, float]) -> None:
        self.told.append(("progress", step))

    def on_event(self, event: Event) -> None:
        self.told.append(("event", event.step))

    def on_training_end(self, step: int) -> None:
        self.told.append(("end", step))

    def steps(self) -> list[int]:
        return [entry[1] for entry in self.told if entry[0] == "event"]


# --- what people pass -----------------------------------------------------------------------------


def test_one_several_functions_and_none():
    one, function = Recorder(), lambda event: None
    assert as_callbacks(None) == [] and as_callbacks([]) == []
    assert as_callbacks(one) == [one]
    flat = as_callbacks([one, [function, (one,)]])
    assert [type(callback) for callback in flat] == [Recorder, ConvertCallback, Recorder]
    for wrong in (3, "callback", [3]):
        with pytest.raises(UsageError, match="callback"):
            as_callbacks(wrong)


def test_a_function_ends_the_run_with_false_and_with_nothing_else():
    for answer, expected in ((False, False), (True, True), (None, None), (0, 0)):
        assert ConvertCallback(lambda event, answer=answer: answer).on_event(event(1)) == expected
    seen = []
    train(None, 1024, callback=lambda event: seen.append(event.step), evaluate_every=512)
    assert seen == [512, 1024]
    train(None, 1024, callback=lambda event: False, evaluate_every=512)


# --- those of Stable-Baselines3 -------------------------------------------------------------------


def test_reward_threshold():
    callback = StopTrainingOnRewardThreshold(10)
    assert [callback.on_event(event(mean)) for mean in (9.99, 10, 11)] == [True, False, False]
    for mean in (float("nan"), float("inf"), -float("inf")):
        assert callback.on_event(event(mean)) is True, mean


def test_no_improvement():
    callback = StopTrainingOnNoModelImprovement(1, min_evals=2)
    bests = [False, False, True, False, True, False, False]
    assert [callback.on_event(event(0, best=best)) for best in bests] == [True] * 6 + [False]


def test_eval_callback_tells_of_the_best_and_of_all():
    best, after = Recorder(), Recorder()
    callback = EvalCallback(100, 3, best, after)
    settings = callback.configure(RunSettings(total_timesteps=1000))
    assert (settings.evaluate_every, settings.evaluation_episodes) == (100, 3)
    assert callback.on_event(event(1, 5, True)) and callback.on_event(event(1, 6, False))
    assert (best.steps(), after.steps()) == ([5], [5, 6])
    stops = EvalCallback(100, 3, StopTrainingOnRewardThreshold(10))
    assert [stops.on_event(event(11, best=best)) for best in (False, True)] == [True, False]


def test_every_n_steps_counts_steps():
    seen = Recorder()
    callback = EveryNTimesteps(100, seen)
    callback.on_training_start(250, 1000)
    for step in (290, 300, 310, 399, 450, 600):
        assert callback.on_event(event(1, step))
    assert seen.steps() == [300, 450, 600]
    assert not EveryNTimesteps(1, lambda event: False).on_event(event(1, 1))
    with pytest.raises(UsageError, match="n_steps 0"):
        EveryNTimesteps(0, None)


def test_in_a_run(tmp_path: Path):
    everything, every = Recorder(), Recorder()
    train(
        tmp_path, 640, evaluate_every=256,
        callback=[everything, EveryNTimesteps(192, every), CheckpointCallback(128)],
        keep_last=99,
    )  # fmt: skip
    assert everything.steps() == [192, 256, 384, 512, 576, 640]
    assert every.steps() == [192, 384, 576]
    assert everything.told[0] == ("start", 0, 640) and everything.told[-1] == ("end", 640)
    assert {128, 256, 384, 512, 640} <= set(RunFolder(tmp_path).checkpoint_steps())
    assert ("progress", 640) in everything.told


def test_a_run_ends_when_it_is_good_enough(tmp_path: Path):
    stop = EvalCallback(64, 4, callback_after_eval=StopTrainingOnRewardThreshold(-1000))
    events = train(tmp_path, 10_000, callback=stop)
    assert [e.step for e in events] == [64]
    assert RunFolder(tmp_path).checkpoint_steps() == [64]


def test_without_evaluation_a_threshold_says_so():
    with pytest.raises(UsageError, match="evaluation_episodes is 0"):
        train(None, 128, callback=StopTrainingOnRewardThreshold(1), evaluation_episodes=0)


def test_events_without_evaluation_still_come():
    events = train(None, 640, callback=Recorder(every=192), evaluation_episodes=0)
    assert [e.step for e in events] == [192, 384, 576, 640]
    with pytest.raises(UsageError, match="does not evaluate"):
        _ = events[0].evaluation


# --- progress bar and Weights & Biases ------------------------------------------------------------


def test_the_progress_bar_prints_a_line_for_each_evaluation():
    import io

    from rich.console import Console

    for terminal in (False, True):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=100)
        train(None, 256, callback=ProgressBarCallback(console), evaluate_every=128)
        assert out.getvalue().count("return ") >= 2
        assert "128" in out.getvalue() and "best" in out.getvalue()
        assert ("steps/s" in out.getvalue() or "compiling" in out.getvalue()) == terminal


def test_wandb_gets_every_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    calls: list[tuple] = []

    class FakeRun:
        def log(self, row: dict, step: int) -> None:
            calls.append((step, row))

        def finish(self) -> None:
            calls.append(("finished",))

    def init(**options: object) -> FakeRun:
        calls.append((options["project"], options["id"], options["resume"]))
        assert options["config"]["algorithm"] == "ppo"
        return FakeRun()

    module = types.ModuleType("wandb")
    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    train(tmp_path, 128, callback=WandbCallback("ants"), log_every=64)
    assert calls[0][0] == "ants" and calls[0][2] == "allow" and calls[-1] == ("finished",)
    assert [call[0] for call in calls[1:-1]] == [64, 128]


def test_without_wandb_the_directory_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"heredity\[wandb\]"):
        train(tmp_path, 128, callback=WandbCallback("ants"))
    train(tmp_path, 64)


def test_configuring_happens_before_anything_else(tmp_path: Path):
    class Longer(Callback):
        def configure(self, settings: RunSettings) -> RunSettings:
            return dataclasses.replace(settings, total_timesteps=192)

    events = train(tmp_path, 64, callback=Longer())
    assert events[-1].step == events[-1].total_timesteps == 192
