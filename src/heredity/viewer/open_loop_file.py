"""What a world model imagined as one file: an animation, a picture of all of it, or its arrays."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from heredity.common.errors import MissingExtraError, UsageError
from heredity.common.files import write_atomically
from heredity.common.open_loop import OpenLoop

ENDINGS = (".webp", ".gif", ".png", ".npz")


def check_ending(output: Path) -> None:
    """See that a file can be written under this name.

    Raises:
        UsageError: for an ending that is unknown.

    Example:
        >>> check_ending(Path("imagined.mp4"))
        Traceback (most recent call last):
        heredity.common.errors.UsageError: imagined.mp4 ends in '.mp4': .webp, .gif ...
    """
    if output.suffix.lower() not in ENDINGS:
        raise UsageError(
            f"{output} ends in {output.suffix!r}: .webp, .gif (animations), .png (all moments side "
            "by side) or .npz (the arrays) was expected"
        )


def write_open_loop(found: OpenLoop, output: Path | str) -> Path:
    """Write what a world model imagined beside what really happened.

    Args:
        found: Such as `open_loop` gives.
        output: Where to. ``.webp`` and ``.gif`` play moment after moment, ``.png`` has them side by
            side, ``.npz`` holds the arrays, with the errors by moment.

    Returns:
        Where it was written.

    Raises:
        UsageError: for another ending.
        MissingExtraError: when pictures are wanted and pillow is not installed.
        StorageError: when the disk refuses.
    """
    output = Path(output)
    check_ending(output)
    ending = output.suffix.lower()
    if ending == ".npz":
        write_atomically(output, _arrays(found))
        return output
    try:
        from heredity.viewer import open_loop_drawing
    except ImportError as error:
        raise MissingExtraError("drawing what was imagined", "viewer", str(error)) from None
    if ending == ".png":
        write_atomically(output, open_loop_drawing.strip(found))
    else:
        write_atomically(output, open_loop_drawing.animation(found, ending.removeprefix(".")))
    return output


def _arrays(found: OpenLoop) -> bytes:
    arrays = {**found.arrays(), "context": np.int64(found.context)}
    for title, one in (("reconstructed", found.seen), ("imagined", found.imagined)):
        for name, error in found.errors(one).items():
            arrays[f"error/{title}/{name}"] = error.astype(np.float32)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
