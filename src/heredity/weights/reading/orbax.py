"""Checkpoint folders of Orbax, without Orbax: the tree from its JSON, the arrays with tensorstore.

The files are read by ourselves, within limits, and given to tensorstore in memory. So nothing
that stands in a file leads it to another place.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from heredity.common.errors import RefusedError
from heredity.common.reading import read_bytes, read_text
from heredity.weights.reading.limits import (
    MOST_DEPTH,
    MOST_ENTRIES,
    MOST_PICKLE,
    MOST_RATIO,
    MOST_STRUCTURE,
    SMALL,
)

METADATA = "_METADATA"
_KINDS = "biuf"  # truth values, whole numbers, floats; bfloat16 is told apart by its name


def read_orbax(folder: Path) -> dict[str, np.ndarray]:
    """Every array of a checkpoint, by the keys of the tree joined with ``/``.

    Args:
        folder: With the file ``_METADATA``, as `PyTreeCheckpointer` writes it.

    Raises:
        RefusedError: when it is no such folder, or one of its files is missing, broken, too large,
            or no regular file.
    """
    tree, zarr = _tree(folder / METADATA)
    content = _content(folder)
    store = _Store(folder, content, is_ocdbt="manifest.ocdbt" in content, driver=zarr)
    found: dict[str, np.ndarray] = {}
    for keys in tree:
        found["/".join(keys)] = store.read(".".join(keys))
    return found


def read_json(path: Path) -> Any:
    """What a JSON file says.

    Raises:
        RefusedError: when it is missing, too large or not JSON.
    """
    try:
        return json.loads(read_text(path, most=MOST_STRUCTURE))
    except (RecursionError, ValueError) as error:
        raise RefusedError(path, f"is not JSON ({error})") from None


def _tree(path: Path) -> tuple[list[tuple[str, ...]], str]:
    """The keys of each array, and the driver that they are stored for."""
    value = read_json(path)
    tree = value.get("tree_metadata") if isinstance(value, Mapping) else None
    if not isinstance(tree, Mapping) or not tree or len(tree) > MOST_ENTRIES:
        raise RefusedError(path, "does not describe a tree of arrays")
    found = []
    for text, entry in tree.items():
        keys = _keys(entry)
        if keys is None:
            raise RefusedError(path, f"names an array {text[:80]!r} without saying its keys")
        if entry.get("value_metadata", {}).get("skip_deserialize") is not True:
            found.append(keys)
    return found, "zarr3" if value.get("use_zarr3") is True else "zarr"


def _keys(entry: Any) -> tuple[str, ...] | None:
    """The keys that lead to an array; None where they are not told."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("value_metadata"), Mapping):
        return None
    parts = entry.get("key_metadata")
    if not isinstance(parts, list) or not 0 < len(parts) <= MOST_DEPTH:
        return None
    keys = []
    for part in parts:
        key = part.get("key") if isinstance(part, Mapping) else None
        if not isinstance(key, str) or not key or "/" in key:
            return None
        keys.append(key)
    return tuple(keys)


def _content(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, by its path within."""
    found: dict[str, bytes] = {}
    total = 0
    for place, folders, files in os.walk(folder, followlinks=False):
        for name in (*folders, *files):
            path = Path(place, name)
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise RefusedError(path, "is a link, pipe or device in a checkpoint")
        for name in files:
            path = Path(place, name)
            content = read_bytes(path, MOST_PICKLE - total)
            found[path.relative_to(folder).as_posix()] = content
            total += len(content)
        if len(found) > MOST_ENTRIES:
            raise RefusedError(folder, f"has more than {MOST_ENTRIES:,} files")
    return found


class _Store:
    """Arrays in a folder whose files were read into memory.

    Args:
        folder: For errors.
        content: Bytes by path within the folder.
        is_ocdbt: Whether arrays are entries of one database, not folders.
        driver: Of the arrays, zarr or zarr3.
    """

    def __init__(
        self, folder: Path, content: Mapping[str, bytes], *, is_ocdbt: bool, driver: str
    ) -> None:
        import tensorstore

        self._folder, self._driver, self._is_ocdbt = folder, driver, is_ocdbt
        self._context = tensorstore.Context()
        self._most = sum(map(len, content.values())) * MOST_RATIO + SMALL
        memory = tensorstore.KvStore.open({"driver": "memory"}, context=self._context).result()
        for name, data in content.items():
            memory.write(name, data).result()

    def read(self, name: str) -> np.ndarray:
        """One array.

        Raises:
            RefusedError: when it is not there whole, or no numbers.
        """
        import tensorstore

        if self._is_ocdbt:
            place: dict[str, Any] = {"driver": "ocdbt", "base": "memory://", "path": f"{name}/"}
        else:
            place = {"driver": "memory", "path": f"{name}/"}
        specification: dict[str, Any] = {
            "driver": self._driver,
            "kvstore": place,
            # Otherwise a missing piece reads as zeros. Orbax writes pieces of zeros as well.
            "fill_missing_data_reads": False,
        }
        try:
            array = tensorstore.open(
                specification, open=True, read=True, context=self._context
            ).result()
            dtype = array.dtype.numpy_dtype
            if dtype.kind not in _KINDS and dtype.name != "bfloat16":
                raise RefusedError(self._folder, f"array {name!r} holds {dtype}, not numbers")
            # Pieces are unpacked whole, and may be larger than the array that is in them.
            pieces = array.chunk_layout.write_chunk.shape or array.shape
            sides = [
                -(-length // (piece or 1)) * (piece or 1)
                for length, piece in zip(array.shape, pieces, strict=True)
            ]
            size = math.prod(sides) * dtype.itemsize
            self._most -= size
            if self._most < 0:
                raise RefusedError(
                    self._folder,
                    f"array {name!r} would unpack to {size:,} bytes, more than its files can hold",
                )
            found = np.asarray(array.read().result())
        except (KeyError, NotImplementedError, OSError, TypeError, ValueError) as error:
            told = str(error).split("[source locations")[0].strip()
            raise RefusedError(self._folder, f"array {name!r} cannot be read ({told})") from None
        found.flags.writeable = False
        return found
