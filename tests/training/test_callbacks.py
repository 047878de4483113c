import contextlib
import dataclasses
import io
import signal
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from tiny_runs import CONFIG, SIZE, environment, final_bytes, metrics_steps, resume, scoring, train

from heredity.common.errors import UsageError
from heredity.common.run_folder import RunFolder
from heredity.training.callbacks import (
    Callback,
    CallbackLike,
    CheckpointCallback,
    ConvertCallback,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
    as_callbacks,
)
from heredity.training.evaluation import Evaluation
from heredity.training.events import Event
from heredity.training.progress import ProgressBarCallback
from heredity.training.runners import DeviceRunner
from heredity.training.session import begin_run
from heredity.training.settings import RunSettings
from heredity.training.signals import TrainingInterrupted


def event(mean: float, step: int = 0, best: bool = False, **told: int) -> Event:
    measured = Evaluation(np.full(2, mean), np.ones(2, np.int64), True)
    return Event(step, 100, {}, None, {}, None, measured, best, **told)


@pytest.mark.parametrize("answer", [False, np.bool_(False), jnp.bool_(False), 0])
def test_any_kind_of_false_stops(answer: object):
    events = train(None, 4 * SIZE, lambda event: answer, evaluate_every=SIZE)
    assert len(events) == 1


@pytest.mark.parametrize("answer", [None, True, np.bool_(True), 1])
def test_any_other_answer_goes_on(answer: object):
    assert len(train(None, 2 * SIZE, lambda event: answer, evaluate_every=SIZE)) == 2


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
    for since_best, expected in (
        ([1, 2, 0, 1, 0, 1, 2], [True] * 6 + [False]),
        # Those before `min_evals` are not held against it, nor is the best among them counted from.
        ([0, 1, 2, 3], [True, True, True, False]),
        ([1, 2, 3, 4], [True, True, True, False]),
    ):
        told = [
            callback.on_event(event(0, evaluations=number, evaluations_since_best=since))
            for number, since in enumerate(since_best, 1)
        ]
        assert told == expected, since_best


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
    callback = EveryNTimesteps(120, seen)
    for step in range(0, 501, 50):
        assert callback.on_event(event(1, step, previous_step=max(step - 50, 0)))
    assert seen.steps() == [150, 250, 400, 500]
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


@pytest.mark.parametrize("stop", [StopTrainingOnRewardThreshold, StopTrainingOnNoModelImprovement])
def test_without_evaluation_who_needs_one_says_so(stop: type[Callback]):
    with pytest.raises(UsageError, match="evaluation_episodes is 0"):
        train(None, 128, callback=EveryNTimesteps(64, stop(1)), evaluation_episodes=0)


def test_events_without_evaluation_still_come():
    events = train(None, 640, callback=Recorder(every=192), evaluation_episodes=0)
    assert [e.step for e in events] == [192, 384, 576, 640]
    with pytest.raises(UsageError, match="does not evaluate"):
        _ = events[0].evaluation


# --- inside one another ---------------------------------------------------------------------------


class Hooked(Recorder):
    """Uses every hook that there is."""

    def __init__(self, every: int | None = None) -> None:
        super().__init__(every)
        self.rows: list[int] = []

    def configure(self, settings: RunSettings) -> RunSettings:
        self.told.append(("configure",))
        return dataclasses.replace(settings, log_every=64)

    def sinks(self, run_id: str, config: dict) -> list:
        return [self]

    def write(self, step: int, row: dict[str, float]) -> None:
        self.rows.append(step)

    def close(self) -> None:
        self.told.append(("close",))


@pytest.mark.parametrize(
    ("around", "events"),
    [
        (lambda one: EvalCallback(128, 2, callback_after_eval=one), [64, 128, 192, 256]),
        (lambda one: EveryNTimesteps(128, one), [128, 256]),
        (lambda one: [EveryNTimesteps(128, [EvalCallback(192, 2, None, [one])])], [128, 256]),
        # The same one in two places, and on its own besides: it is hooked up once.
        (lambda one: EvalCallback(128, 2, [one, lambda event: None], None), [64]),
        (lambda one: [EveryNTimesteps(256, one), one], [64, 128, 192, 256, 256]),
    ],
)
def test_whoever_is_inside_another_gets_every_hook(
    tmp_path: Path, around: Callable[[Callback], CallbackLike], events: list[int],
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    scoring(monkeypatch, [4.0, 3.0, 2.0, 1.0])
    one = Hooked(every=64)
    train(tmp_path, 256, callback=around(one), evaluate_every=256)
    assert one.told[:2] == [("configure",), ("start", 0, 256)]
    assert one.told[-2:] == [("end", 256), ("close",)]
    assert sum(entry[0] in ("configure", "start", "end", "close") for entry in one.told) == 4
    assert ("progress", 256) in one.told
    assert sorted(one.steps()) == events
    assert one.rows == metrics_steps(tmp_path) == [64, 128, 192, 256]


def test_a_progress_bar_inside_another_callback_is_drawn_and_ended():
    bar = ProgressBarCallback(Console(file=io.StringIO(), force_terminal=True, width=100))
    train(None, 128, callback=EvalCallback(64, 2, callback_after_eval=bar))
    assert bar._progress is not None and bar._progress.finished


def test_whoever_did_not_start_does_not_end():
    class Failing(Recorder):
        def on_training_start(self, step: int, total_timesteps: int) -> None:
            raise RuntimeError("no start")

    before, failing, after = Recorder(), Failing(), Recorder()
    with pytest.raises(RuntimeError, match="no start"):
        train(None, 64, callback=[before, failing, after])
    assert [one.told for one in (before, failing, after)] == [
        [("start", 0, 64), ("end", 0)],
        [],
        [],
    ]


# --- over a resume --------------------------------------------------------------------------------


def interrupted(directory: Path, how: str, monkeypatch: pytest.MonkeyPatch, **settings) -> None:
    """A run that is left at about its third evaluation, in one of three ways."""
    real = DeviceRunner.iterate

    def iterate(self: DeviceRunner, iterations: int) -> dict[str, float]:
        metrics = real(self, 1)
        if self.step == 192 and how == "signal":
            signal.raise_signal(signal.SIGTERM)
        if self.step == 256 and how == "crash":
            raise RuntimeError("crash")
        return metrics

    kept = RunSettings(**settings)
    events = begin_run(CONFIG, environment(), kept, directory, None)
    with monkeypatch.context() as patched:
        patched.setattr(DeviceRunner, "iterate", iterate)
        with contextlib.suppress(TrainingInterrupted, RuntimeError), contextlib.closing(events):
            for event in events:
                if event.step == 192 and how == "break":
                    break


@pytest.mark.parametrize(
    ("how", "left_at"), [("break", 192), ("signal", 192), ("crash", 128)]
)  # fmt: skip
def test_no_improvement_ends_a_resumed_run_where_it_would_have_ended(
    tmp_path: Path, how: str, left_at: int, monkeypatch: pytest.MonkeyPatch
):
    scoring(monkeypatch, [3.0, 5.0, 4.0, 4.0, 6.0, 5.0, 5.0, 5.0, 9.0])
    settings = {
        "total_timesteps": 640, "evaluate_every": 64, "checkpoint_every": 128,
        "evaluation_episodes": 2,
    }  # fmt: skip
    stop = StopTrainingOnNoModelImprovement(2, min_evals=1)
    total = settings.pop("total_timesteps")
    whole = train(tmp_path / "whole", total, callback=stop, **settings)
    assert [one.evaluations for one in whole] == list(range(1, 9))
    assert [one.evaluations_since_best for one in whole] == [0, 0, 1, 2, 0, 1, 2, 3]
    assert whole[-1].step == 512

    directory = tmp_path / "parts"
    interrupted(directory, how, monkeypatch, total_timesteps=total, **settings)
    assert RunFolder(directory).checkpoint_steps()[-1] == left_at
    rest = resume(directory, EvalCallback(64, 2, callback_after_eval=stop))
    told = {(one.step, one.evaluations, one.evaluations_since_best, one.is_best) for one in rest}
    assert told < {
        (one.step, one.evaluations, one.evaluations_since_best, one.is_best) for one in whole
    }
    assert rest[-1].step == 512
    assert final_bytes(directory, 512) == final_bytes(tmp_path / "whole", 512)


def test_an_event_that_was_put_off_reaches_who_wants_every_so_many_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = Recorder()
    settings = {"total_timesteps": 384, "evaluate_every": 64, "evaluation_episodes": 1}
    interrupted(tmp_path, "signal", monkeypatch, **settings)
    resume(tmp_path, EveryNTimesteps(96, seen))
    assert seen.steps() == [192, 320, 384]


@pytest.mark.parametrize("name", ["seed", "schedule_timesteps"])
def test_what_a_resume_cannot_change_no_callback_changes(tmp_path: Path, name: str):
    class Changing(Callback):
        def configure(self, settings: RunSettings) -> RunSettings:
            return dataclasses.replace(settings, **{name: 7})

    train(tmp_path, 64, evaluation_episodes=0)
    with pytest.raises(UsageError, match=f"{name} cannot be changed by a resume"):
        resume(tmp_path, EveryNTimesteps(64, Changing()), total_timesteps=128)


# --- progress bar and configuring -----------------------------------------------------------------


def test_the_progress_bar_prints_a_line_for_each_evaluation():
    for terminal in (False, True):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=100)
        train(None, 256, callback=ProgressBarCallback(console), evaluate_every=128)
        assert out.getvalue().count("return ") >= 2
        assert "128" in out.getvalue() and "best" in out.getvalue()
        assert ("steps/s" in out.getvalue() or "compiling" in out.getvalue()) == terminal


def test_configuring_happens_before_anything_else(tmp_path: Path):
    class Longer(Callback):
        def configure(self, settings: RunSettings) -> RunSettings:
            return dataclasses.replace(settings, total_timesteps=192)

    events = train(tmp_path, 64, callback=Longer())
    assert events[-1].step == events[-1].total_timesteps == 192
