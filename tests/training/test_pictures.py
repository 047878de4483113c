import io

import numpy as np
import pytest
from PIL import Image

from heredity.training.pictures import MOST_WIDTH, Packer


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def drawing(x: int) -> np.ndarray:
    """A cart on a line, in three colours."""
    picture = np.full((400, 600, 3), 255, np.uint8)
    picture[300] = 0
    picture[280:300, x : x + 50] = (202, 152, 101)
    return picture


def test_a_flat_drawing_is_kept_exactly_and_small():
    packer = Packer()
    for x in (100, 300):
        data = packer.pack(drawing(x))
        assert opened(data).format == "PNG" and len(data) < 2500
        np.testing.assert_array_equal(np.asarray(opened(data).convert("RGB")), drawing(x))


def test_a_colour_that_comes_later_is_near():
    packer = Packer()
    packer.pack(drawing(0))
    flame = drawing(0)
    flame[:50] = (250, 120, 20)
    seen = np.asarray(opened(packer.pack(flame)).convert("RGB")).astype(int)
    assert np.abs(seen - flame).max() <= 43


def test_what_is_like_a_photograph_becomes_a_jpeg():
    noise = np.random.default_rng(0).integers(0, 256, (480, 480, 3), np.uint8)
    image = opened(Packer().pack(noise))
    assert (image.format, image.size) == ("JPEG", (480, 480))


@pytest.mark.parametrize(("width", "kept"), [(600, 600), (MOST_WIDTH, MOST_WIDTH), (900, 450)])
def test_only_wide_pictures_are_made_smaller(width: int, kept: int):
    assert opened(Packer().pack(np.zeros((300, width, 3), np.uint8))).width == kept


def test_what_is_no_picture_is_a_type_error():
    with pytest.raises(TypeError):
        Packer().pack(np.zeros((2, 2, 7), np.uint8))
