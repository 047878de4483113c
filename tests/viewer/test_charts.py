from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from viewer_runs import write_metrics

from heredity.viewer.charts import learning_charts, marks
from heredity.viewer.reading import read_run
from heredity.viewer.sections import figures


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


def test_what_a_world_model_logs_is_called_by_its_name(scene_run: Path):
    run = read_run(scene_run)
    steps, values = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    names = ("reconstruction/camera_loss", "reconstruction/observation_loss", "dynamics_loss")
    names += ("representation_loss", "posterior_entropy", "prior_entropy")
    run.metrics = {"time/total_timesteps": steps} | {f"train/{name}": values for name in names}
    found = [(chart.title, chart.detail) for chart in learning_charts(run, 2)]
    assert ("Reconstruction loss", "train/reconstruction/camera_loss · of camera") in found
    assert ("Reconstruction loss", "train/reconstruction/observation_loss") in found
    # That of the representation has the same number.
    titles = [title for title, _ in found[-4:]]
    assert titles[1:] == ["KL (dynamics loss)", "Posterior entropy", "Prior entropy"]
    assert sum("loss" in title for title, _ in found) == 3
