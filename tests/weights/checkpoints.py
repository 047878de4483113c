"""Small checkpoint folders as Orbax writes them, with ``use_zarr3=True`` and without."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def write_checkpoint(
    folder: Path, arrays: Mapping[str, np.ndarray], piece: int | None = None, driver: str = "zarr3"
) -> None:
    """Write arrays by name as a checkpoint folder.

    Args:
        folder: That is made.
        arrays: By name, one part each.
        piece: How many numbers of the first axis are in one file; None for all.
        driver: ``zarr3``, or ``zarr`` for the older one.
    """
    import tensorstore

    folder.mkdir()
    for name, array in arrays.items():
        shape = [array.shape[0] if piece is None else piece, *array.shape[1:]]
        if driver == "zarr3":
            grid = {"name": "regular", "configuration": {"chunk_shape": shape}}
            bytes_, zstd = {"name": "bytes"}, {"name": "zstd", "configuration": {"level": 1}}
            metadata: dict[str, Any] = {"chunk_grid": grid, "codecs": [bytes_, zstd]}
        else:
            metadata = {"chunks": shape, "compressor": {"id": "zlib", "level": 9}}
        place = {"driver": "file", "path": f"{folder / name}/"}
        # As Orbax does: zeros are written as well, so that a missing file is a loss.
        told = {"kvstore": place, "metadata": metadata, "store_data_equal_to_fill_value": True}
        store = tensorstore.open(
            {"driver": driver, **told}, create=True, dtype=array.dtype, shape=array.shape
        ).result()
        store.write(array).result()
    tree = {
        f"('{name}',)": {
            "key_metadata": [{"key": name, "key_type": 2}],
            "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
        }
        for name in arrays
    }
    (folder / "_METADATA").write_text(
        json.dumps({"tree_metadata": tree, "use_ocdbt": False, "use_zarr3": driver == "zarr3"})
    )
