"""A run folder as the first release wrote it (schema version 1 of every format) stays readable.

The files under tests/fixtures/run_schema_1 are never written again: who changes a format adds a
migration and a further folder. They are a run of 128 steps with the settings of tiny_runs.py,
``snapshot_every=128, log_every=64``.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import ENVIRONMENT, metrics_steps, resume

from heredity.common.run_folder import RunFolder
from heredity.policies import Policy
from heredity.training.checkpoints import read_checkpoint
from heredity.training.record import read_settings
from heredity.viewer.reading import read_run

GOLDEN = Path(__file__).parents[1] / "fixtures" / "run_schema_1"


@pytest.fixture
def golden(tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(GOLDEN, tmp_path / "golden")))


def test_every_file_is_of_the_first_schema():
    files = sorted(GOLDEN.rglob("*.json"))
    assert len(files) == 11
    assert all(json.loads(path.read_text())["schema_version"] == 1 for path in files)


def test_the_run_is_read(golden: RunFolder):
    record = golden.read_config(sealed=True)
    config, settings = read_settings(golden, record)
    assert (config.num_envs, config.network.hidden, settings.total_timesteps) == (4, (8,), 128)
    assert record["environment"] == {"id": ENVIRONMENT, "options": {"host": False, "length": 5}}
    assert metrics_steps(golden.root) == [0, 64, 128]
    assert golden.read_evaluations()["timesteps"].tolist() == [0, 128]


def test_the_policy_acts_as_it_did(golden: RunFolder):
    stored = golden.read_snapshot_evaluation(128)
    for place in (golden.snapshot(128), golden.checkpoint(128)):
        policy = Policy.from_pretrained(place / "policy")
        assert policy.policy_hash == stored["policy_hash"] == policy.lineage.head
        actions, _ = policy.predict(np.linspace(-1, 1, 9, dtype=np.float32)[:, None])
        assert actions.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    operations = [entry.operation for entry in policy.lineage.entries]
    assert operations == ["train", "checkpoint"]


def test_the_viewer_shows_it(golden: RunFolder):
    run = read_run(golden.root)
    assert (run.notes, run.environment) == ([], ENVIRONMENT)
    (snapshot,) = run.snapshots
    assert snapshot.recording().rewards.shape == (5,)
    assert snapshot.score is not None and snapshot.score.episodes == 2


def test_it_is_resumed(golden: RunFolder):
    assert read_checkpoint(golden.checkpoint(128)).notes["best"]["step"] == 0
    resume(golden.root, total_timesteps=192, evaluation_episodes=0)
    last = read_checkpoint(golden.checkpoint(192))
    operations = [entry.operation for entry in last.lineage.entries]
    assert operations == ["train", "checkpoint", "resume", "checkpoint"]
