"""One recorded rollout as one file, on the spot: from a callback, say."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from heredity.common.errors import UsageError
from heredity.common.files import write_atomically
from heredity.common.recording import Recording
from heredity.viewer.endings import hold_of
from heredity.viewer.extras import quiet, require
from heredity.viewer.rollouts import SceneExporter, picture_times


def write_rollout(recording: Recording | None, output: Path | str) -> Path:
    """Render a rollout into a file that opens offline.

    Args:
        recording: Such as ``event.evaluation.recording``.
        output: Where to. A 3-D scene becomes an HTML page that plays and turns; pictures become an
            animation, so that the name has to end in ``.webp``, ``.gif`` or ``.png``.

    Returns:
        Where it was written.

    Raises:
        UsageError: when nothing was recorded, or nothing of it can be seen.
        MissingExtraError: when viser is not installed.
        StorageError: when the disk refuses.
    """
    output = Path(output)
    if recording is None:
        raise UsageError("nothing was recorded: give the run a snapshot_every")
    match recording.kind:
        case "scene":
            if output.suffix not in (".html", ".htm"):
                raise UsageError(f"a scene in 3-D is written as .html, not as {output.suffix!r}")
            require("rendering a rollout")
            with quiet(), SceneExporter() as exporter:
                payload, _, _ = exporter.export(recording)
                assert exporter.page is not None
                before, after = exporter.page
            write_atomically(output, before + payload + after)
        case "frames":
            write_atomically(output, _animation(recording, output.suffix))
        case _:
            raise UsageError("this environment has neither a scene nor pictures to render")
    return output


def _animation(recording: Recording, suffix: str) -> bytes:
    from PIL import Image

    if suffix not in (".webp", ".gif", ".png"):
        raise UsageError(f"pictures are written as .webp, .gif or .png, not as {suffix!r}")
    # Palettes of their own would flicker, and not every format has them.
    first, *others = [Image.open(io.BytesIO(f)).convert("RGB") for f in recording.frames]
    times = picture_times(recording)
    last = max(hold_of(recording, ""), recording.step_seconds)
    durations = [max(1, round(1000 * s)) for s in [*np.diff(times).tolist(), last]]
    buffer = io.BytesIO()
    first.save(
        buffer,
        suffix.removeprefix("."),
        save_all=True,
        append_images=others,
        duration=durations if others else durations[0],
        loop=0,
    )
    return buffer.getvalue()
