"""How large the weights of each layer are, snapshot by snapshot."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from heredity.common.errors import HeredityError
from heredity.common.formats import WEIGHTS
from heredity.common.tensors import read_tensors
from heredity.viewer.reading import Snapshot

# Statistics of observations are not weights: their size says nothing about learning.
STATISTICS = "normalizer"


@dataclasses.dataclass(frozen=True)
class WeightNorms:
    """L2 norms of the layers of a run's policies.

    Args:
        steps: Of the S snapshots.
        layers: By the layer's path, shape (S,); NaN where a snapshot has no such layer.
    """

    steps: list[int]
    layers: dict[str, np.ndarray]


def layer_norms(model: Path) -> dict[str, float]:
    """The L2 norm of each layer of a policy; kernel and bias count as one layer.

    Raises:
        RefusedError: when the file is missing, torn, of another format or from the future.
    """
    squares: dict[str, float] = {}
    tensors, metadata = read_tensors(model)
    tensors = WEIGHTS.migrate(tensors, WEIGHTS.check_header(metadata, model), model)
    for path, tensor in tensors.items():
        parts = path.split("/")
        if STATISTICS in parts or not np.issubdtype(tensor.dtype, np.floating):
            continue
        layer = "/".join(parts[:-1]) or path
        # Summed in float64: float16 weights would overflow, float32 ones lose the small parts.
        square = float(np.sum(np.square(tensor.astype(np.float64))))
        squares[layer] = squares.get(layer, 0.0) + square
    return {layer: float(np.sqrt(square)) for layer, square in squares.items()}


def weight_norms(snapshots: Sequence[Snapshot], notes: list[str]) -> WeightNorms:
    """The norms over snapshots; a note for each whose weights cannot be read."""
    steps: list[int] = []
    found: list[dict[str, float]] = []
    for snapshot in snapshots:
        try:
            found.append(layer_norms(snapshot.folder / "policy" / "model.safetensors"))
            steps.append(snapshot.step)
        except HeredityError as error:
            reason = getattr(error, "problem", str(error))
            notes.append(f"The weights at step {snapshot.step:,} could not be read: {reason}")
    names = dict.fromkeys(name for norms in found for name in norms)
    return WeightNorms(
        steps=steps,
        layers={name: np.array([norms.get(name, np.nan) for norms in found]) for name in names},
    )
