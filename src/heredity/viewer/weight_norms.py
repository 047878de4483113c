"""How large the weights of each layer are, and how far they moved, snapshot by snapshot."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from heredity.common.errors import HeredityError
from heredity.common.formats import WEIGHTS
from heredity.common.tensors import read_tensors
from heredity.viewer.reading import Snapshot

# Statistics of observations are not weights: their size says nothing about learning.
STATISTICS = "normalizer"

Layers: TypeAlias = dict[str, dict[str, np.ndarray]]
"""The tensors of each layer, by path."""


@dataclasses.dataclass(frozen=True)
class WeightNorms:
    """L2 norms of the layers of a run's policies.

    Args:
        steps: Of the S snapshots.
        layers: By the layer's path, shape (S,); NaN where a snapshot has no such layer.
        moved: Norm of the change since the snapshot before, beside the norm there; shape (S,), NaN
            for the first and where the layer was not there, or had another shape.
    """

    steps: list[int]
    layers: dict[str, np.ndarray]
    moved: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def policy_weights(model: Path) -> dict[str, np.ndarray]:
    """The weights of a policy, by path.

    Raises:
        RefusedError: when the file is missing, torn, of another format or from the future.
    """
    tensors, metadata = read_tensors(model)
    return WEIGHTS.migrate(tensors, WEIGHTS.check_header(metadata, model), model)


def _layers(tensors: Mapping[str, np.ndarray]) -> Layers:
    """Weights layer by layer; kernel and bias are one layer."""
    layers: Layers = {}
    for path, tensor in tensors.items():
        parts = path.split("/")
        if STATISTICS in parts or not np.issubdtype(tensor.dtype, np.floating):
            continue
        layers.setdefault("/".join(parts[:-1]) or path, {})[path] = tensor
    return layers


def layer_norms(model: Path) -> dict[str, float]:
    """The L2 norm of each layer of a policy; kernel and bias count as one layer.

    Raises:
        RefusedError: when the file is missing, torn, of another format or from the future.
    """
    return _norms(_layers(policy_weights(model)))


def _norms(layers: Layers) -> dict[str, float]:
    return {layer: _norm(list(tensors.values())) for layer, tensors in layers.items()}


def _norm(tensors: Sequence[np.ndarray]) -> float:
    # Summed in float64: float16 weights would overflow, float32 ones lose the small parts.
    return float(np.sqrt(sum(np.sum(np.square(t.astype(np.float64))) for t in tensors)))


def _changes(before: Layers, now: Layers) -> dict[str, float]:
    """How far each layer moved, beside its norm before."""
    found: dict[str, float] = {}
    for layer, tensors in now.items():
        old = before.get(layer, {})
        shapes = [{path: t.shape for path, t in part.items()} for part in (old, tensors)]
        if shapes[0] != shapes[1]:
            continue
        norm = _norm(list(old.values()))
        moved = _norm([t.astype(np.float64) - old[path] for path, t in tensors.items()])
        found[layer] = moved / norm if norm else np.nan if moved else 0.0
    return found


def weight_norms(
    snapshots: Sequence[Snapshot],
    notes: list[str],
    look: Callable[[dict[str, np.ndarray]], None] | None = None,
) -> WeightNorms:
    """The norms over snapshots.

    Args:
        snapshots: Each is read once.
        notes: One is added for each whose weights cannot be read.
        look: Called with the weights of each other one, by whoever needs them besides.
    """
    steps: list[int] = []
    norms: list[dict[str, float]] = []
    changes: list[dict[str, float]] = []
    before: Layers = {}
    for snapshot in snapshots:
        try:
            tensors = policy_weights(snapshot.folder / "policy" / "model.safetensors")
        except HeredityError as error:
            reason = getattr(error, "problem", str(error))
            notes.append(f"The weights at step {snapshot.step:,} could not be read: {reason}")
            continue
        if look is not None:
            look(tensors)
        now = _layers(tensors)
        steps.append(snapshot.step)
        norms.append(_norms(now))
        changes.append(_changes(before, now))
        before = now
    return WeightNorms(steps, _columns(norms, norms), _columns(changes, norms))


def _columns(
    rows: Sequence[dict[str, float]], named: Sequence[dict[str, float]]
) -> dict[str, np.ndarray]:
    """Rows as columns, in the order in which the names first come."""
    names = dict.fromkeys(name for row in named for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}
