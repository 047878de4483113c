"""Weights that a policy folder leaves out, because they are in another library's file as they are.

The folder says which file that is, and what it makes of it; whoever reads the folder reads that
file too, and sees that every weight is the same to the bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heredity.common.errors import HeredityError, RefusedError
from heredity.common.reading import check_hash
from heredity.networks.vit_file import VitFile, read_vit
from heredity.weights import content_hash, flatten, unflatten


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """An encoder whose weights stay in their file.

    Args:
        file: Its path.
        sha256: Of the file.
        heads: Of its attention.
        grid: Rows and columns of patches of the encoders.
        folders: Paths of the encoders in the policy, such as ``trunk/encoder``.
        leaves: Of each weight its dtype, shape and hash, by path.
    """

    file: str
    sha256: str
    heads: int
    grid: tuple[int, int]
    folders: tuple[str, ...]
    leaves: Mapping[str, tuple[str, tuple[int, ...], str]]

    @classmethod
    def of(
        cls,
        file: VitFile,
        grid: tuple[int, int],
        folders: Sequence[str],
        weights: Mapping[str, np.ndarray],
    ) -> Elsewhere:
        """The weights of a file that are among those of a policy, by path."""
        inside = tuple(f"{folder}/" for folder in folders)
        leaves = {
            path: (leaf.dtype.name, leaf.shape, _hash(leaf))
            for path, leaf in weights.items()
            if path.startswith(inside)
        }
        heads = int(file.options["heads"])
        place = str(file.path.absolute())
        return cls(place, file.sha256, heads, grid, tuple(folders), leaves)

    def left_out(self, weights: Mapping[str, np.ndarray]) -> frozenset[str]:
        """Paths of weights that need not be written: none, once one of them has moved."""
        same = all(
            path in weights and _hash(weights[path]) == expected
            for path, (_, _, expected) in self.leaves.items()
        )
        return frozenset(self.leaves if same else ())

    def to_json(self) -> dict[str, Any]:
        """What a policy folder says of it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: object, path: Path) -> Elsewhere:
        """What `to_json` gave.

        Raises:
            RefusedError: when it is something else.
        """
        try:
            assert isinstance(value, Mapping)
            height, width = (int(size) for size in value["grid"])
            return cls(
                file=str(value["file"]),
                sha256=str(value["sha256"]),
                heads=int(value["heads"]),
                grid=(height, width),
                folders=tuple(str(folder) for folder in value["folders"]),
                leaves={
                    str(name): (
                        np.dtype(dtype).name,
                        tuple(int(size) for size in shape),
                        str(found),
                    )
                    for name, (dtype, shape, found) in value["leaves"].items()
                },
            )
        except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise RefusedError(path, f"does not say where its weights are ({error!r})") from None

    def read(self, folder: Path) -> dict[str, np.ndarray]:
        """The weights that were left out, by path.

        Args:
            folder: That leaves them out, for errors.

        Raises:
            RefusedError: when the file is missing, or another one.
        """
        try:
            check_hash(Path(self.file), self.sha256, "the policy")
            empty = {
                path: np.zeros(shape, dtype) for path, (dtype, shape, _) in self.leaves.items()
            }
            file, params = read_vit(self.file, heads=self.heads), unflatten(empty)
            for place in self.folders:
                params, _ = file.inject(params, place, self.grid)
        except (HeredityError, MemoryError, ValueError) as error:  # shapes that there cannot be
            raise RefusedError(
                folder,
                f"leaves out an encoder, and its file is not to be had: {error}",
                f"Put the file whose SHA-256 is {self.sha256} there",
            ) from error
        found = {path: np.asarray(leaf) for path, leaf in flatten(params).items()}
        if not self.left_out(found):
            raise RefusedError(
                folder, f"leaves out weights that {self.file} does not give any more"
            )
        return found


def _hash(leaf: np.ndarray) -> str:
    return content_hash({"leaf": leaf})
