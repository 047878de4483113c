"""Checkpoints of the official DreamerV3: read, and not yet policies."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from heredity.common.errors import RefusedError
from heredity.common.reading import read_bytes, read_text
from heredity.policies.importers.making import Imported, fingerprint
from heredity.policies.importers.options import ImportOptions
from heredity.weights.reading import arrays_by_path, read_pickle
from heredity.weights.reading.limits import MOST_PICKLE


@dataclasses.dataclass(frozen=True)
class DreamerCheckpoint:
    """What the agent's pickle holds.

    Args:
        arrays: By their names there: ``enc/…``, ``dyn/…``, ``pol/…``, the optimiser among them.
        counters: Updates, batches and actions.
    """

    arrays: Mapping[str, np.ndarray]
    counters: Mapping[str, int]


def read_dreamerv3(path: Path) -> DreamerCheckpoint:
    """Every array of a checkpoint of the official DreamerV3. Nothing of its pickle is run.

    Args:
        path: ``agent.pkl``; the folder it is in; or the folder ``ckpt``, of which the newest is
            taken, as its file ``latest`` says.

    Raises:
        RefusedError: when it is broken, or holds anything but arrays and counters.
    """
    if path.is_dir() and (path / "latest").exists():
        name = read_text(path / "latest", most=4096).strip("\n")
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name) or name in (".", ".."):
            raise RefusedError(path / "latest", "names no folder beside it")
        path = path / name
    if path.is_dir():
        shards = sorted(path.glob("agent-*.pkl"))
        if shards:
            raise RefusedError(path, f"keeps its agent in {len(shards)} parts, one was expected")
        path = path / "agent.pkl"
    content = read_bytes(path, MOST_PICKLE)
    value = read_pickle(content, path)
    if not isinstance(value, Mapping) or not isinstance(value.get("params"), Mapping):
        raise RefusedError(path, "is no agent of DreamerV3: a dict with params was expected")
    arrays = arrays_by_path(value["params"])
    if not arrays:
        raise RefusedError(path, "has no array among its params")
    counters = value.get("counters")
    told = counters if isinstance(counters, Mapping) else {}
    return DreamerCheckpoint(
        arrays, {str(name): count for name, count in told.items() if isinstance(count, int)}
    )


def import_dreamerv3(path: Path, options: ImportOptions) -> Imported:
    """Read a checkpoint, and say why it does not become a policy yet.

    Raises:
        RefusedError: always: broken, or because it does not say which spaces it is for.
    """
    fingerprint(path, options)
    found = read_dreamerv3(path)
    total = sum(array.size for array in found.arrays.values())
    folders = sorted({name.split("/")[0] for name in found.arrays})
    raise RefusedError(
        path,
        f"is a whole DreamerV3 checkpoint ({len(found.arrays):,} arrays, {total:,} numbers: "
        f"{', '.join(folders)}), and cannot become a policy yet: it does not say what it sees and "
        "does",
        "In Python, read_dreamerv3(path).arrays gives its arrays, for inject() and rules",
    )
