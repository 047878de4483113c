import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import CONFIG, environment, final_bytes, resume, train

from heredity.common.errors import UsageError
from heredity.common.interruption import remember_interrupts
from heredity.common.run_folder import RunFolder
from heredity.training.checkpoints import read_checkpoint
from heredity.training.memory import Memory
from heredity.training.runners import DeviceRunner
from heredity.training.session import begin_run
from heredity.training.settings import RunSettings
from heredity.training.signals import ECHO_SECONDS, StopSignals, TrainingInterrupted

TRAIN = (
    "train", "ppo", "--env", "probe/observation-action-reward", "--env.length", "5",
    "--num-envs", "4", "--num-steps", "16", "--num-epochs", "1", "--num-minibatches", "2",
    "--network.hidden", "8", "--learning-rate", "1e-2",
    "--normalize-observations", "--normalize-rewards", "--evaluation-episodes", "2",
    "--no-progress", "--no-report", "--total-timesteps", "100_000_000",
    "--checkpoint-every", "100_000_000", "--evaluate-every", "100_000_000",
)  # fmt: skip


def start(directory: Path, *more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "heredity", *TRAIN, *more, "--directory", str(directory)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    # The file is there a moment before the run listens; until then a signal just ends it.
    while not _listens(process.pid):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def _listens(pid: int) -> bool:
    """Whether SIGTERM is caught there."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_leaves_and_that_resumes_exactly(tmp_path: Path, number: signal.Signals):
    directory = tmp_path / "run"
    process = start(directory)
    wait_for(directory / "config.json", process)
    time.sleep(2.0)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out == "" and "Traceback" not in err
    assert f"{number.name}: saving, then leaving" in err
    assert f"Go on with: heredity resume {directory}" in err
    folder = RunFolder(directory)
    (step,) = folder.checkpoint_steps()
    assert f"saved at step {step:,}" in err
    assert read_checkpoint(folder.checkpoint(step)).step == step
    # Whenever it was: the same as a run that went there, and further, by itself.
    total = step + 256
    resume(directory, total_timesteps=total)
    train(tmp_path / "whole", total, schedule_timesteps=100_000_000, checkpoint_every=10**9)
    assert final_bytes(directory, total) == final_bytes(tmp_path / "whole", total)


def test_a_second_signal_leaves_at_once(tmp_path: Path):
    """Also within a compiled program, which lets no Python handler run."""
    directory = tmp_path / "run"
    # One update then takes minutes, so the first signal is still waited for when the second comes.
    # Without evaluations it is the first thing that the run does.
    process = start(directory, "--num-epochs", "10_000_000", "--evaluation-episodes", "0")
    wait_for(directory / "config.json", process)
    time.sleep(3.0)  # until the update has begun: before it, signals are given back for a moment
    process.send_signal(signal.SIGTERM)
    while "saving, then leaving" not in (process.stderr.readline() or "saving, then leaving"):
        pass
    time.sleep(2 * ECHO_SECONDS)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert time.monotonic() - began < 30
    # Nothing torn is left under a name that counts.
    for step in RunFolder(directory).checkpoint_steps():
        read_checkpoint(RunFolder(directory).checkpoint(step))


def test_in_process(tmp_path: Path):
    def asked(event) -> None:
        if event.step == 128:
            signal.raise_signal(signal.SIGINT)

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(TrainingInterrupted, match="SIGINT: saved at step 128") as raised:
        train(tmp_path / "run", 640, callback=asked, evaluate_every=64, checkpoint_every=10_000)
    assert raised.value.exit_code == 130 and isinstance(raised.value, KeyboardInterrupt)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    with pytest.raises(TrainingInterrupted, match="nothing was kept"):
        train(None, 640, callback=asked, evaluate_every=64)
    resume(tmp_path / "run")
    train(tmp_path / "whole", 640)
    assert final_bytes(tmp_path / "run", 640) == final_bytes(tmp_path / "whole", 640)


def test_what_was_logged_until_then_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = DeviceRunner.iterate

    def iterate(self: DeviceRunner, iterations: int) -> dict[str, float]:
        metrics = real(self, 1)
        if self.step == 128:
            signal.raise_signal(signal.SIGINT)
        return metrics

    with monkeypatch.context() as patched:
        patched.setattr(DeviceRunner, "iterate", iterate)
        with pytest.raises(TrainingInterrupted):
            train(tmp_path / "run", 256, log_every=128, evaluation_episodes=0)
    resume(tmp_path / "run")
    train(tmp_path / "whole", 256, log_every=128, evaluation_episodes=0)
    rows = [RunFolder(tmp_path / name).read_metrics() for name in ("run", "whole")]
    for name in ("time/total_timesteps", "rollout/ep_rew_mean", "train/loss"):
        np.testing.assert_array_equal(rows[0][name], rows[1][name])


@pytest.mark.parametrize("best", [True, False])
def test_what_was_owed_at_the_end_is_settled_once(
    tmp_path: Path, best: bool, monkeypatch: pytest.MonkeyPatch
):
    """A signal at the very last step: the last evaluation is made up for by one resume."""
    real = DeviceRunner.iterate

    def iterate(self: DeviceRunner, iterations: int) -> dict[str, float]:
        metrics = real(self, 1)
        if self.step == 192:
            signal.raise_signal(signal.SIGINT)
        return metrics

    directory = tmp_path / "my runs"
    if not best:
        monkeypatch.setattr(Memory, "note_evaluation", lambda self, step, mean: False)
    with monkeypatch.context() as patched:
        patched.setattr(DeviceRunner, "iterate", iterate)
        with pytest.raises(TrainingInterrupted, match=f"heredity resume '{directory}'"):
            train(directory, 192, evaluate_every=64, checkpoint_every=10_000)
    place = RunFolder(directory).checkpoint(192)
    assert read_checkpoint(place).notes["owed"]["evaluation"] is True
    before = final_bytes(directory, 192)
    assert [event.step for event in resume(directory)] == [192]
    assert read_checkpoint(place).notes["owed"] is None
    assert final_bytes(directory, 192) == before
    with pytest.raises(UsageError, match="give a larger"):
        resume(directory)


def test_a_signal_that_was_lost_before_a_run_stops_it_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        remember_interrupts()
        with contextlib.suppress(KeyboardInterrupt):  # as the garbage collector does
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(TrainingInterrupted, match="SIGTERM: saved at step 0"):
            train(tmp_path / "run", 640)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert capfd.readouterr().err.count("SIGTERM: saving, then leaving") == 1
    resume(tmp_path / "run")
    train(tmp_path / "whole", 640)
    assert final_bytes(tmp_path / "run", 640) == final_bytes(tmp_path / "whole", 640)


def test_a_signal_inside_a_garbage_collection_is_not_lost(tmp_path: Path):
    """Python ignores what a callback of the collector raises, and JAX installs one."""
    code = (
        "import gc, signal, sys\n"
        "from heredity.cli.main import main\n"
        "from heredity.training import session\n"
        "begin = session.begin_run\n"
        "def interrupted(phase, info):\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "def begin_run(*given, **more):\n"
        "    gc.callbacks.append(interrupted)\n"
        "    gc.collect()\n"
        "    gc.callbacks.remove(interrupted)\n"
        "    return begin(*given, **more)\n"
        "session.begin_run = begin_run\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *TRAIN, "--directory", str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    # It comes again a moment later: before the run, or while it trains.
    assert "Exception ignored" not in done.stderr
    assert "heredity: interrupted" in done.stderr or "SIGTERM: saved at step" in done.stderr


def test_the_same_signal_twice_within_a_moment_is_one_wish(capfd: pytest.CaptureFixture[str]):
    with StopSignals() as signals:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        time.sleep(ECHO_SECONDS / 2)  # the thread that would end the process has its turn
        assert signals.requested == signal.SIGTERM
    assert capfd.readouterr().err.count("saving, then leaving") == 1


def test_while_an_event_is_looked_at_signals_are_the_persons_own(tmp_path: Path):
    settings = RunSettings(640, evaluate_every=64, evaluation_episodes=2)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt) as raised:
        for event in begin_run(CONFIG, environment(), settings, tmp_path / "run"):
            assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
            if event.step == 128:
                signal.raise_signal(signal.SIGINT)
    assert not isinstance(raised.value, TrainingInterrupted)
    # The loop was left as by a break: what was learnt is saved, and goes on exactly.
    assert RunFolder(tmp_path / "run").checkpoint_steps()[-1] == 128
    resume(tmp_path / "run")
    train(tmp_path / "whole", 640)
    assert final_bytes(tmp_path / "run", 640) == final_bytes(tmp_path / "whole", 640)


def test_two_runs_side_by_side():
    settings = RunSettings(192, evaluate_every=64, evaluation_episodes=2)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    first, second = (begin_run(CONFIG, environment(), settings) for _ in range(2))
    pairs = [(a.step, b.step) for a, b in zip(first, second, strict=False)]
    assert pairs == [(64, 64), (128, 128), (192, 192)]
    assert list(second) == []
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_nothing_is_taken():
    errors = []

    def work() -> None:
        try:
            with StopSignals() as signals:
                assert signals.requested is None
            train(None, 64, env=environment(), evaluation_episodes=0)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []


def test_handlers_are_put_back_and_no_thread_is_left():
    def watchers() -> int:
        return sum(thread.name.startswith("Thread-") for thread in threading.enumerate())

    before = watchers()
    handler = signal.getsignal(signal.SIGTERM)
    for _ in range(5):
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGTERM)
            assert signals.requested == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is handler
    until = time.monotonic() + 10
    while watchers() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert watchers() == before
    assert signal.set_wakeup_fd(-1) == -1
