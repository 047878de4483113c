"""One small policy, saved once and copied for each test."""

import shutil
import sys
from pathlib import Path

import pytest

# The helpers beside this file are found however pytest imports the tests.
sys.path.insert(0, str(Path(__file__).parent))

from small_policy import build

from heredity.policies import Policy


@pytest.fixture(scope="session")
def policy() -> Policy:
    return build()


@pytest.fixture(scope="session")
def _saved(policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy") / "saved"
    policy.save_pretrained(folder)
    return folder


@pytest.fixture
def saved(_saved: Path, tmp_path: Path) -> Path:
    """A folder of its own with the policy's files."""
    return Path(shutil.copytree(_saved, tmp_path / "saved"))
