"""What a world model saw and imagined as pictures: (N, height, width, 3), uint8."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np

from heredity.common.open_loop import Entry, OpenLoop

# Wider boards of numbers are not drawn, but told by their curves.
MOST_SIDE = 256
# From dark to bright, for one number in each place.
SHADES = np.array([[20, 27, 36], [15, 118, 110], [240, 250, 226]], np.float64)
# Of channels that are no colours, such as one for each kind of thing on a board.
HUES = np.array(
    [[79, 209, 184], [243, 177, 85], [147, 165, 255], [240, 139, 182], [168, 208, 95]], np.float64
)
# Where too much was imagined, and where something was missed.
MORE, LESS = np.array([255, 158, 68], np.float64), np.array([90, 150, 255], np.float64)
NOTHING = np.array([20, 27, 36], np.float64)
# Sides up to which the pixels of a picture stay squares when it is enlarged.
CRISP = 40


class Drawn(NamedTuple):
    """One entry of the observations, drawn.

    Args:
        name: Of the entry.
        real: What happened, ``(N, H, W, 3)``, uint8.
        imagined: The same of what was imagined.
        difference: Between both.
        signed: Whether the difference tells what was too much from what was missed.
    """

    name: str
    real: np.ndarray
    imagined: np.ndarray
    difference: np.ndarray
    signed: bool

    @property
    def is_crisp(self) -> bool:
        """Whether each pixel is to stay a square."""
        return max(self.real.shape[1:3]) <= CRISP


def is_drawn(entry: Entry, shape: tuple[int, ...]) -> bool:
    """Whether an entry of one moment's `shape` is drawn as a picture, rather than as curves.

    Example:
        >>> is_drawn(Entry("numbers"), (10, 5)), is_drawn(Entry("numbers"), (17,))
        (True, False)
    """
    if entry.kind == "picture":
        return True
    return len(shape) == 2 and min(shape) > 1 and max(shape) <= MOST_SIDE


def drawn(found: OpenLoop) -> list[Drawn]:
    """The entries that are pictures, or boards of numbers."""
    pictures = []
    for name, entry in found.entries.items():
        real = np.asarray(found.episode.observations[name])
        if is_drawn(entry, real.shape[1:]):
            imagined = np.asarray(found.imagined.observations[name])
            pictures.append(_drawn(name, entry, real, imagined))
    return pictures


def _drawn(name: str, entry: Entry, real: np.ndarray, imagined: np.ndarray) -> Drawn:
    both = np.stack([real, imagined]).astype(np.float64)
    both = np.nan_to_num(both, nan=0.0, posinf=0.0, neginf=0.0)
    if entry.kind == "picture":
        both = _channels(both / entry.largest, entry.largest)
    else:
        # What was there decides the shades: a wild guess would take them from everything else.
        low, high = both[0].min(), both[0].max()
        both = ((both - low) / ((high - low) or 1.0))[..., None]
    both = np.clip(both, 0.0, 1.0)
    off = both[1] - both[0]
    if both.shape[-1] == 1:
        signed = off[..., :1]
        strength = np.abs(signed)
        difference = NOTHING + strength * (np.where(signed > 0, MORE, LESS) - NOTHING)
        colours = _gray(both) if entry.kind == "picture" else _shaded(both)
        return Drawn(name, colours[0], colours[1], _bytes(difference), True)
    return Drawn(name, _bytes(255 * both[0]), _bytes(255 * both[1]), _bytes(255 * abs(off)), False)


def _channels(both: np.ndarray, largest: float) -> np.ndarray:
    """Pictures of one channel, or three: what stands for pictures with others."""
    channels = both.shape[-1]
    if channels in (1, 3):
        return both
    if largest == 255:  # a stack of pictures: the newest
        return both[..., -3:] if channels % 3 == 0 else both[..., -1:]
    hues = HUES[np.arange(channels) % len(HUES)] / 255
    dark = np.prod(1 - np.clip(both, 0.0, 1.0)[..., None] * hues, axis=-2)
    return 1 - dark


def _gray(values: np.ndarray) -> np.ndarray:
    return _bytes(255 * np.repeat(values, 3, axis=-1))


def _shaded(values: np.ndarray) -> np.ndarray:
    stops = np.linspace(0, 1, len(SHADES))
    parts = [np.interp(values[..., 0], stops, SHADES[:, c]) for c in range(3)]
    return _bytes(np.stack(parts, axis=-1))


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def packed(picture: np.ndarray, crisp: bool) -> tuple[str, bytes]:
    """A picture as a file for a page: its type and its bytes.

    Args:
        picture: ``(H, W, 3)``, uint8.
        crisp: Whether every pixel counts.
    """
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.fromarray(picture)
    if crisp:
        image.save(buffer, "PNG", optimize=True)
        return "image/png", buffer.getvalue()
    image.save(buffer, "WEBP", quality=82)
    return "image/webp", buffer.getvalue()
