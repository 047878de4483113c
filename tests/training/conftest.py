"""One small run, trained once and copied for each test."""

import shutil
import sys
from pathlib import Path

import pytest

# The helpers beside this file are found however pytest imports the tests.
sys.path.insert(0, str(Path(__file__).parent))

from company import SCHEDULE, TOTAL
from tiny_runs import train


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "tiny"
    train(directory, 768, snapshot_every=256, checkpoint_every=128, keep_last=3, log_every=128)
    return directory


@pytest.fixture
def run(_trained: Path, tmp_path: Path) -> Path:
    """A run folder of its own, at step 768 of 768."""
    return Path(shutil.copytree(_trained, tmp_path / "tiny", symlinks=True))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `company.TINY` says, in one process with two devices; nobody is killed."""
    directory = tmp_path_factory.mktemp("runs") / "undisturbed"
    train(directory, TOTAL, devices=2, **SCHEDULE)
    return directory
