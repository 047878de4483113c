import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import TINY

from heredity.common.run_folder import RunFolder


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_training_says_what_to_look_at(trained: Path, heredity, tmp_path: Path):
    done = heredity(
        "train", *TINY, "--total-timesteps", "1e2", "--directory", tmp_path / "new", "--progress"
    )
    assert done.code == 0 and done.out == ""
    assert f"{tmp_path}/new/checkpoints/best/policy" in done.err
    assert f"heredity view {tmp_path}/new" in done.err
    assert "return " in done.err
    assert RunFolder(tmp_path / "new").checkpoint_steps()[-1] == 128


def test_a_directory_with_a_run_is_not_taken(trained: Path, heredity):
    done = heredity("train", *TINY, "--total-timesteps", "64", "--directory", trained)
    assert done.code == 2
    assert f"holds a run already: go on with `heredity resume {trained}`" in done.err


@pytest.mark.parametrize("below", ["", "/run", "/far/run"])
def test_a_file_in_the_way_is_told(tmp_path: Path, heredity, below: str):
    (tmp_path / "file").write_text("mine")
    done = heredity(
        "train", *TINY, "--total-timesteps", "64", "--directory", f"{tmp_path}/file{below}"
    )
    assert done.code == 1 and "could not be written" in done.err
    assert (tmp_path / "file").read_text() == "mine"


def test_going_on(trained: Path, heredity, caplog: pytest.LogCaptureFixture):
    done = heredity("resume", trained, "--total-timesteps", "6.4e2", "--no-progress", "--no-report")
    assert done.code == 0
    assert f"resuming {trained} at step 512" in caplog.text
    assert RunFolder(trained).checkpoint_steps()[-1] == 640


def test_a_finished_run_is_told_what_to_do(trained: Path, heredity):
    done = heredity("resume", trained)
    assert done.code == 2
    assert "is at step 512 of 512: give a larger --total-timesteps" in done.err


@pytest.mark.parametrize("what", ["absent", "empty", "torn", "policy", "file"])
def test_what_is_no_run_is_refused(trained: Path, heredity, tmp_path: Path, what: str):
    place = tmp_path / what
    if what == "empty":
        place.mkdir()
    elif what == "torn":
        place.mkdir()
        (place / "config.json").write_text("{")
    elif what == "policy":
        place = trained / "checkpoints" / "last" / "policy"
    elif what == "file":
        place.write_text("x")
    done = heredity("resume", place, "--total-timesteps", "1e6")
    assert done.code == 3 and str(place) in done.err


def test_a_torn_checkpoint_is_named_and_the_one_before_is_used(
    trained: Path, heredity, caplog: pytest.LogCaptureFixture
):
    state = trained / "checkpoints" / "000000000512" / "training_state" / "state.safetensors"
    flip(state)
    done = heredity("resume", trained, "--total-timesteps", "576", "--no-progress", "--no-report")
    assert done.code == 0
    assert f"refused: {state}: was altered or torn" in caplog.text
    assert "at step 384" in caplog.text
    assert RunFolder(trained).checkpoint_steps()[-1] == 576


def test_options_of_the_environment_are_remembered(trained: Path):
    assert RunFolder(trained).read_config()["environment"] == {
        "id": "probe/observation-action-reward", "options": {"length": 5, "host": False},
    }  # fmt: skip


def test_an_environment_from_a_file_runs_no_code(trained: Path, heredity, tmp_path: Path):
    """An id that names code is not even imported, whatever the command."""
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = trained / "config.json"
    config.write_text(
        config.read_text().replace("probe/observation-action-reward", "evil_module:make")
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-m", "heredity", "resume", str(trained), "--total-timesteps", "1000"],
        env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "could run code that the file chose" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()
