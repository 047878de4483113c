import math

import numpy as np
import pytest

from heredity.common.intervals import mean_interval


@pytest.mark.parametrize(
    ("count", "quantile"),  # of Student's t at 0.975, from printed tables
    [(2, 12.706), (3, 4.303), (5, 2.776), (8, 2.365), (31, 2.042)],
)
def test_the_quantiles_are_those_of_the_tables(count: int, quantile: float):
    values = np.arange(count, dtype=np.float64)
    interval = mean_interval(values.tolist())
    standard_error = values.std(ddof=1) / math.sqrt(count)
    assert interval.half / standard_error == pytest.approx(quantile, abs=6e-4)
    assert interval.mean == pytest.approx((interval.low + interval.high) / 2) == (count - 1) / 2


def test_it_holds_the_mean_as_often_as_it_says():
    draw = np.random.default_rng(0)
    samples = draw.normal(3.0, 2.0, (2000, 4))
    held = [low <= 3.0 <= high for _, low, high, _ in map(mean_interval, samples.tolist())]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_what_is_no_number_does_not_count():
    interval = mean_interval([1.0, math.nan, 3.0, math.inf])
    assert (interval.mean, interval.size) == (2.0, 2)
    alone = mean_interval([7.0, math.nan])
    assert (alone.mean, alone.size) == (7.0, 1) and math.isnan(alone.low)
    assert math.isnan(mean_interval([]).mean)
