"""A slice of ``make fuzz``: damaged files are refused or say the same, and do no harm."""

import mmap
import pickle
from pathlib import Path

import pytest
from tests.weights import fuzzing
from tests.weights.fuzzing import FORMATS, Format, HarmError, fuzz
from tests.weights.hostile import Calls

FILES = {"brax": 40, "orbax3": 30, "sb3": 60}


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_do_no_harm(name: str):
    files = FILES.get(name, 100)
    done: list[int] = []
    found = fuzz(name, files, seed=1, told=done.append)
    assert sum(found.outcomes.values()) == files == done[-1]
    assert found.outcomes["refused"] > files / 4
    if FORMATS[name].has_checksums:
        assert found.outcomes["same"] > 0


def test_a_reader_that_runs_pickles_is_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The fuzzing itself can fail: with Python's own unpickler it does."""
    path = tmp_path / "good.pkl"
    path.write_bytes(pickle.dumps({"a": 1}))
    unsafe = Format(path, lambda path: pickle.loads(path.read_bytes()), False, "pickle")
    monkeypatch.setitem(fuzzing.FORMATS, "unsafe", unsafe)  # pyright: ignore[reportArgumentType]
    with pytest.raises(HarmError, match="unsafe, seed 0, file"):
        fuzz("unsafe", 50)
    path.write_bytes(pickle.dumps(Calls(print, "run")))
    with pytest.raises(HarmError, match="find_class"):
        fuzzing.watched(lambda: pickle.loads(path.read_bytes()))


def test_a_reader_that_takes_memory_is_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    path = tmp_path / "good"
    path.write_bytes(b"x")

    def load(path: Path) -> dict[str, int]:
        del path
        # Of the system itself: malloc may give what this process has kept from other tests.
        with mmap.mmap(-1, 2**26) as taken:
            return {"written": taken.write(bytes(2**26))}

    greedy = Format(path, load, False, "")
    monkeypatch.setitem(fuzzing.FORMATS, "greedy", greedy)  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(fuzzing, "MOST_MEMORY", 2**24)
    with pytest.raises(HarmError, match=r"file 0 .*the process grew by 6. MiB"):
        fuzz("greedy", 1)
