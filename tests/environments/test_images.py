"""Pictures made smaller: means of areas, exactly."""

import numpy as np
import pytest

from heredity.common.errors import UsageError
from heredity.environments.images import resize_area


def by_definition(picture, size):
    """Every old row is cut into so many parts that both grids fit; then plain means."""

    def means(old, new):
        return np.repeat(np.eye(old), new, 0).reshape(new, old, old).mean(1)

    (height, width), (rows, columns) = picture.shape[:2], size
    channels = np.moveaxis(picture, -1, 0)
    return np.moveaxis(means(height, rows) @ channels @ means(width, columns).T, 0, -1)


@pytest.mark.parametrize("size", [(84, 84), (7, 84), (210, 84), (84, 160), (1, 1), (230, 170)])
def test_it_is_the_mean_of_what_a_pixel_covers(size):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 210, 160, 2), np.uint8)
    small = resize_area(pictures, size)
    assert small.shape == (2, *size, 2) and small.dtype == np.uint8
    # Half a grey for rounding, and what float32 sums lose.
    assert np.abs(small[1] - by_definition(pictures[1], size)).max() <= 0.5 + 1e-3


def test_even_pictures_stay_even_and_equal_sizes_stay_equal():
    for value in (0, 1, 127, 255):
        picture = np.full((210, 160, 1), value, np.uint8)
        assert (resize_area(picture, (84, 84)) == value).all()
    picture = np.random.default_rng(1).integers(0, 256, (5, 6, 1), np.uint8)
    same = resize_area(picture, (5, 6))
    np.testing.assert_array_equal(same, picture)
    assert not np.shares_memory(same, picture)


@pytest.mark.parametrize(
    ("images", "size", "message"),
    [
        (np.zeros((4, 4, 1), np.float32), (2, 2), "dtype float32"),
        (np.zeros((4, 4), np.uint8), (2, 2), r"shape \(\.\.\., H, W, C\) was expected"),
        (np.zeros((4, 4, 1), np.uint8), (0, 2), "1 pixel is the least"),
        (np.zeros((0, 4, 1), np.uint8), (2, 2), "1 pixel is the least"),
    ],
)
def test_what_is_no_picture_is_told(images, size, message):
    with pytest.raises(UsageError, match=message):
        resize_area(images, size)
