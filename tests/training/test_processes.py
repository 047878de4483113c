"""Two processes train what one trains; one that is lost costs what came after the checkpoint."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from company import CADENCE, SCHEDULE, TINY, TOTAL, free_address, has_checkpoint, start, wait_for
from tiny_runs import apart, environment, final_bytes, train

from heredity.common.errors import HeredityError, LostProcessError, UsageError
from heredity.common.run_folder import RunFolder
from heredity.training.checkpoints import read_checkpoint, verify_checkpoint
from heredity.training.processes import Processes, join
from heredity.training.settings import RunSettings
from heredity.training.signals import TrainingInterrupted


class Two(Processes):
    """The first of two processes, of which the other one agrees with everything."""

    def __init__(self) -> None:
        self.count, self.index = 2, 0

    def any(self, flag: bool) -> bool:
        return flag

    def first(self, values: np.ndarray) -> np.ndarray:
        return values


def test_a_single_process_asks_nobody():
    alone = Processes()
    assert alone.writes and alone.count == 1
    assert alone.any(True) and not alone.any(False)
    assert alone.first_int(2**40) == 2**40
    assert alone.first_json({"step": 3, "mean": 1.5}) == {"step": 3, "mean": 1.5}
    assert alone.first_does(lambda: "done") == "done"


def test_what_process_0_has_comes_whole():
    two = Two()
    assert two.first_json(["é", 2**60, None]) == ["é", 2**60, None]
    assert two.first_int(-(2**40)) == -(2**40)


@pytest.mark.parametrize("error", [UsageError("taken"), OSError(28, "taken: no space is left")])
def test_what_process_0_cannot_do_stops_all(error: Exception):
    def refuse() -> None:
        raise error

    told: list[bool] = []
    first = Two()
    first.any = lambda flag: told.append(flag) or flag
    with pytest.raises(type(error), match="taken"):
        first.first_does(refuse)
    assert told == [True]  # before it is raised, or the others would wait
    other = Two()
    other.index = 1
    other.any = lambda flag: True
    with pytest.raises(HeredityError, match="process 0 has stopped"):
        other.first_does(refuse)


def test_a_signal_to_another_process_stops_this_one(monkeypatch: pytest.MonkeyPatch):
    asked = iter([False, False, True, True])
    monkeypatch.setattr(Processes, "any", lambda self, flag: next(asked))
    with pytest.raises(TrainingInterrupted, match="another process was asked to stop"):
        train(None, 640, evaluate_every=64)


def test_what_several_processes_cannot_do():
    rollback = RunSettings(100, on_divergence="rollback")
    with pytest.raises(UsageError, match="on_divergence rollback with 2 processes"):
        Two().check(environment(), rollback, 2)
    with pytest.raises(UsageError, match="4 devices of 2 processes in probe/"):
        Two().check(environment(host=True), RunSettings(100), 4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_waits_for_the_others_hears_signals(number: signal.Signals):
    program = "from heredity.training.processes import join; print('here', flush=True); "
    program += f"join('{free_address()}', 2, 0)"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"here\n"
        time.sleep(1.0)  # until it waits; a signal before that would end it as well
        process.send_signal(number)
        assert process.wait(30) == -number


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("10.0.0.1:1", 2, None), "how many processes there are and which one this is"),
        (("10.0.0.1:1", 2, 2), "process 2 of 2"),
        (("nonsense", 2, 1), "'nonsense': a host and a port such as"),
        (("10.0.0.1:99999", 2, 1), "a host and a port such as"),
    ],
)
def test_who_joins_says_who_it_is(given: tuple, told: str):
    with pytest.raises(UsageError, match=told):
        join(*given)


def test_what_jax_says_of_a_lost_process_is_told():
    told = r"process 0 of 2 cannot go on.*socket closed\)"
    with pytest.raises(LostProcessError, match=told), Two().losses_told():
        raise jax.errors.JaxRuntimeError("socket closed\nand much more")
    with pytest.raises(LostProcessError, match="UNKNOWN: Gloo failed"), Two().losses_told():
        raise ValueError("UNKNOWN: Gloo failed: Connection reset by peer")
    with pytest.raises(ValueError, match="a shape"), Two().losses_told():
        raise ValueError("a shape: INTERNAL: of ours")
    with pytest.raises(jax.errors.JaxRuntimeError), Processes().losses_told():
        raise jax.errors.JaxRuntimeError("out of memory")
    assert LostProcessError.exit_code == 4


@pytest.mark.slow
def test_one_of_two_is_killed_and_both_resume(tmp_path: Path, undisturbed: Path):
    directory = tmp_path / "run"
    first, second = start(["train", *TINY, "--directory", directory], tmp_path / "began")
    wait_for(lambda: has_checkpoint(directory, CADENCE), lambda: first.poll() is None)
    second.send_signal(signal.SIGKILL)
    assert (first.wait(60), second.wait(60)) == (4, -signal.SIGKILL)
    told = (tmp_path / "began" / "0").read_text()
    assert "heredity: process 0 of 2 cannot go on: another one was lost" in told
    assert "Traceback" not in told
    steps = RunFolder(directory).checkpoint_steps()
    assert steps and steps[-1] < TOTAL
    for step in steps:
        verify_checkpoint(RunFolder(directory).checkpoint(step))

    ends = start(["resume", directory, "--no-progress", "--no-report"], tmp_path / "resumed")
    assert [process.wait(240) for process in ends] == [0, 0], _said(tmp_path)
    assert "return" not in (tmp_path / "resumed" / "1").read_text()
    manifest = read_checkpoint(RunFolder(directory).checkpoint(TOTAL)).notes
    assert manifest["exactness"] == {"exact": True, "reason": ""}
    assert (manifest["devices"], manifest["processes"]) == (2, 2)

    # The same as one process, within rounding at first; of two devices, to the end.
    train(tmp_path / "one", CADENCE, **SCHEDULE)
    was = read_checkpoint(RunFolder(tmp_path / "one").checkpoint(CADENCE))
    now = read_checkpoint(RunFolder(directory).checkpoint(CADENCE))
    assert apart(was.policy, now.policy) < 1e-4
    assert apart(was.state, now.state) < 1e-4
    assert final_bytes(undisturbed, TOTAL) == final_bytes(directory, TOTAL)


def _said(tmp_path: Path) -> str:
    return "".join(path.read_text() for path in sorted(tmp_path.glob("*/[01]")))
