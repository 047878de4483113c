"""Where everything of a run of several seeds lies: each seed is an ordinary run folder in it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from heredity.common.errors import RefusedError
from heredity.common.run_folder import RunFolder

_MEMBER = re.compile(r"seed-(0|[1-9]\d{0,9})")


@dataclasses.dataclass(frozen=True)
class GroupFolder:
    """The layout of ``runs/<name>`` with several seeds: ``config.json`` and ``seed-<number>/``.

    Example:
        >>> GroupFolder(Path("runs/ant")).member(3).root.as_posix()
        'runs/ant/seed-3'
    """

    root: Path

    @property
    def config(self) -> Path:
        """What the seeds were started with together, sealed."""
        return self.root / "config.json"

    @property
    def report(self) -> Path:
        """The report over all seeds, once it is written."""
        return self.root / "report.html"

    def member(self, seed: int) -> RunFolder:
        """The run folder of one seed."""
        return RunFolder(self.root / f"seed-{seed}")

    def read_config(self, *, sealed: bool = False) -> dict[str, Any]:
        """What the seeds were started with; see `RunFolder.read_config`."""
        return RunFolder(self.root).read_config(sealed=sealed)

    def seeds(self) -> list[int]:
        """Seeds whose folders are there, ascending.

        Raises:
            RefusedError: when the folder cannot be read.
        """
        try:
            places = list(self.root.iterdir())
        except OSError as error:
            raise RefusedError(self.root, f"cannot be read ({error.strerror})") from None
        names = (_MEMBER.fullmatch(place.name) for place in places if place.is_dir())
        return sorted(int(name[1]) for name in names if name)


def is_group(path: Path) -> bool:
    """Whether a folder holds a run of several seeds."""
    return (path / "config.json").is_file() and bool(GroupFolder(path).seeds())


def runs_in(path: Path) -> list[RunFolder]:
    """The run folders that a path means: itself, or that of each seed, in their order.

    Args:
        path: Of a run, of one seed or of several.
    """
    group = GroupFolder(path)
    return [group.member(seed) for seed in group.seeds()] if is_group(path) else [RunFolder(path)]
