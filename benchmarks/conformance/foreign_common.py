"""What the recipes of foreign policies share: what is seen, and how a case is written down."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

OBSERVATIONS = 1000


def pictures(shape: tuple[int, ...]) -> np.ndarray:
    """`OBSERVATIONS` pictures of bytes: stripes whose angles and phases differ.

    They are computed, not drawn and not stored, so that a thousand of them take no room.
    """
    number = np.arange(OBSERVATIONS).reshape(-1, 1, 1, 1)
    row, column, channel = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return ((number * 37 + row * (number % 13) + column * (number % 7) * 3 + channel) % 256).astype(
        np.uint8
    )


def write_case(folder: Path, seen: Any, actions: Any, **more: np.ndarray) -> None:
    """Write ``expected.npz``: observations by entry, the actions that followed, and the rest.

    Pictures are left out: `pictures` makes them again.
    """
    entries = seen if isinstance(seen, Mapping) else {"observation": seen}
    arrays = {
        f"seen/{name}": value
        for name, value in entries.items()
        if not (value.dtype == np.uint8 and value.ndim == 4)
    }
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "expected.npz", actions=np.asarray(actions), **arrays, **more)


def write_versions(folder: Path, name: str, *packages: str, **known: str) -> None:
    """Add the versions of the libraries that made some of the cases to ``versions.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "versions.json"
    versions = json.loads(path.read_text()) if path.exists() else {}
    installed = {package: importlib.metadata.version(package) for package in packages}
    versions[name] = {**installed, **known}
    path.write_text(json.dumps(versions, indent=1, sort_keys=True) + "\n")
