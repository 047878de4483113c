"""Frozen weights of a run: that no byte of them moved, and what it saved not to train them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from heredity.common.errors import HeredityError
from heredity.common.formats import CHECKPOINT
from heredity.common.tensors import read_tensors, tensor_names
from heredity.common.words import counted
from heredity.viewer.markup import escape
from heredity.viewer.reading import Run

MOST_PATHS = 200  # in the page
_MOMENTS = 2  # of the optimiser, for each weight that is trained


@dataclasses.dataclass
class FrozenWeights:
    """What the files of a run say of its frozen weights.

    Args:
        step: Of the newest checkpoint, which says what is frozen.
        content: Bytes of each frozen leaf there, by path.
        slots: Paths of those that have a slot in the optimiser.
        moved: Paths of those that are not the same bytes everywhere.
        compared: How many snapshots the checkpoint was compared with.
    """

    step: int
    content: dict[str, bytes]
    slots: tuple[str, ...]
    moved: set[str]
    compared: int = 0

    @property
    def bytes(self) -> int:
        """Of all frozen weights."""
        return sum(map(len, self.content.values()))

    @property
    def saved(self) -> int:
        """Bytes that training them would need besides: moments of the optimiser, and a gradient."""
        with_slots = sum(len(self.content[path]) for path in self.slots)
        return _MOMENTS * (self.bytes - with_slots) + self.bytes

    def compare(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Look at the weights of a snapshot.

        What was unfrozen is not frozen in the newest checkpoint; what is, was from the start.
        """
        self.compared += 1
        for path, content in self.content.items():
            if path not in tensors or tensors[path].tobytes() != content:
                self.moved.add(path)


def frozen_weights(run: Run, notes: list[str]) -> FrozenWeights | None:
    """What is frozen by the newest checkpoint; snapshots are still to be compared with it.

    Args:
        run: The run.
        notes: What could not be read is added.

    Returns:
        None where nothing is frozen, or there is no checkpoint.
    """
    steps = run.folder.checkpoint_steps()
    if not steps:
        return None
    place = run.folder.checkpoint(steps[-1])
    told = place / "training_state" / "manifest.json"
    if not told.exists():
        return None
    try:
        manifest = CHECKPOINT.read(told, sealed=True)
        frozen = manifest.get("frozen")
        if not isinstance(frozen, dict) or not frozen:
            return None
        newest = _bytes_of(place / "policy", set(frozen))
        names = tensor_names(place / "training_state" / "state.safetensors")
    except HeredityError as error:
        notes.append(f"The frozen weights of the newest checkpoint could not be read: {error}")
        return None
    of_optimizer = [name for name in names if name.startswith("optimizer/")]
    slots = [path for path in newest if any(name.endswith(f"/{path}") for name in of_optimizer)]
    moved = {path for path in frozen if path not in newest}
    return FrozenWeights(steps[-1], dict(sorted(newest.items())), tuple(slots), moved)


def _bytes_of(policy: Path, paths: set[str]) -> dict[str, bytes]:
    tensors, _ = read_tensors(policy / "model.safetensors", paths)
    return {path: tensor.tobytes() for path, tensor in tensors.items()}


def frozen_html(frozen: FrozenWeights | None) -> str:
    """The section of the report; empty where nothing is frozen."""
    if frozen is None:
        return ""
    others = counted(frozen.compared, "snapshot")
    if frozen.moved:
        verdict = f"MOVED: {', '.join(sorted(frozen.moved)[:5])}"
    elif frozen.compared:
        where = f"the checkpoint at {counted(frozen.step, 'step')}"
        verdict = f"no byte moved, they are the same in {where} and in {others}"
    else:
        verdict = "nothing to compare with: no snapshot was kept"
    slots = "None of them has a slot in the optimiser"
    if frozen.slots:
        slots = f"These have a slot in the optimiser: {', '.join(frozen.slots[:5])}"
    rows = "".join(
        f"<tr><td>{escape(path)}<td class=n>{len(content):,}"
        for path, content in list(frozen.content.items())[:MOST_PATHS]
    )
    more = len(frozen.content) - MOST_PATHS
    rest = f"<li>{more:,} more paths are in the checkpoint's manifest</li>" if more > 0 else ""
    named = counted(len(frozen.content), "frozen array")
    return (
        f"<details class='card operation' open><summary><b>{named}</b>, "
        f"{frozen.bytes:,} bytes: {escape(verdict)}</summary><ul>"
        f"<li>{escape(slots)}</li>"
        f"<li>That saves {frozen.saved:,} bytes while training: "
        f"two moments and a gradient for each number</li>{rest}</ul>"
        f'<div class="scroll"><table><thead><tr><th>Path<th class=n>Bytes</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )
