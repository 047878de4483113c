"""Pictures of an environment that draws itself: how many, and how they are packed."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

FRAMES_PER_SECOND = 25.0
RECORDED_SECONDS = 20.0
MOST_WIDTH = 640
# A picture with more colours than this is a photograph, or as good as one.
FLAT_COLORS = 1024
OWN_COLORS = 128
LEVELS = (0, 85, 170, 255)
JPEG_QUALITY = 85
RUN_LENGTHS = 3  # zlib's Z_RLE: as small as its best for flat areas, and as fast as its worst


def frame_stride(step_seconds: float) -> int:
    """Of how many moments one is drawn, so that about 25 pictures a second are kept.

    Example:
        >>> frame_stride(0.02), frame_stride(1 / 30), frame_stride(0.2), frame_stride(0.005)
        (2, 1, 1, 8)
    """
    return max(1, round(1 / (FRAMES_PER_SECOND * step_seconds)))


def last_moment(step_seconds: float) -> int:
    """The last moment that is drawn: 20 s after the first.

    Example:
        >>> last_moment(0.02), last_moment(60.0)
        (1000, 1)
    """
    return max(1, round(RECORDED_SECONDS / step_seconds))


class Packer:
    """Packs the pictures of one rollout.

    Flat drawings, as of the classic environments, become PNGs of one palette, taken from the first
    picture: they stay as crisp as they were drawn, in a seventh of the bytes of a JPEG and the same
    time. Everything else becomes JPEGs. Both take about half a millisecond for 600 x 400; the
    size is the environment's own up to a width of 640.
    """

    def __init__(self) -> None:
        self._palette: Any = None
        self._began = False

    def pack(self, picture: np.ndarray) -> bytes:
        """One picture (H, W, 3), uint8, as the bytes of a file.

        Raises:
            TypeError: when it is not a picture.
        """
        from PIL import Image

        image = Image.fromarray(picture).convert("RGB")
        if image.width > MOST_WIDTH:
            # Averages whole squares of pixels, which is many times faster than any other filter.
            image = image.reduce(-(-image.width // MOST_WIDTH))
        if not self._began:
            self._began = True
            self._palette = _palette(image)
        buffer = io.BytesIO()
        if self._palette is None:
            image.save(buffer, "JPEG", quality=JPEG_QUALITY)
        else:
            flat = image.quantize(palette=self._palette, dither=Image.Dither.NONE)
            flat.save(buffer, "PNG", compress_level=1, compress_type=RUN_LENGTHS)
        return buffer.getvalue()


def _palette(image: Any) -> Any:
    """The colours of a flat drawing, and others spread evenly, for what is not drawn yet."""
    from PIL import Image

    counted = image.getcolors(FLAT_COLORS)
    if counted is None:
        return None
    if len(counted) <= OWN_COLORS:
        own = [color for _, color in counted]
    else:
        few = image.quantize(OWN_COLORS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        values = few.getpalette() or []
        own = [tuple(values[i : i + 3]) for i in range(0, len(values), 3)]
    others = [(r, g, b) for r in LEVELS for g in LEVELS for b in LEVELS]
    colors = list(dict.fromkeys([*own, *others]))
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for color in colors for part in color])
    return palette
