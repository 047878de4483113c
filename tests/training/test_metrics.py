import csv
import math
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import metrics_steps, resume

from heredity.common.errors import RefusedError, StorageError
from heredity.common.run_folder import RunFolder
from heredity.training.evaluation import Evaluation
from heredity.training.metrics import Accumulator, CsvSink, TensorBoardSink, append_evaluation

STEP = "time/total_timesteps"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def scalars(folder: Path) -> list[tuple[int, str, float]]:
    """Every scalar of every event file, in order."""
    import struct

    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack("<Q", data[at : at + 8])
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 12 + length + 4
            if event.session_log.status:
                found.append((event.step, "START", 0.0))
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return found


# --- rows -----------------------------------------------------------------------------------------


def test_means_over_iterations_and_returns_over_episodes():
    gathered = Accumulator()
    ends = {"episodes": 1.0, "episode_returns": 10.0, "episode_lengths": 4.0}
    gathered.add({"iterations": 1, "finite": 1, "train/loss": 1.0, **ends})
    ends = {"episodes": 3.0, "episode_returns": 2.0, "episode_lengths": 8.0}
    gathered.add({"iterations": 3, "finite": 1, "train/loss": 5.0, **ends})
    assert gathered.row() == {
        "train/loss": 4.0, "rollout/ep_rew_mean": 3.0, "rollout/ep_len_mean": 3.0,
        "rollout/episodes": 4.0,
    }  # fmt: skip


def test_where_no_episode_ended_there_is_no_return():
    gathered = Accumulator()
    nothing = {"episodes": 0.0, "episode_returns": 0.0, "episode_lengths": 0.0}
    gathered.add({"iterations": 1, "finite": 1, "train/loss": 1.0, **nothing})
    assert gathered.row() == {"train/loss": 1.0}
    assert Accumulator().row() == {}


# --- metrics.csv ----------------------------------------------------------------------------------


def test_rows_and_columns(tmp_path: Path):
    sink = CsvSink(tmp_path / "metrics.csv")
    sink.write(1, {"a": 0.1})
    sink.write(2, {"a": math.nan})
    sink.write(3, {"b": 1e-30, "a": 2})
    sink.write(2**40, {})
    sink.close()
    assert rows(tmp_path / "metrics.csv") == [
        {STEP: "1", "a": "0.1", "b": ""},
        {STEP: "2", "a": "", "b": ""},
        {STEP: "3", "a": "2", "b": "1e-30"},
        {STEP: str(2**40), "a": "", "b": ""},
    ]


def test_a_resume_takes_back_what_comes_after_and_what_is_torn(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    sink = CsvSink(path)
    for step in (64, 128, 192):
        sink.write(step, {"a": step, "b": 1.0})
    # A process that dies while it writes: this row would read as one of step 12.
    with path.open("a") as stream:
        stream.write("12")
    again = CsvSink(path, resume_at=128)
    again.write(192, {"a": 7, "b": 2.0})
    assert [(row[STEP], row["a"]) for row in rows(path)] == [
        ("64", "64"),
        ("128", "128"),
        ("192", "7"),
    ]


@pytest.mark.parametrize("content", [b"", b"\n", b"a,b\n1,2\n", b'"unclosed\n', b"\x00\x01\n"])
def test_a_strange_file_is_begun_anew(tmp_path: Path, content: bytes):
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    sink = CsvSink(path, resume_at=10)
    sink.write(11, {"a": 1.0})
    assert rows(path)[-1][STEP] == "11"


def test_rows_of_a_branch_that_was_left_are_taken_back(tmp_path: Path):
    table, board = CsvSink(tmp_path / "metrics.csv"), TensorBoardSink(tmp_path)
    for step in (64, 128, 192):
        table.write(step, {"a": step})
        board.write(step, {"a": step})
    for sink in (table, board):
        sink.rewind(128)
        sink.write(192, {"a": 7, "b": 1})
    assert [row["a"] for row in rows(tmp_path / "metrics.csv")] == ["64", "128", "7"]
    assert scalars(tmp_path)[3:] == [(129, "START", 0.0), (192, "a", 7), (192, "b", 1)]


def test_damaged_logs_do_not_stop_a_resume(run: Path, caplog: pytest.LogCaptureFixture):
    folder = RunFolder(run)
    kept = {path: b"\xff\xfe" + path.read_bytes() for path in (folder.metrics, folder.evaluations)}
    for path, content in kept.items():
        path.write_bytes(content[: len(content) // 2])
    resume(run, total_timesteps=832)
    for path, content in kept.items():
        (aside,) = run.glob(f"{path.name}.refused-*")
        assert aside.read_bytes() == content[: len(content) // 2]
        assert str(aside) in caplog.text
    assert metrics_steps(run) == [832]
    assert folder.read_evaluations()["timesteps"].tolist() == [832]


def test_a_fresh_run_begins_anew(tmp_path: Path):
    CsvSink(tmp_path / "metrics.csv").write(5, {"a": 1})
    CsvSink(tmp_path / "metrics.csv").write(6, {"a": 1})
    assert [row[STEP] for row in rows(tmp_path / "metrics.csv")] == ["6"]


def test_a_table_that_was_moved_away_is_begun_anew(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    sink = CsvSink(path)
    sink.write(1, {"a": 1})
    path.rename(tmp_path / "mine.csv")
    sink.write(2, {"a": 2})
    sink.write(3, {"a": 3})
    assert [(row[STEP], row["a"]) for row in rows(path)] == [("2", "2"), ("3", "3")]


def test_a_full_disk_is_told():
    with pytest.raises(StorageError, match=r"/proc/metrics\.csv: could not be written"):
        CsvSink(Path("/proc/metrics.csv")).write(1, {"a": 1})


def test_columns_are_those_of_stable_baselines(run: Path):
    stored = RunFolder(run).read_metrics()
    assert {
        STEP, "rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps", "time/time_elapsed",
        "train/approx_kl", "train/clip_fraction", "train/clip_range", "train/entropy_loss",
        "train/explained_variance", "train/learning_rate", "train/loss",
        "train/policy_gradient_loss", "train/value_loss", "eval/mean_reward",
        "eval/mean_ep_length",
    } <= set(stored)  # fmt: skip
    assert metrics_steps(run) == [0, 128, 256, 384, 512, 640, 768]
    np.testing.assert_array_equal(np.isnan(stored["eval/mean_reward"]), [0, 1, 0, 1, 0, 1, 0])


def test_a_resume_continues_the_table(run: Path):
    folder = RunFolder(run)
    import shutil

    shutil.rmtree(folder.checkpoint(768))
    resume(run, total_timesteps=896)
    assert metrics_steps(run) == [0, 128, 256, 384, 512, 640, 768, 896]
    assert folder.read_evaluations()["timesteps"].tolist() == [0, 256, 512, 768, 896]
    seen = scalars(run)
    assert (641, "START", 0.0) in seen
    assert {step for step, tag, _ in seen if tag == "train/loss"} == {
        128,
        256,
        384,
        512,
        640,
        768,
        896,
    }


def test_reading_what_is_torn(run: Path):
    folder = RunFolder(run)
    folder.metrics.write_bytes(b"\xff\xfe\n1\n")
    with pytest.raises(RefusedError, match=r"metrics\.csv"):
        folder.read_metrics()
    data = folder.evaluations.read_bytes()
    for torn in (b"", b"PK\x03\x04", data[: len(data) // 2], data[:-1], b"\x80\x04\x95."):
        folder.evaluations.write_bytes(torn)
        with pytest.raises(RefusedError, match=r"evaluations\.npz: cannot be read"):
            folder.read_evaluations()
    folder.evaluations.unlink(), folder.metrics.unlink()
    assert folder.read_evaluations() == {} and folder.read_metrics() == {}


# --- TensorBoard ----------------------------------------------------------------------------------


def test_scalars(tmp_path: Path):
    sink = TensorBoardSink(tmp_path)
    sink.write(64, {"a": 0.5, "b": math.nan})
    sink.write(2**40, {"a": 1.5})
    # They are there at once: nobody has to close to look.
    assert scalars(tmp_path) == [(64, "a", 0.5), (2**40, "a", 1.5)]
    sink.close()
    TensorBoardSink(tmp_path, resume_at=64).close()
    assert (65, "START", 0.0) in scalars(tmp_path)


def test_a_run_that_starts_again_takes_back_what_it_logged(tmp_path: Path):
    """It died before its first checkpoint, and begins anew in the same folder."""
    TensorBoardSink(tmp_path).write(64, {"a": 1.0})
    assert scalars(tmp_path) == [(64, "a", 1.0)]
    TensorBoardSink(tmp_path).write(64, {"a": 1.0})
    assert scalars(tmp_path) == [(64, "a", 1.0), (0, "START", 0.0), (64, "a", 1.0)]


def test_a_full_disk_does_not_hang(tmp_path: Path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    sink = TensorBoardSink(tmp_path)
    sink._path.symlink_to("/dev/full")
    for step in range(100):
        with pytest.raises(StorageError, match=r"events\.out.*No space left"):
            sink.write(step, {"a": 1.0})
    sink.close()


# --- evaluations.npz ------------------------------------------------------------------------------


def evaluation(*returns: float) -> Evaluation:
    return Evaluation(np.array(returns), np.arange(len(returns)) + 1, True)


def test_evaluations_are_those_of_stable_baselines(tmp_path: Path):
    folder = RunFolder(tmp_path)
    append_evaluation(folder, 100, evaluation(1, 2))
    append_evaluation(folder, 200, evaluation(3, 4))
    with np.load(folder.evaluations) as stored:
        assert sorted(stored.files) == ["ep_lengths", "results", "timesteps"]
        assert stored["timesteps"].tolist() == [100, 200]
        assert stored["results"].tolist() == [[1, 2], [3, 4]]
        assert stored["ep_lengths"].tolist() == [[1, 2], [1, 2]]


def test_going_over_a_step_again_replaces_it(tmp_path: Path):
    folder = RunFolder(tmp_path)
    for step in (100, 200, 300):
        append_evaluation(folder, step, evaluation(step))
    append_evaluation(folder, 200, evaluation(7))
    assert folder.read_evaluations()["timesteps"].tolist() == [100, 200]
    assert folder.read_evaluations()["results"].tolist() == [[100], [7]]


@pytest.mark.parametrize(
    "arrays",
    [
        {"timesteps": np.zeros(2)},
        {
            "timesteps": np.zeros((1, 2)),
            "results": np.zeros((1, 2)),
            "ep_lengths": np.zeros((1, 2)),
        },
        {"timesteps": np.zeros(2), "results": np.zeros((1, 2)), "ep_lengths": np.zeros((2, 2))},
        {
            "timesteps": np.array(["64"]),
            "results": np.zeros((1, 2)),
            "ep_lengths": np.zeros((1, 2)),
        },
    ],
)
def test_other_arrays_are_set_aside(tmp_path: Path, arrays: dict):
    folder = RunFolder(tmp_path)
    np.savez(folder.evaluations, **arrays)
    append_evaluation(folder, 100, evaluation(1))
    assert folder.read_evaluations()["timesteps"].tolist() == [100]
    assert len(list(tmp_path.glob("evaluations.npz.refused-*"))) == 1


def test_numbers_of_episodes_may_change(tmp_path: Path):
    folder = RunFolder(tmp_path)
    for step, returns in ((1, (1,)), (2, (1, 2, 3)), (3, (1, 2))):
        append_evaluation(folder, step, evaluation(*returns))
    widths = (~np.isnan(folder.read_evaluations()["results"])).sum(axis=1)
    assert widths.tolist() == [1, 3, 2]
