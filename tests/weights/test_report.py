import json
import math

import numpy as np
import pytest

from heredity.common.errors import MismatchError, RefusedError
from heredity.weights.report import (
    APPROXIMATE,
    EXACT,
    NONE,
    ROUNDING,
    Guarantee,
    GuaranteeError,
    Measurement,
    WeightReport,
    WeightRow,
    bounded,
    row_of,
    weakest,
)

REPORT = WeightReport(
    "transfer",
    (
        row_of("a/kernel", "transposed", np.ones((2, 3), np.float32), source="fc.weight"),
        row_of("a/bias", "kept", np.ones(2, np.float32), note="allowed"),
        WeightRow("head.weight", "dropped", source="head.weight", source_shape=(9, 9)),
    ),
    bounded(0.25),
    (Measurement("largest difference", 0.2, "1,000 sampled observations", 0.25),),
    ("one note",),
)


def test_coverage_counts_numbers_of_the_result():
    assert REPORT.coverage == 6 / 8
    assert REPORT.counts() == {"kept": 1, "transposed": 1, "dropped": 1}
    assert WeightReport("x", (), EXACT).coverage == 0.0
    assert REPORT.require(0.75) is REPORT
    with pytest.raises(MismatchError, match=r"75.0% .* 80.0% were required; not a/bias \(kept\)"):
        REPORT.require(0.8)


def test_it_survives_json():
    text = json.dumps(REPORT.to_json(), allow_nan=False)
    assert WeightReport.from_json(json.loads(text)) == REPORT
    endless = WeightReport("x", (), bounded(math.inf), (Measurement("m", math.inf, "o", math.inf),))
    assert WeightReport.from_json(json.loads(json.dumps(endless.to_json()))) == endless


@pytest.mark.parametrize(
    "change",
    [
        {"rows": [{"path": "a", "action": "eaten"}]},
        {"rows": 3},
        {"guarantee": {"kind": "sure"}},
        {"guarantee": {"kind": "bounded"}},
        {"measurements": [{"what": "x", "value": "y", "on": "z", "allowed": None}]},
    ],
)
def test_what_is_no_report_is_refused(change: dict):
    with pytest.raises(RefusedError, match=r"lineage.json: does not describe a weight report"):
        WeightReport.from_json(REPORT.to_json() | change, "lineage.json")


@pytest.mark.parametrize(("value", "holds"), [(0.25, True), (0.26, False), (math.nan, False)])
def test_measurements_are_held_to_what_is_allowed(value: float, holds: bool):
    report = WeightReport("transfer", REPORT.rows, bounded(0.25)).measured(
        Measurement("difference", value, "10 observations", 0.25)
    )
    if holds:
        assert report.verify() is report and report.measurements[0].holds is True
    else:
        with pytest.raises(GuaranteeError, match=r"guarantees 'bounded\(0.25\)', but measured: "):
            report.verify()


def test_what_nothing_was_promised_of_neither_holds_nor_breaks():
    told = Measurement("mean return", 3.0, "10 episodes")
    assert told.holds is None
    assert "holds" not in str(told).lower() and REPORT.measured(told).verify().measurements


def test_what_used_nothing_of_its_source_is_an_error():
    kept, dropped = REPORT.rows[1:]
    with pytest.raises(MismatchError, match=r"used no weight of its source: not head.weight"):
        WeightReport("x", (kept, dropped), EXACT).verify()
    with pytest.raises(MismatchError, match="used no weight"):
        WeightReport("x", (), EXACT).verify()
    # What has no source, such as to unfreeze, cannot use one.
    assert WeightReport("unfreeze", (kept,), EXACT).verify().coverage == 0


def test_the_weakest_guarantee_is_that_of_the_whole():
    order = [EXACT, ROUNDING, bounded(1), APPROXIMATE, NONE]
    for index, guarantee in enumerate(order):
        assert weakest(order[: index + 1]) == guarantee
        assert weakest(reversed(order[: index + 1])) == guarantee
    assert weakest([]) == EXACT
    assert weakest([bounded(1, "each value"), EXACT, bounded(2, "each value")]) == bounded(
        3, "each value"
    )
    with pytest.raises(ValueError, match="bounds of several things"):
        weakest([bounded(1, "each value"), bounded(2, "each output")])
    for wrong in (("bounded", None), ("exact", 1.0), ("sure", None), ("bounded", 1.0, "each step")):
        with pytest.raises(ValueError, match="no guarantee"):
            Guarantee(*wrong)  # pyright: ignore[reportArgumentType]


def test_it_reads_as_a_table():
    text = str(REPORT)
    for told in ("a/kernel", "transposed", "fc.weight", "allowed", "one note", "bounded(0.25)"):
        assert told in text
    assert "largest difference: 0.2 on 1,000 sampled observations (allowed 0.25: holds)" in text
    broken = REPORT.measured(Measurement("ratio", 2.0, "x", 1.0))
    assert "DOES NOT HOLD" in str(broken)
