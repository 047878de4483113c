import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heredity.common.errors import RefusedError
from heredity.common.files import dump_json
from heredity.common.formats import RECORDING
from heredity.common.recording import Recording, Scene, Shape

SCENE = Scene(
    bodies=("torso",),
    shapes=(
        Shape("sphere", (0.25,), 0),
        Shape("mesh", (), 0, vertices=((0.0, 0.0, 0.0), (1.0, 0.0, 0.0)), faces=((0, 1, 0),)),
    ),
    step_seconds=0.05,
    tracked_body=0,
)
RECORDINGS = {
    "scene": Recording(
        rewards=np.ones(2, np.float32),
        step_seconds=0.05,
        scene=SCENE,
        positions=np.zeros((2, 1, 3), np.float32),
        rotations=np.zeros((2, 1, 4), np.float32),
    ),
    "frames": Recording(
        rewards=np.ones(5, np.float32),
        step_seconds=0.1,
        frames=(b"a", b"", b"bc"),
        frame_steps=(0, 2, 5),
        end="truncated",
    ),
    "signals": Recording(
        rewards=np.ones(1, np.float32),
        step_seconds=0.1,
        observations=np.zeros((1, 2), np.float32),
        columns=("x", "y"),
    ),
}


def change(folder: Path, **parts: Any) -> None:
    path = folder / "recording.json"
    path.write_text(dump_json({**json.loads(path.read_text()), **parts}))


@pytest.mark.parametrize("kind", RECORDINGS)
def test_round_trip(tmp_path: Path, kind: str):
    recording = RECORDINGS[kind]
    recording.save(tmp_path)
    again = Recording.load(tmp_path)
    assert again.kind == kind
    for field in dataclasses.fields(Recording):
        value, read = getattr(recording, field.name), getattr(again, field.name)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(read, value)
        else:
            assert read == value


def test_an_older_recording_is_brought_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    RECORDINGS["signals"].save(tmp_path)
    change(tmp_path, schema_version=0, columns="x y")
    before = (tmp_path / "recording.json").read_bytes()
    with pytest.raises(RefusedError, match="schema_version 0 of a recording, which this release"):
        Recording.load(tmp_path)
    monkeypatch.setitem(
        RECORDING.migrations, 0, lambda old: {**old, "columns": old["columns"].split()}
    )
    assert Recording.load(tmp_path).columns == ("x", "y")
    assert (tmp_path / "recording.json").read_bytes() == before
    change(tmp_path, schema_version=2)
    with pytest.raises(RefusedError, match=r"recording\.json: has schema_version 2 .* Upgrade"):
        Recording.load(tmp_path)


def deep(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "parts",
    [
        {"columns": None},
        {"scene": "ant"},
        {"scene": {"shapes": [{"kind": "sphere", "command": "x"}]}},
        {"scene": {"shapes": ["sphere"], "bodies": [], "step_seconds": 1}},
        {"scene": {"shapes": [{"kind": deep(600)}], "bodies": [], "step_seconds": 1}},
    ],
    ids=["columns", "text", "unknown field", "shape of text", "deep"],
)
def test_a_forged_recording_is_refused(tmp_path: Path, parts: dict[str, Any]):
    RECORDINGS["scene"].save(tmp_path)
    change(tmp_path, **parts)
    with pytest.raises(RefusedError, match=r"recording\.json: does not describe a recording"):
        Recording.load(tmp_path)


@pytest.mark.parametrize("name", ["recording.json", "recording.safetensors"])
def test_a_missing_or_torn_file_is_named(tmp_path: Path, name: str):
    RECORDINGS["frames"].save(tmp_path)
    data = (tmp_path / name).read_bytes()
    for length in (0, len(data) // 2, len(data) - 2):
        (tmp_path / name).write_bytes(data[:length])
        with pytest.raises(RefusedError, match=name):
            Recording.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(RefusedError, match=f"{name}: is missing"):
        Recording.load(tmp_path)


def test_a_recording_that_does_not_say_how_it_ended_is_read(tmp_path: Path):
    """Those of before it was written down, and of one picture for each moment."""
    frames = dataclasses.replace(RECORDINGS["frames"], frame_steps=(), end="")
    frames.save(tmp_path)
    header = json.loads((tmp_path / "recording.json").read_text())
    del header["end"]
    (tmp_path / "recording.json").write_text(dump_json(header))
    again = Recording.load(tmp_path)
    assert (again.end, again.frame_steps, again.frames) == ("", (), frames.frames)


def test_an_end_or_moments_that_make_no_sense_are_refused(tmp_path: Path):
    RECORDINGS["frames"].save(tmp_path)
    change(tmp_path, end="bored")
    with pytest.raises(RefusedError, match="end is 'bored'"):
        Recording.load(tmp_path)
    for steps in ((0, 2), (0, 2, 2), (-1, 0, 1)):
        dataclasses.replace(RECORDINGS["frames"], frame_steps=steps).save(tmp_path)
        with pytest.raises(RefusedError, match="3 ascending moments"):
            Recording.load(tmp_path)
