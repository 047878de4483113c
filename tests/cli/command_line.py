"""The command line as a person meets it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from heredity.cli.main import main
from heredity.common.files import seal_json

TINY = (
    "ppo", "--env", "probe/observation-action-reward", "--env.length", "5", "--num-envs", "4",
    "--num-steps", "16", "--num-epochs", "1", "--num-minibatches", "2", "--network.hidden", "8",
    "--evaluation-episodes", "2", "--no-progress", "--no-report",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Done:
    """What a command did.

    Args:
        code: Exit code.
        out: Standard output.
        err: Standard error.
    """

    code: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """Everything printed, as running text: boxes and line breaks taken out."""
        text = self.out + self.err
        for mark in "│╭╮╰╯─┃━":
            text = text.replace(mark, " ")
        return " ".join(text.split())

    @property
    def json(self) -> dict[str, Any]:
        """The one object on standard output."""
        assert self.out.count("\n") == 1, self.out
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


def run(capture: pytest.CaptureFixture[str], words: list[str]) -> Done:
    capture.readouterr()
    try:
        code = main(words)
    except SystemExit as leaving:  # tyro's answer to --help and to mistakes
        code = leaving.code if isinstance(leaving.code, int) else 1
    out, err = capture.readouterr()
    assert "Traceback" not in out + err
    return Done(code, out, err)


def damage(path: Path, how: str) -> None:
    """Make a file ``flipped`` in one bit, ``truncated``, ``missing``, or of the ``future``."""
    data = path.read_bytes()
    if how == "flipped":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :])
    elif how == "truncated":
        path.write_bytes(data[:-3])
    elif how == "missing":
        path.unlink()
    else:
        value = json.loads(data)
        value.pop("sha256")
        path.write_text(seal_json({**value, "schema_version": 99}))
