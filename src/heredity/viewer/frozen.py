"""Frozen weights of a run: that no byte of them moved, and what it saved not to train them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from heredity.common.errors import HeredityError
from heredity.common.formats import CHECKPOINT
from heredity.common.tensors import read_tensors, tensor_names
from heredity.common.words import counted
from heredity.viewer.markup import escape
from heredity.viewer.reading import Run, Snapshot

MOST_PATHS = 200  # in the page
_MOMENTS = 2  # of the optimiser, for each weight that is trained


@dataclasses.dataclass(frozen=True)
class FrozenWeights:
    """What the files of a run say of its frozen weights.

    Args:
        step: Of the newest checkpoint, which says what is frozen.
        sizes: Bytes of each frozen leaf, by path.
        compared: How many snapshots the checkpoint was compared with.
        moved: Paths of those that are not the same bytes everywhere.
        slots: Paths of those that have a slot in the optimiser.
    """

    step: int
    sizes: dict[str, int]
    compared: int
    moved: tuple[str, ...]
    slots: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Of all frozen weights."""
        return sum(self.sizes.values())

    @property
    def saved(self) -> int:
        """Bytes that training them would need besides: moments of the optimiser, and a gradient."""
        with_slots = sum(self.sizes[path] for path in self.slots)
        return _MOMENTS * (self.bytes - with_slots) + self.bytes


def frozen_weights(
    run: Run, snapshots: Sequence[Snapshot], notes: list[str]
) -> FrozenWeights | None:
    """Compare what is frozen by the newest checkpoint with the same weights in snapshots.

    Args:
        run: The run.
        snapshots: To compare with.
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
    moved = {path for path in frozen if path not in newest}
    compared = 0
    for snapshot in snapshots:
        # What was unfrozen is not frozen in the newest checkpoint; what is, was from the start.
        try:
            earlier = _bytes_of(snapshot.folder / "policy", set(frozen))
        except HeredityError:
            continue  # the norms of the weights have told of it
        compared += 1
        moved |= {path for path, content in newest.items() if earlier.get(path) != content}
    of_optimizer = [name for name in names if name.startswith("optimizer/")]
    slots = [path for path in newest if any(name.endswith(f"/{path}") for name in of_optimizer)]
    sizes = {path: len(content) for path, content in sorted(newest.items())}
    return FrozenWeights(steps[-1], sizes, compared, tuple(sorted(moved)), tuple(slots))


def _bytes_of(policy: Path, paths: set[str]) -> dict[str, bytes]:
    tensors, _ = read_tensors(policy / "model.safetensors", paths)
    return {path: tensor.tobytes() for path, tensor in tensors.items()}


def frozen_html(frozen: FrozenWeights | None) -> str:
    """The section of the report; empty where nothing is frozen."""
    if frozen is None:
        return ""
    others = counted(frozen.compared, "snapshot")
    if frozen.moved:
        verdict = f"MOVED: {', '.join(frozen.moved[:5])}"
    elif frozen.compared:
        verdict = f"no byte moved: the same in the checkpoint at {frozen.step:,} and in {others}"
    else:
        verdict = "nothing to compare with: no snapshot was kept"
    slots = ", ".join(frozen.slots[:5]) or "none has a slot in the optimiser"
    rows = "".join(
        f"<tr><td>{escape(path)}<td class=n>{size:,}"
        for path, size in list(frozen.sizes.items())[:MOST_PATHS]
    )
    more = len(frozen.sizes) - MOST_PATHS
    rest = f"<li>{more:,} more paths are in the checkpoint's manifest</li>" if more > 0 else ""
    named = counted(len(frozen.sizes), "frozen weight")
    return (
        f"<details class='card operation'><summary><b>{named}</b>, "
        f"{frozen.bytes:,} bytes: {escape(verdict)}</summary><ul>"
        f"<li>Optimiser: {escape(slots)}</li>"
        f"<li>Saved by not training them: {frozen.saved:,} bytes "
        f"(two moments and a gradient for each number)</li>{rest}</ul>"
        f'<div class="scroll"><table><thead><tr><th>Path<th class=n>Bytes</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )
