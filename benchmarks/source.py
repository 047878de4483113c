"""Which code and which settings a number came from."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# What can change a number; results are written while others are trained.
_CODE = ("src", "benchmarks", ":!benchmarks/results")


def source(root: Path = ROOT) -> dict[str, Any]:
    """The commit of the code as it is now.

    Args:
        root: Of the repository.

    Returns:
        ``commit``, None outside of a git checkout; ``clean``, whether src and benchmarks (without
        the results) are as that commit has them; ``package``, git's hash of the contents of
        src/heredity in that commit, which stays when commits are joined or moved.
    """
    try:
        commit = _git(root, "rev-parse", "HEAD")
        package = _git(root, "rev-parse", "HEAD:src/heredity")
        changed = _git(root, "status", "--porcelain", "--", *_CODE)
    except (OSError, subprocess.CalledProcessError):  # no git, or no checkout
        return {"commit": None, "clean": False, "package": None}
    return {"commit": commit, "clean": not changed, "package": package}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, check=True)
    return done.stdout.decode().strip()


def settings_hash(settings: Mapping[str, Any]) -> str:
    """The first digits of a SHA-256 over settings as JSON with sorted keys.

    Example:
        >>> settings_hash({"a": 1, "b": (2,)}) == settings_hash({"b": [2], "a": 1})
        True
    """
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
