"""A white sheet to draw words, pictures and lines on, twice as fine as it becomes."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, MUTED, EDGE = "#ffffff", "#1b1d22", "#646a75", "#d5d7d2"
# What happened (pale); what is predicted with open eyes, and with closed ones.
FACT, OPEN, SHUT = "#b3bcef", "#0f766e", "#d97706"
FINE = 2
DASH = 4

Point = tuple[float, float]


class Sheet:
    """A picture that is being drawn.

    Args:
        width: Pixels of the finished picture.
        height: The same.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = round(width), round(height)
        self._image = Image.new("RGB", (self.width * FINE, self.height * FINE), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        color: str = INK,
        *,
        size: int = 13,
        anchor: str = "la",
        most: float | None = None,
    ) -> None:
        """Words at a place, cut to a width if `most` is given; `anchor` is that of pillow."""
        font: Any = ImageFont.load_default(size * FINE)
        while most is not None and len(words) > 1 and font.getlength(words) > most * FINE:
            words = words.rstrip("…")[:-1] + "…"
        self._draw.text((x * FINE, y * FINE), words, fill=color, font=font, anchor=anchor)

    def picture(
        self, x: float, y: float, width: int, height: int, picture: np.ndarray, crisp: bool
    ) -> None:
        """A picture ``(H, W, 3)``, uint8, in a size; crisp where its pixels stay squares."""
        how = Image.Resampling.NEAREST if crisp else Image.Resampling.BICUBIC
        scaled = Image.fromarray(picture).resize((width * FINE, height * FINE), how)
        left, top = round(x * FINE), round(y * FINE)
        self._image.paste(scaled, (left, top))
        right, bottom = left + scaled.width, top + scaled.height
        self._draw.rectangle((left - FINE, top - FINE, right, bottom), outline=EDGE, width=FINE)

    def line(
        self, points: Sequence[Point], color: str, width: float, *, dotted: bool = False
    ) -> None:
        """From point to point."""
        fine = [(x * FINE, y * FINE) for x, y in points]
        stroke = round(width * FINE)
        if not dotted:
            if len(fine) > 1:
                self._draw.line(fine, fill=color, width=stroke, joint="curve")
            return
        for (x0, y0), (x1, y1) in itertools.pairwise(fine):
            count = max(1, int(max(abs(x1 - x0), abs(y1 - y0)) / (DASH * FINE)))
            for index in range(0, count, 2):
                ends = [index / count, (index + 1) / count]
                self._draw.line(
                    [(x0 + t * (x1 - x0), y0 + t * (y1 - y0)) for t in ends],
                    fill=color,
                    width=stroke,
                )

    def dot(self, point: Point, color: str, radius: float = 3) -> None:
        """Around a point."""
        x, y = point[0] * FINE, point[1] * FINE
        r = radius * FINE
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=color)

    def image(self) -> Image.Image:
        """What was drawn, in its size."""
        return self._image.reduce(FINE)

    def file(self, kind: str) -> bytes:
        """What was drawn, as a file."""
        buffer = io.BytesIO()
        self.image().save(buffer, kind, optimize=True)
        return buffer.getvalue()
