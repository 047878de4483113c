"""A run on a Ray cluster of this machine, one of whose workers is killed."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from company import CADENCE, TINY, TOTAL, command, has_checkpoint, one_device, wait_for
from tiny_runs import final_bytes

from heredity.cli.launching import without
from heredity.common.errors import LostProcessError, UsageError
from heredity.common.run_folder import RunFolder
from heredity.training.checkpoints import read_checkpoint
from heredity.training.ray_launcher import RayCluster, Worker, _until_done, exit_code


def process_of(directory: Path, index: int) -> int | None:
    """The process that trains as number `index` of the run."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        ours = b"heredity.cli.leashed" in words and str(directory).encode() in words
        if ours and words[words.index(b"--distributed.process") + 1] == str(index).encode():
            return int(place.parent.name)
    return None


@pytest.mark.slow
def test_a_lost_worker_costs_what_came_after_the_last_checkpoint(tmp_path: Path, undisturbed: Path):
    directory = tmp_path / "run"
    words = ["train", *TINY, "--directory", directory, "--launcher", "ray", "--ray.workers", "2"]
    with open(tmp_path / "told", "wb") as file:
        driver = subprocess.Popen(
            command(*words), stdout=subprocess.DEVNULL, stderr=file, env=one_device()
        )
    wait_for(lambda: has_checkpoint(directory, CADENCE), lambda: driver.poll() is None)
    lost = process_of(directory, 1)
    assert lost is not None
    os.kill(lost, signal.SIGKILL)
    code = driver.wait(240)
    told = (tmp_path / "told").read_text()
    assert code == 0, told
    assert told.count("a worker was lost") == 1 and "resuming" in told
    assert f"policy   {directory}/checkpoints/best/policy" in told
    last = read_checkpoint(RunFolder(directory).checkpoint(TOTAL))
    assert last.notes["losses"] == 1 and last.notes["exactness"]["exact"]
    resumed = [entry for entry in last.lineage.entries if entry.operation == "resume"]
    assert [entry.arguments["after_loss"] for entry in resumed] == [True]
    assert RunFolder(directory).read_metrics()["processes/losses"][-1] == 1
    assert final_bytes(undisturbed, TOTAL) == final_bytes(directory, TOTAL)


def test_a_worker_runs_a_command_and_keeps_what_it_said():
    worker = Worker()
    host, _, port = worker.address().rpartition(":")
    assert host and int(port) > 0
    code, told = worker.run(["train", "pqo"])
    assert code == 2 and "unknown algorithm 'pqo'" in told
    assert worker.told() == told and worker.told() == ""


@pytest.mark.parametrize(
    ("codes", "code", "when_asked"),
    [
        ([0, 0], 0, 0),
        ([2, 4], 2, 2),
        ([4, 3], 3, 3),
        ([1, 4], 1, 1),
        ([1, -signal.SIGABRT], 1, 1),
        ([-signal.SIGKILL, 4], None, 130),
        ([-signal.SIGKILL, 1], None, 1),
        ([130, 130], None, 130),
        ([130, 1], None, 1),
        ([4, -signal.SIGABRT], None, 130),
    ],
)
def test_what_ends_a_run_and_what_begins_it_again(
    codes: list[int], code: int | None, when_asked: int
):
    assert exit_code(codes, asked=False, all_ended=True) == code
    # Whoever asks it to stop does not want it to begin again.
    assert exit_code(codes, asked=True, all_ended=True) == when_asked


def test_workers_that_do_not_end_are_lost():
    assert exit_code([0], asked=False, all_ended=False) is None
    assert exit_code([3], asked=False, all_ended=False) == 3


def test_losses_are_counted_from_checkpoint_to_checkpoint(tmp_path: Path):
    def run(command: list[str]) -> tuple[int | None, str]:
        commands.append(command[0])
        (tmp_path / "config.json").write_text("{}")
        step = steps.pop(0)
        if step is None:
            return 0, ""
        RunFolder(tmp_path).checkpoint(step).mkdir(parents=True, exist_ok=True)
        return None, "gone"

    commands: list[str] = []
    steps: list[int | None] = [0, 64, 64, 128, 128, None]
    assert _until_done(run, (["train"], ["resume"]), tmp_path, 2) == 0
    assert commands == ["train"] + 5 * ["resume"]
    steps[:] = [192, 192, 192, None]
    with pytest.raises(LostProcessError, match="lost 3 times without a new checkpoint"):
        _until_done(run, (["resume"], ["resume"]), tmp_path, 2)


@pytest.mark.parametrize("given", [{"workers": 0}, {"cpus": -1}, {"restarts": -1}])
def test_a_cluster_of_nothing_is_refused(given: dict):
    with pytest.raises(UsageError, match=f"{next(iter(given))} .*>= "):
        RayCluster(**given)


def test_the_words_of_the_launcher_stay_here():
    words = ["train", "ppo", "--launcher=ray", "--ray.workers", "3", "--env", "a/b", "--ray.gpus=1"]
    assert without(words, "--launcher", "--ray.") == ["train", "ppo", "--env", "a/b"]
