"""Where everything of a run of several seeds lies: each seed is an ordinary run folder in it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
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

    def members(self, config: Mapping[str, Any]) -> list[int]:
        """The seeds that the run has, ascending, whether or not their folders are there.

        Args:
            config: What `read_config` gave. Where it does not tell of seeds, those are taken whose
                folders are there.

        Raises:
            RefusedError: when what it tells are no seeds.
        """
        seeds = config["seeds"] if "seeds" in config else self.seeds()
        if not isinstance(seeds, list) or not all(type(s) is int and s >= 0 for s in seeds):
            raise RefusedError(
                self.config, f"names the seeds {seeds!r}: a list of whole numbers was expected"
            )
        return sorted(set(seeds))

    def read_member(
        self, seed: int, config: Mapping[str, Any], *, sealed: bool = False
    ) -> dict[str, Any]:
        """What one seed was started with, see `RunFolder.read_config`; it has to be of this run.

        Args:
            seed: Of the member.
            config: Of the whole run.
            sealed: See `RunFolder.read_config`.

        Raises:
            RefusedError: when its folder is missing, its config.json was altered, or is that of
                another run.
        """
        member = self.member(seed)
        if not member.root.is_dir():
            told = ", ".join(map(str, self.members(config)))
            raise RefusedError(
                member.root,
                f"is missing: {self.root} is a run of the seeds {told}",
                "Put it back; the other seeds can be gone on with alone",
            )
        own = member.read_config(sealed=sealed)
        expected = f"{config.get('run_id')}-{seed}"
        if own.get("run_id") != expected:
            raise RefusedError(
                member.config, f"is of the run {own.get('run_id')}, {expected} was expected"
            )
        return own

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
