"""Pictures of what a world model imagined beside what really happened, with pillow."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from heredity.common.open_loop import OpenLoop
from heredity.viewer.open_loop import Curve, curves_of, moving, shown_moments
from heredity.viewer.open_loop_pictures import Drawn, drawn
from heredity.viewer.open_loop_sheet import FACT, MUTED, OPEN, SHUT, Sheet

ROWS = ("real", "imagined", "difference")
MOST_DRAWN = 3  # entries
EDGE, GAP = 24, 6
CELL, PANEL = 96, 220  # the longer side of a picture: beside all moments, and of one moment
CAPTION, HEADER = 26, 44
LEFT = 150  # of the curves, for their names and axes
CHART_WIDTH, CHART_HEIGHT = 700, 84
FEW = 40  # moments that are shown slowly
SLOW, FAST, HELD = 320, 120, 1600  # milliseconds


def _curves(found: OpenLoop) -> list[Curve]:
    """The numbers that move most, and the reward."""
    unknown = np.full(1, np.nan)
    reward = Curve(
        "reward",
        np.concatenate([unknown, found.episode.rewards]),
        np.concatenate([unknown, found.imagined.rewards[1:]]),
    )
    return [*moving(curves_of(found)), reward]


def _sizes(one: Drawn, longest: int) -> tuple[int, int]:
    """Width and height of a drawn picture: pixels that are squares stay so."""
    height, width = one.real.shape[1:3]
    factor = longest / max(height, width)
    if one.is_crisp:
        factor = max(1, int(factor))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _parts(one: Drawn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return one.real, one.imagined, one.difference


def _legend(one: Drawn) -> str:
    if one.signed:
        return "difference: orange is imagined, but not there; blue is there, but not imagined"
    return "difference: black where both agree"


# --- all moments side by side ---------------------------------------------------------------------


def strip(found: OpenLoop) -> bytes:
    """A PNG with the moments side by side, and curves below."""
    pictures, curves = drawn(found)[:MOST_DRAWN], _curves(found)
    moments = shown_moments(found.moments, found.context)
    left, sizes = 96, [_sizes(one, CELL) for one in pictures]
    widths = [left + len(moments) * (width + GAP) for width, _ in sizes]
    width = 2 * EDGE + max([LEFT + CHART_WIDTH, *widths])
    height = 2 * EDGE + HEADER + len(curves) * (CHART_HEIGHT + GAP) + CAPTION
    height += sum(2 * CAPTION + 24 + len(ROWS) * (tall + GAP) for _, tall in sizes)
    sheet = Sheet(width, height)
    _head(sheet, found, "")
    y = EDGE + HEADER
    for one, (wide, tall) in zip(pictures, sizes, strict=True):
        seen = sum(moment < found.context for moment in moments)
        if len(pictures) > 1:
            sheet.text(EDGE, y, one.name, size=13)
        for first, last, words, color in (
            (0, seen, "seen", OPEN),
            (seen, len(moments), "imagined", SHUT),
        ):
            start = EDGE + left + first * (wide + GAP)
            sheet.text(start, y, words, color, size=13)
            end = EDGE + left + last * (wide + GAP) - GAP
            sheet.line([(start, y + 19), (end, y + 19)], color, 2)
        y += CAPTION
        for column, moment in enumerate(moments):
            x = EDGE + left + column * (wide + GAP)
            sheet.text(x + wide / 2, y, str(moment), MUTED, size=12, anchor="ma")
        sheet.text(EDGE, y, "moment", MUTED, size=13)
        y += 20
        for title, part in zip(ROWS, _parts(one), strict=True):
            sheet.text(EDGE, y + tall / 2, title, MUTED, size=13, anchor="lm")
            for column, moment in enumerate(moments):
                x = EDGE + left + column * (wide + GAP)
                sheet.picture(x, y, wide, tall, part[moment], one.is_crisp)
            y += tall + GAP
        sheet.text(EDGE + left, y, _legend(one), MUTED, size=12)
        y += CAPTION + 4
    _draw_curves(sheet, found, curves, y, found.moments - 1)
    return sheet.file("PNG")


# --- moment after moment --------------------------------------------------------------------------


def animation(found: OpenLoop, kind: str) -> bytes:
    """Moment after moment, with curves that grow.

    Args:
        found: What is shown.
        kind: ``webp`` or ``gif``.
    """
    pictures, curves = drawn(found)[:MOST_DRAWN], _curves(found)
    frames = [_frame(found, pictures, curves, moment) for moment in range(found.moments)]
    if kind == "gif":
        frames = _with_one_palette(frames)
    each = SLOW if found.moments <= FEW else FAST
    durations = [each] * (len(frames) - 1) + [HELD]
    more: dict[str, Any] = {"lossless": True} if kind == "webp" else {}
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        kind,
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0,
        **more,
    )
    return buffer.getvalue()


def _with_one_palette(frames: list[Image.Image]) -> list[Image.Image]:
    """With 256 colours of the first, the middle and the last: palettes of their own would flicker.

    Finding one for each takes several times as long, too.
    """
    width, height = frames[0].size
    some = Image.new("RGB", (width, 3 * height))
    for index, frame in enumerate((frames[0], frames[len(frames) // 2], frames[-1])):
        some.paste(frame, (0, index * height))
    palette = some.quantize(256)
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def _frame(found: OpenLoop, pictures: list[Drawn], curves: list[Curve], moment: int) -> Image.Image:
    sizes = [_sizes(one, PANEL) for one in pictures]
    widths = [len(ROWS) * (wide + 3 * GAP) for wide, _ in sizes]
    width = 2 * EDGE + max([LEFT + CHART_WIDTH, *widths])
    height = 2 * EDGE + HEADER + len(curves) * (CHART_HEIGHT + GAP) + CAPTION
    height += sum(2 * CAPTION + tall + GAP for _, tall in sizes)
    sheet = Sheet(width, height)
    is_seen = moment < found.context
    _head(sheet, found, f"moment {moment}")
    words, color = ("seen", OPEN) if is_seen else ("imagined", SHUT)
    sheet.text(width - EDGE, EDGE, words, color, size=20, anchor="ra")
    y = EDGE + HEADER
    for one, (wide, tall) in zip(pictures, sizes, strict=True):
        start = (width - len(ROWS) * (wide + 3 * GAP) + 3 * GAP) / 2
        for column, (title, part) in enumerate(zip(ROWS, _parts(one), strict=True)):
            x = start + column * (wide + 3 * GAP)
            shown = "reconstructed" if is_seen and title == "imagined" else title
            sheet.text(x + wide / 2, y, shown, MUTED, size=13, anchor="ma")
            sheet.picture(x, y + CAPTION, wide, tall, part[moment], one.is_crisp)
        y += CAPTION + tall + GAP
        sheet.text(width / 2, y, _legend(one), MUTED, size=12, anchor="ma")
        y += CAPTION
    _draw_curves(sheet, found, curves, y, moment)
    return sheet.image()


# --- what both have -------------------------------------------------------------------------------


def _head(sheet: Sheet, found: OpenLoop, now: str) -> None:
    told = (
        f"{found.context} moments seen, {found.moments - found.context} imagined from the actions"
    )
    sheet.text(EDGE, EDGE, now or "Imagined against real", size=20)
    sheet.text(EDGE + (130 if now else 240), EDGE + 6, told, MUTED, size=13)


def _draw_curves(sheet: Sheet, found: OpenLoop, curves: list[Curve], y: float, until: int) -> None:
    """One below the other; what was imagined is drawn up to a moment."""
    left, right = EDGE + LEFT, sheet.width - EDGE - 6
    for curve in curves:
        values = np.concatenate([curve.real, curve.imagined])
        values = values[np.isfinite(values)]
        low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
        top, bottom = y + 8, y + CHART_HEIGHT - 8
        span = (high - low) or 1.0

        def place(
            moment: float, value: float, low: float = low, top: float = top, span: float = span
        ) -> tuple[float, float]:
            x = left + moment / max(1, found.moments - 1) * (right - left)
            return x, top + (CHART_HEIGHT - 16) * (1 - (value - low) / span)

        sheet.text(EDGE, (top + bottom) / 2, curve.name, size=12, anchor="lm", most=LEFT - 60)
        for value, where in ((high, top), (low, bottom)):
            sheet.line([(left, where), (right, where)], "#e4e5e1", 1)
            if where == bottom or high > low:
                told = f"{0.0 if abs(value) < 1e-3 * span else value:.3g}"
                sheet.text(left - 10, where, told, MUTED, size=11, anchor="rm")
        x = place(found.context - 0.5, low)[0]
        sheet.line([(x, top - 4), (x, bottom + 4)], MUTED, 1, dotted=True)
        # What happened is broad, so that it is seen where the other line lies upon it.
        for series, color, stroke, last in (
            (curve.real, FACT, 4.5, found.moments - 1),
            (curve.imagined, SHUT, 1.8, until),
        ):
            points = [
                place(moment, value)
                for moment, value in enumerate(series[: last + 1].tolist())
                if np.isfinite(value)
            ]
            sheet.line(points, color, stroke)
            if points and color == SHUT:
                sheet.dot(points[-1], color)
        y += CHART_HEIGHT + GAP
    for x, words, color, stroke in (
        (left, "real", FACT, 4.5),
        (left + 60, "predicted", SHUT, 1.8),
    ):
        sheet.line([(x, y + 9), (x + 16, y + 9)], color, stroke)
        sheet.text(x + 22, y + 9, words, MUTED, size=12, anchor="lm")
    told = f"dotted: from moment {found.context} of {found.moments} on nothing is seen"
    sheet.text(left + 160, y + 9, told, MUTED, size=12, anchor="lm")
