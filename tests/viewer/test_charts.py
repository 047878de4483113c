from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from viewer_runs import write_metrics

from heredity.common.formats import WEIGHTS
from heredity.common.tensors import tensor_bytes
from heredity.viewer.charts import learning_charts, marks, norm_chart
from heredity.viewer.reading import read_run
from heredity.viewer.sections import figures
from heredity.viewer.weight_norms import WeightNorms, layer_norms, weight_norms


def _resolved(value):
    """The page's colour names replaced, as the page does it, so that plotly can check them."""
    if isinstance(value, str):
        return "#000000" if value.startswith("@") else value
    if isinstance(value, dict):
        return {k: _resolved(v) for k, v in value.items()}
    return [_resolved(v) for v in value] if isinstance(value, list) else value


def test_every_logged_value_has_a_chart_that_plotly_accepts(scene_run: Path):
    run = read_run(scene_run)
    charts = learning_charts(run, 50_000_000)
    titles = [chart.title for chart in charts]
    assert titles[:3] == ["Return", "Episode length", "Throughput"]
    assert {"Approximate KL", "Learning rate", "Entropy loss", "Value loss"} <= set(titles)
    assert len(charts) == 10
    for chart in charts:
        go.Figure(_resolved(chart.figure))


def test_the_evaluation_is_drawn_with_its_spread(scene_run: Path):
    run = read_run(scene_run)
    traces = learning_charts(run, 1.0)[0].figure["data"]
    mean = next(t for t in traces if t.get("name", "").startswith("evaluation"))
    upper = next(t for t in traces if t.get("fill"))
    results = run.evaluations["results"]
    np.testing.assert_allclose(mean["y"], results.mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(upper["y"], results.mean(axis=1) + results.std(axis=1), rtol=1e-4)
    assert mean["x"] == run.evaluations["timesteps"].tolist()


def test_evaluations_of_different_sizes_count_what_is_there(scene_run: Path):
    run = read_run(scene_run)
    nan = np.nan
    run.evaluations = {
        "timesteps": np.array([1, 2, 3]),
        "results": np.array([[9e9, nan, nan], [nan, nan, nan], [1.0, 2.0, np.inf]]),
    }
    traces = learning_charts(run, 1.0)[0].figure["data"]
    mean = next(t for t in traces if t.get("name", "").startswith("evaluation"))
    upper = next(t for t in traces if t.get("fill"))
    assert mean["y"] == [9e9, None, 1.5]
    assert upper["y"] == [9e9, None, 2.0]
    told = figures(run, 0)
    assert "9e+09" in told or "9,000,000,000" in told
    assert "± 0 at 1 step<" in told


def test_an_unknown_value_is_drawn_under_its_own_name(empty_run: Path):
    (empty_run / "metrics.csv").write_text(
        "time/total_timesteps,train/<b>odd</b>\n1,2\n2,nan\n3,\n4,5\n"
    )
    (chart,) = learning_charts(read_run(empty_run), 4.0)
    assert chart.title == "train/<b>odd</b>"  # escaped where it is written
    trace = chart.figure["data"][0]
    assert (trace["x"], trace["y"]) == ([1, 4], [2.0, 5.0])
    assert trace["name"] == "train/&lt;b&gt;odd&lt;/b&gt;"


def test_a_long_log_is_thinned(empty_run: Path):
    write_metrics(empty_run / "metrics.csv", 1_000_000, rows=5000)
    trace = learning_charts(read_run(empty_run), 1.0)[0].figure["data"][0]
    assert len(trace["x"]) == 1500
    assert trace["x"][-1] == 1_000_000


def test_norms_count_kernel_and_bias_and_leave_statistics_out(scene_run: Path):
    run = read_run(scene_run)
    model = run.snapshots[-1].folder / "policy" / "model.safetensors"
    from heredity.common.tensors import read_tensors

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


def test_where_training_was_resumed_there_is_a_line(scene_run: Path, signals_run: Path):
    run = read_run(scene_run)
    (mark,) = marks(run)
    assert mark == (27_777_778, "resumed")
    wide, narrow = learning_charts(run, 50_000_000)[:2]
    for chart in (wide, narrow):
        (line,) = chart.figure["layout"]["shapes"]
        assert line["x0"] == line["x1"] == mark[0]
    assert [label["text"] for label in wide.figure["layout"]["annotations"]] == ["resumed"]
    assert narrow.figure["layout"]["annotations"] == []


def test_no_chart_is_alone_in_its_row(scene_run: Path):
    charts = learning_charts(read_run(scene_run), 50_000_000)
    thirds = [chart for chart in charts if not (chart.wide or chart.half)]
    halves = [chart for chart in charts if chart.half]
    assert len(thirds) % 3 == 0 and len(halves) % 2 == 0 and len(halves) <= 4


def test_small_numbers_have_exponents_and_no_prefix(scene_run: Path):
    by_title = {chart.title: chart for chart in learning_charts(read_run(scene_run), 5e7)}
    axes = {title: chart.figure["layout"]["yaxis"] for title, chart in by_title.items()}
    assert axes["Learning rate"]["exponentformat"] == "e"
    assert "exponentformat" not in axes["Throughput"]
