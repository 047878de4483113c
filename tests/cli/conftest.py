"""One small run made by the command line, copied for each test."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# The helpers beside this file are found however pytest imports the tests.
sys.path.insert(0, str(Path(__file__).parent))

from command_line import TINY, Done, run


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from heredity.cli.main import main

    directory = tmp_path_factory.mktemp("runs") / "tiny"
    words = ["--total-timesteps", "512", "--snapshot-every", "128", "--checkpoint-every", "128"]
    assert main(["train", *TINY, *words, "--keep-last", "3", "--directory", str(directory)]) == 0
    return directory


@pytest.fixture
def trained(_trained: Path, tmp_path: Path) -> Path:
    """A run folder of its own, at step 512 of 512."""
    return Path(shutil.copytree(_trained, tmp_path / "tiny", symlinks=True))


@pytest.fixture
def policy(trained: Path) -> Path:
    """The best policy of that run."""
    return trained / "checkpoints" / "best" / "policy"


@pytest.fixture
def heredity(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run a command in this process; what it printed and its exit code."""
    return lambda *words: run(capfd, [str(word) for word in words])
