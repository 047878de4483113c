"""Programs are counted, and kept for the next process."""

from __future__ import annotations

import csv
import logging
import os
import subprocess
import sys
import zlib
from pathlib import Path

import jax
import pytest

from heredity.training import compilation
from heredity.training.compilation import VARIABLE, Compilations, keep_compiled, tidy

TRAIN = (
    "train", "ppo", "--env", "probe/constant-reward", "--num-envs", "2", "--num-steps", "8",
    "--num-epochs", "1", "--num-minibatches", "1", "--network.hidden", "4",
    "--total-timesteps", "32", "--evaluation-episodes", "1", "--no-progress", "--no-report",
)  # fmt: skip


@pytest.fixture
def before_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is in a command that has just begun."""
    monkeypatch.delitem(sys.modules, "jax")


def test_the_second_run_compiles_nothing(tmp_path: Path):
    # Not ours: a folder that somebody else named for JAX would be taken instead.
    others = ("JAX_COMPILATION", "JAX_PERSISTENT")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    environ |= {"PYTHONPATH": os.pathsep.join(sys.path), VARIABLE: str(tmp_path / "cache")}
    counted = []
    for name in ("first", "second"):
        done = subprocess.run(
            [sys.executable, "-m", "heredity", *TRAIN, "--directory", str(tmp_path / name)],
            env=environ, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
        with (tmp_path / name / "metrics.csv").open() as file:
            last = list(csv.DictReader(file))[-1]
        columns = ("compilations", "compilations_from_cache")
        counted.append(tuple(int(last[f"time/{column}"]) for column in columns))
        assert float(last["time/compile_seconds"]) > 0
    (compiled, _), second = counted
    assert compiled > 2
    assert second[0] == 0 and second[1] >= compiled
    assert f"no programs compiled, {second[1]} taken from the cache, in " in done.stderr


def test_programs_are_counted():
    counted = Compilations()
    assert (counted.compiled + counted.from_cache, counted.seconds) == (0, 0.0)
    program = jax.jit(lambda x: x * 3.25 - 1.75)
    program(1.0)
    program(2.0)
    assert counted.compiled + counted.from_cache == 1 and counted.seconds > 0
    assert Compilations().row() == dict.fromkeys(counted.row(), 0.0)
    assert "1 program compiled in" in str(counted)


@pytest.mark.usefixtures("before_jax")
def test_where_programs_are_kept(tmp_path: Path):
    environ = {VARIABLE: str(tmp_path)}
    folder = keep_compiled(environ)
    assert folder is not None and folder.is_dir() and folder.parent == tmp_path
    assert environ["JAX_COMPILATION_CACHE_DIR"] == str(folder)
    assert environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "0"
    environ = {"XDG_CACHE_HOME": str(tmp_path / "home")}
    folder = keep_compiled(environ)
    assert folder is not None and folder.parent == tmp_path / "home" / "heredity" / "compiled"


@pytest.mark.usefixtures("before_jax")
@pytest.mark.parametrize("given", [{VARIABLE: "off"}, {"JAX_COMPILATION_CACHE_DIR": "/mine"}])
def test_it_can_be_switched_off_and_is_left_to_who_knows_better(given: dict[str, str]):
    environ = {**given, "XDG_CACHE_HOME": "/nowhere"}
    assert keep_compiled(environ) is None
    assert environ == {**given, "XDG_CACHE_HOME": "/nowhere"}


def test_it_comes_too_late_once_jax_is_there(tmp_path: Path):
    environ = {VARIABLE: str(tmp_path)}
    assert keep_compiled(environ) is None and list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("before_jax")
def test_a_disk_that_refuses_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").write_text("")
    environ = {VARIABLE: str(tmp_path / "file")}
    with caplog.at_level(logging.WARNING, "heredity"):
        assert keep_compiled(environ) is None
    assert "compiled programs are not kept" in caplog.text and VARIABLE in caplog.text
    assert "JAX_COMPILATION_CACHE_DIR" not in environ


@pytest.mark.parametrize("packed", ["zlib", "zstandard"])
def test_torn_programs_are_taken_out(tmp_path: Path, packed: str):
    pack = pytest.importorskip("zstandard").compress if packed == "zstandard" else zlib.compress
    whole = pack(os.urandom(1000))
    for name, content in {"a": whole, "b": whole[:-7], "c": b"", "d": b"no archive"}.items():
        (tmp_path / f"{name}-cache").write_bytes(content)
    (tmp_path / "other").write_bytes(b"")
    tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("[a-z]*")) == ["a-cache", "other"]


def test_what_was_looked_through_is_not_read_again(tmp_path: Path, monkeypatch):
    old = tmp_path / "old-cache"
    old.write_bytes(zlib.compress(b"program"))
    os.utime(old, (1, 1))
    tidy(tmp_path)
    looked: list[Path] = []
    monkeypatch.setattr(compilation, "_is_torn", lambda path: looked.append(path) or False)
    (tmp_path / "new-cache").write_bytes(b"")
    tidy(tmp_path)
    assert looked == [tmp_path / "new-cache"]


def test_those_that_were_not_used_for_longest_go_when_there_are_too_many(tmp_path: Path):
    (tmp_path / ".heredity-looked-through").touch()  # the files below are older, and not read
    for age, name in enumerate("abcd"):
        path = tmp_path / f"{name}-cache"
        path.write_bytes(zlib.compress(os.urandom(1000)))
        # The last one was written first, and read since.
        os.utime(path, (2000 if name == "d" else 0, 1000 - age))
    tidy(tmp_path, most=2100)
    assert sorted(path.name for path in tmp_path.glob("*-cache")) == ["a-cache", "d-cache"]
