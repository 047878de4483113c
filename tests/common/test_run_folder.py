import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from heredity.common import run_folder
from heredity.common.errors import RefusedError
from heredity.common.files import dump_json, seal_json
from heredity.common.formats import EVALUATION, RUN
from heredity.common.run_folder import RunFolder, read_rows

# --- steps ----------------------------------------------------------------------------------------


def test_only_what_is_called_as_a_step_is_one(tmp_path: Path):
    folder = RunFolder(tmp_path)
    assert folder.snapshot_steps() == []
    for name in (
        "000000000012", "1234567890123", "0000000000012", "12", "²²²²²²²²²²²²",
        "\u0661" * 12, "00000000001x", ".writing-000000000013-1-ab", "000000000014.refused-ab",
    ):  # fmt: skip
        (folder.snapshots / name).mkdir(parents=True)
    (folder.snapshots / "000000000015").write_text("a file")
    (folder.snapshots / "000000000016").symlink_to("000000000012")
    assert folder.snapshot_steps() == [12, 1234567890123]
    assert all(folder.snapshot(step).is_dir() for step in folder.snapshot_steps())
    folder.checkpoints.write_text("a file")
    assert folder.checkpoint_steps() == []


def test_what_cannot_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", denied)
    with pytest.raises(RefusedError, match=r"snapshots: cannot be read \(Permission denied\)"):
        RunFolder(tmp_path).snapshot_steps()


# --- tables ---------------------------------------------------------------------------------------


def test_a_row_that_is_being_written_is_not_read(tmp_path: Path):
    """Every moment of an append: a number cut short is a number too, of another step."""
    folder = RunFolder(tmp_path)
    whole, row = "step,a\n64,0.5\n128,0.25\n", "19200,0.125\n"
    for length in range(len(row)):
        folder.metrics.write_text(whole + row[:length])
        assert folder.read_metrics()["step"].tolist() == [64, 128]
        assert folder.read_metrics()["a"].tolist() == [0.5, 0.25]
    folder.metrics.write_text(whole + row)
    assert folder.read_metrics()["step"].tolist() == [64, 128, 19200]


def test_rows_are_whole(tmp_path: Path):
    table = tmp_path / "table.csv"
    table.write_text('a,"b"\n1,2\n3\n4,5,6\n,"7"\n')
    assert read_rows(table) == [{"a": "1", "b": "2"}, {"a": "", "b": "7"}]
    for nothing in ("", "\n", "a,b", "a,b\n"):
        table.write_text(nothing)
        assert read_rows(table) == []
    table.write_text("a\n" + "1" * 200_000 + "\n")
    with pytest.raises(RefusedError, match=r"table\.csv: is not a table \(field larger"):
        read_rows(table)
    with pytest.raises(RefusedError, match="is missing"):
        read_rows(tmp_path / "absent.csv")


def npy(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(8)


@pytest.mark.parametrize("shape", [f"({10**15},)", f"({10**21},)", "(1, ", "(-1,)", "[1]", "x"])
def test_altered_evaluations_are_refused_whatever_numpy_makes_of_them(tmp_path: Path, shape: str):
    folder = RunFolder(tmp_path)
    with zipfile.ZipFile(folder.evaluations, "w") as archive:
        archive.writestr("timesteps.npy", npy(shape))
    with pytest.raises(RefusedError, match=r"evaluations\.npz: cannot be read"):
        folder.read_evaluations()
    with zipfile.ZipFile(folder.evaluations, "w") as archive:
        archive.writestr("timesteps.npy", npy("(1,)"))
    assert folder.read_evaluations()["timesteps"].tolist() == [0.0]


def test_evaluations_unpack_to_no_more_than_they_may_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = RunFolder(tmp_path)
    np.savez_compressed(folder.evaluations, timesteps=np.zeros(100_000))
    assert folder.read_evaluations()["timesteps"].size == 100_000
    monkeypatch.setattr(run_folder, "MOST_TABLE", 10_000)
    assert folder.evaluations.stat().st_size < 10_000
    with pytest.raises(RefusedError, match=r"evaluations\.npz: .*it unpacks to 800,128 bytes"):
        folder.read_evaluations()


def test_evaluations_run_no_code(tmp_path: Path):
    buffer = io.BytesIO()
    np.savez(buffer, timesteps=np.array([print], dtype=object), allow_pickle=True)
    RunFolder(tmp_path).evaluations.write_bytes(buffer.getvalue())
    with pytest.raises(RefusedError, match="allow_pickle=False"):
        RunFolder(tmp_path).read_evaluations()


# --- older files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sealed", [True, False])
def test_an_older_config_is_brought_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed: bool
):
    folder = RunFolder(tmp_path)
    folder.config.write_text(
        (seal_json if sealed else dump_json)({"schema_version": 0, "env": "brax/ant"})
    )
    before = folder.config.read_bytes()
    with pytest.raises(RefusedError, match="schema_version 0 of a run, which this release cannot"):
        folder.read_config(sealed=sealed)
    monkeypatch.setitem(RUN.migrations, 0, lambda old: {"environment": {"id": old["env"]}})
    expected = {"schema_version": RUN.newest, "environment": {"id": "brax/ant"}}
    assert folder.read_config(sealed=sealed) == expected
    assert folder.config.read_bytes() == before


def test_an_older_evaluation_is_brought_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = RunFolder(tmp_path)
    path = folder.snapshot(64) / "evaluation.json"
    path.parent.mkdir(parents=True)
    path.write_text(dump_json({"schema_version": 0, "mean": 1.5}))
    monkeypatch.setitem(EVALUATION.migrations, 0, lambda old: {"mean_return": old["mean"]})
    assert folder.read_snapshot_evaluation(64) == {"schema_version": 1, "mean_return": 1.5}
    path.write_text(dump_json({"schema_version": 2}))
    with pytest.raises(RefusedError, match=r"evaluation\.json: has schema_version 2 .* Upgrade"):
        folder.read_snapshot_evaluation(64)
