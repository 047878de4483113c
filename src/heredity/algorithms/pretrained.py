"""Weights of an encoder from another library's file, where settings name one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from heredity.common.errors import UsageError
from heredity.networks.vit_file import VitFile, read_vit
from heredity.policies.elsewhere import Elsewhere
from heredity.weights import Params, WeightReport, flatten, unflatten
from heredity.weights.report import weakest

# What a file decides; the rest of its options may be other ones than it has.
_OF_THE_FILE = ("patch", "width", "depth", "mlp_width", "layer_scale", "picture_channels")


@dataclasses.dataclass(frozen=True)
class PretrainedEncoder:
    """A file of weights, and the encoders of a policy that it is for.

    Args:
        file: As it was read.
        grid: Rows and columns of patches of the encoders.
        folders: Their paths, such as ``trunk/encoder``.
    """

    file: VitFile
    grid: tuple[int, int]
    folders: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What is recorded of it."""
        return {
            "weights": str(self.file.path),
            "sha256": self.file.sha256,
            "layout": self.file.layout.name,
        }

    def elsewhere(self, weights: Mapping[str, np.ndarray]) -> Elsewhere:
        """What a folder says that leaves these weights out of those of a policy, by path.

        The weights are those of the file, whatever a hook has made of them since.
        """
        of_file = flatten(self.inject(unflatten(weights))[0])
        found = {path: np.asarray(leaf) for path, leaf in of_file.items()}
        return Elsewhere.of(self.file, self.grid, self.folders, found)

    def inject(self, params: Params) -> tuple[Params, WeightReport]:
        """Put the weights into every encoder that they are for.

        Args:
            params: All weights of a policy.

        Returns:
            The new weights, and one report.
        """
        reports: list[WeightReport] = []
        for folder in self.folders:
            params, report = self.file.inject(params, folder, self.grid)
            reports.append(report)
        rows = {row.path: row for report in reports for row in report.rows}
        for report in reports:
            rows |= {row.path: row for row in report.rows if row.action != "kept"}
        guarantee = weakest(report.guarantee for report in reports)
        notes = reports[0].notes
        return params, WeightReport("inject", tuple(rows.values()), guarantee, notes=notes)


def read_encoder(
    weights: str, given: Mapping[str, Any]
) -> tuple[VitFile, dict[str, Any], tuple[int, int]]:
    """The file of an encoder, and all options of a vit that has its weights.

    To be asked once, when a run begins: what is said then is recorded, so that nothing has to read
    the file again.

    Args:
        weights: Path of the file.
        given: Options that settings give, by name.

    Returns:
        The file; its options, with those that are given in place of its own; and how many rows and
        columns of patches an encoder of these options has, for `PretrainedEncoder`.

    Raises:
        RefusedError: when the file cannot be read, or is of no known layout.
        UsageError: when settings say something else than the file, or nothing says how many heads
            there are.
    """
    file = read_vit(weights, heads=given.get("heads"))
    for name in _OF_THE_FILE:
        if name in given and given[name] != file.options[name]:
            raise UsageError(
                f"network {name} {given[name]!r} beside weights {weights!r}: the file has "
                f"{file.options[name]!r}; leave {name} out"
            )
    options = {**file.options, **given}
    height, width = options["picture_size"]
    grid = (height // options["patch"], width // options["patch"])
    return file, options, grid
