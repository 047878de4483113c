from pathlib import Path

import numpy as np
import pytest

from heredity.common.errors import StorageError
from heredity.common.run_folder import RunFolder
from heredity.policies.files import load_policy
from heredity.training import snapshots
from heredity.training.evaluation import Evaluation
from heredity.training.snapshots import write_snapshot


def write(folder: RunFolder, step: int, keep: int | None = None, *returns: float) -> None:
    """A snapshot of the policy of a run's last checkpoint."""
    spec, leaves, lineage, _ = load_policy(folder.checkpoint(768) / "policy")
    lengths = np.full(len(returns), 5)
    evaluation = Evaluation(np.array(returns), lengths, True) if returns else None
    write_snapshot(folder, step, spec, leaves, lineage, evaluation, keep)


def test_a_snapshot_is_a_policy_with_its_score(run: Path):
    folder = RunFolder(run)
    write(folder, 1000, None, 1.0, 3.0)
    stored = folder.read_snapshot_evaluation(1000)
    assert (stored["step"], stored["mean_return"], stored["std_return"]) == (1000, 2.0, 1.0)
    assert (stored["episodes"], stored["returns"], stored["lengths"]) == (2, [1.0, 3.0], [5, 5])
    *_, policy_hash = load_policy(folder.snapshot(1000) / "policy")
    assert stored["policy_hash"] == policy_hash
    write(folder, 1001)
    write(folder, 1002, None, 1.0, float("nan"))
    for step in (1001, 1002):
        assert [path.name for path in folder.snapshot(step).iterdir()] == ["policy"]


def test_the_oldest_go(run: Path):
    folder = RunFolder(run)
    assert folder.snapshot_steps() == [0, 256, 512, 768]
    write(folder, 1024, 3)
    assert folder.snapshot_steps() == [512, 768, 1024]
    assert len(list(folder.snapshots.iterdir())) == 3


def test_what_was_just_written_stays(run: Path):
    """After going back to step 512: the later ones are of a moment that is to come again."""
    folder = RunFolder(run)
    write(folder, 576, 1)
    assert folder.snapshot_steps() == [576, 768]
    write(folder, 768, 1)
    assert folder.snapshot_steps() == [768]


def test_a_full_disk_leaves_the_earlier_ones(run: Path, monkeypatch: pytest.MonkeyPatch):
    folder = RunFolder(run)

    def full(place: Path, files: dict[str, bytes]) -> None:
        (place / "config.json").write_bytes(files["config.json"])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshots, "write_policy_files", full)
    with pytest.raises(StorageError, match=r"000000001024: could not be written \(No space"):
        write(folder, 1024, 1)
    assert folder.snapshot_steps() == [0, 256, 512, 768]
    assert len(list(folder.snapshots.iterdir())) == 4
