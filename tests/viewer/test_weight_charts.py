"""Norms, drift and dead units in the report, and the reports of operations on weights."""

import dataclasses
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from test_charts import _resolved

from heredity.common.files import seal_json
from heredity.common.formats import WEIGHTS
from heredity.common.tensors import read_tensors, tensor_bytes
from heredity.viewer import write_report
from heredity.viewer.reading import read_run
from heredity.viewer.weight_charts import dead_chart, drift_chart, norm_chart
from heredity.viewer.weight_norms import WeightNorms, layer_norms, weight_norms
from heredity.viewer.weight_reports import weight_reports_html

REPORT = {
    "operation": "transfer",
    "guarantee": {"kind": "bounded", "bound": 0.25},
    "coverage": 0.75,
    "counts": {"grown": 1},
    "rows": [
        {
            "path": "actor/hidden_0/kernel",
            "action": "grown",
            "shape": [5, 8],
            "dtype": "float32",
            "source_shape": [3, 8],
            "source_dtype": "float32",
            "note": "<b>two</b> sensors",
            "guarantee": {"kind": "rounding"},
        }
    ],
    "measurements": [
        {"what": "difference", "value": 0.125, "on": "9 observations", "allowed": 0.25}
    ],
    "notes": ["a note"],
}


def test_norms_count_kernel_and_bias_and_leave_statistics_out(scene_run: Path):
    run = read_run(scene_run)
    model = run.snapshots[-1].folder / "policy" / "model.safetensors"
    tensors, _ = read_tensors(model)
    norms = layer_norms(model)
    assert sorted(norms) == [f"{p}/hidden_{i}" for p in ("actor", "critic") for i in range(3)]
    both = np.concatenate(
        [tensors["actor/hidden_1/kernel"].ravel(), tensors["actor/hidden_1/bias"]]
    )
    assert norms["actor/hidden_1"] == pytest.approx(np.linalg.norm(both), rel=1e-6)


def test_weights_that_cannot_be_read_are_a_note(scene_run: Path):
    run = read_run(scene_run)
    (run.snapshots[3].folder / "policy" / "model.safetensors").write_bytes(b"torn")
    notes: list[str] = []
    norms = weight_norms(run.snapshots, notes)
    assert len(norms.steps) == 9
    assert f"{run.snapshots[3].step:,}" in notes[0]


def test_many_layers_are_cut_to_the_largest():
    layers = {f"layer_{i}": np.array([float(i), np.nan]) for i in range(30)}
    chart = norm_chart(WeightNorms([0, 1], layers), 1.0)
    assert chart is not None
    assert [t["name"] for t in chart.figure["data"]] == [f"layer_{i}" for i in range(14, 30)]
    assert "16 largest of 30" in chart.detail
    assert norm_chart(WeightNorms([], {}), 1.0) is None


def test_weights_of_another_format_are_a_note_as_policies_refuse_them(scene_run: Path):
    run = read_run(scene_run)
    for at, header in ((2, {"format": "pt"}), (4, WEIGHTS.header | {"schema_version": "9"})):
        model = run.snapshots[at].folder / "policy" / "model.safetensors"
        model.write_bytes(tensor_bytes({"actor/out/bias": np.ones(2, np.float32)}, header))
    notes: list[str] = []
    assert len(weight_norms(run.snapshots, notes).steps) == 8
    assert "format 'pt'" in notes[0] and "schema_version 9 of the weights" in notes[1]


def test_drift_is_the_change_since_the_snapshot_before(scene_run: Path):
    run = read_run(scene_run)
    norms = weight_norms(run.snapshots, [])
    before, after = (
        read_tensors(run.snapshots[at].folder / "policy" / "model.safetensors")[0] for at in (3, 4)
    )
    paths = ["actor/hidden_1/kernel", "actor/hidden_1/bias"]
    moved = np.sqrt(sum(np.sum((after[path] - before[path]) ** 2) for path in paths))
    norm = np.sqrt(sum(np.sum(before[path] ** 2) for path in paths))
    assert norms.moved["actor/hidden_1"][4] == pytest.approx(moved / norm, rel=1e-5)
    assert np.isnan(norms.moved["actor/hidden_1"][0])
    chart = drift_chart(norms, 50_000_000)
    assert chart is not None
    (trace,) = chart.figure["data"]
    # The cells lie between snapshots.
    assert trace["x"] == norms.steps and len(trace["z"][0]) == len(norms.steps) - 1
    power = trace["z"][trace["y"].index("actor/hidden_1")][3]
    assert 10**power == pytest.approx(moved / norm, rel=1e-3)
    go.Figure(_resolved(chart.figure))


def test_a_frozen_layer_has_not_moved_and_a_reshaped_one_cannot_be_compared(scene_run: Path):
    run = read_run(scene_run)
    for at, snapshot in enumerate(run.snapshots[:3]):
        model = snapshot.folder / "policy" / "model.safetensors"
        tensors = {"frozen/kernel": np.ones(3), "grown/kernel": np.ones(3 + at // 2)}
        model.write_bytes(tensor_bytes(tensors, WEIGHTS.header))
    norms = weight_norms(run.snapshots[:3], [])
    np.testing.assert_array_equal(norms.moved["frozen"], [np.nan, 0.0, 0.0])
    np.testing.assert_array_equal(norms.moved["grown"], [np.nan, 0.0, np.nan])
    chart = drift_chart(norms, 1.0)
    assert chart is not None and chart.figure["data"][0]["z"] == [[None, None], [None, None]]
    go.Figure(_resolved(chart.figure))


def test_without_two_snapshots_there_is_no_drift(scene_run: Path):
    run = read_run(scene_run)
    assert drift_chart(weight_norms(run.snapshots[:1], []), 1.0) is None
    assert dead_chart(run.snapshots, 1.0) is None, "nobody counted"


def test_dead_units_are_drawn_as_shares(scene_run: Path):
    run = read_run(scene_run)
    counted = [
        dataclasses.replace(snapshot, units={"actor/hidden_0": (at, 20)})
        for at, snapshot in enumerate(run.snapshots)
    ]
    chart = dead_chart([run.snapshots[0], *counted], 50_000_000)
    assert chart is not None
    (trace,) = chart.figure["data"]
    np.testing.assert_allclose(trace["z"][0], np.arange(10) / 20)
    assert len(trace["x"]) == 11
    go.Figure(_resolved(chart.figure))


def test_every_operation_has_its_table_once():
    entries = [
        {"operation": "transfer", "hash": "ab" * 32, "step": 5, "arguments": {"report": REPORT}}
    ]
    page = weight_reports_html([entries, entries])
    assert page.count("<details") == 1
    for told in (
        "1 grown; 75.0% of 40 numbers from the source; guarantee: bounded(0.25)",
        "float32[3, 8]",
        "exact up to rounding",
        "difference: 0.125 on 9 observations (allowed 0.25: holds)",
        "&lt;b&gt;two&lt;/b&gt; sensors",
    ):
        assert told in page
    assert weight_reports_html([[{"operation": "train", "arguments": {}}]]) == ""


def test_what_a_file_says_of_an_operation_need_not_be_a_report(scene_run: Path):
    """Whatever stands there becomes text, or nothing."""
    for odd in (
        {"rows": 3, "measurements": [1], "notes": {"a": 1}},
        {"rows": [1, {"path": None}], "counts": [], "guarantee": "sure"},
        {"rows": [{"guarantee": {"kind": "bounded", "bound": "x"}}], "coverage": "much"},
    ):
        entry = {"operation": "inject", "hash": None, "arguments": {"report": odd}}
        assert "<details" in weight_reports_html([[entry]])
    run = read_run(scene_run)
    policy = run.snapshots[-1].folder / "policy" / "lineage.json"
    entries = [*run.snapshots[-1].lineage]
    entries.append({**entries[-1], "operation": "inject", "arguments": {"report": REPORT}})
    record = {"schema_version": 1, "policy_hash": entries[-1]["hash"], "entries": entries}
    policy.write_text(seal_json(record))
    page = write_report(scene_run).read_text()
    assert "Operations on weights" in page and "Drift of the weights" in page
    assert "&lt;b&gt;two&lt;/b&gt; sensors" in page and "report={" not in page
