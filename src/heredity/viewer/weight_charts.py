"""What became of the weights of each layer, as plotly figures over the steps of a run."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from heredity.viewer.charts import SERIES_COLORS, Chart, base_layout, line, steps_axis
from heredity.viewer.reading import Snapshot
from heredity.viewer.rollouts import plain_numbers
from heredity.viewer.weight_norms import WeightNorms

MOST_LAYERS = 16
MOST_ROWS = 48  # of a map; more could not be told apart
ROW_HEIGHT = 24
# From nothing to much, on light pages and dark ones alike.
SCALE = [[0, "rgba(42,120,214,0.06)"], [0.5, "rgba(42,120,214,0.55)"], [1, "rgba(235,104,52,1)"]]
UNIT_SCALE = [[0, "rgba(42,120,214,0.06)"], [1, "rgba(214,54,68,1)"]]


def norm_chart(norms: WeightNorms, most: float) -> Chart | None:
    """The norms of the layers over snapshots; the largest if there are many."""
    if not norms.layers:
        return None
    largest = sorted(norms.layers, key=lambda name: -float(np.nanmax(norms.layers[name])))
    shown = [name for name in norms.layers if name in set(largest[:MOST_LAYERS])]
    traces = []
    for index, name in enumerate(shown):
        color = f"@c{index % SERIES_COLORS}"
        dash = "solid" if index < SERIES_COLORS else "dot"
        values = plain_numbers(norms.layers[name])
        trace = line(list(norms.steps), values, name, color, mode="lines+markers")
        trace["line"]["dash"] = dash
        traces.append(trace | {"marker": {"size": 5}})
    layout = base_layout(showlegend=True, xaxis=steps_axis(most))
    layout["yaxis"] = layout["yaxis"] | {"rangemode": "tozero"}
    detail = "L2 norm of each layer's kernel and bias, without normaliser statistics"
    if len(shown) < len(norms.layers):
        detail += f"; the {len(shown)} largest of {len(norms.layers)} layers"
    return Chart("Weight norms", detail, {"data": traces, "layout": layout}, wide=True)


def drift_chart(norms: WeightNorms, most: float) -> Chart | None:
    """How far each layer moved between snapshots, as a map; what did not move stays empty."""
    if len(norms.steps) < 2 or not norms.moved:
        return None
    names = _rows(norms.moved)
    moved = np.stack([norms.moved[name][1:] for name in names])
    detail = (
        "how far each layer moved since the snapshot before, beside its norm there; "
        "empty where no bit moved"
    )
    if len(names) < len(norms.moved):
        detail += f"; the {len(names)} that moved most of {len(norms.moved)} layers"
    # In powers of ten: a fresh last layer moves by many times its norm, which is not told apart
    # from once, a trained one by hundredths.
    powers = np.log10(np.where(moved > 0, moved, np.nan))
    chart = _map("Drift of the weights", detail, names, norms.steps, powers, most)
    (trace,) = chart.figure["data"]
    finite = powers[np.isfinite(powers)]
    low = min(float(np.floor(finite.min())), -1.0) if finite.size else -2.0
    ticks = np.arange(low, 1.0)
    trace["colorscale"], trace["zmin"], trace["zmax"] = SCALE, float(ticks[0]), float(ticks[-1])
    trace["colorbar"] |= {
        "tickvals": ticks.tolist(),
        "ticktext": [f"{100 * 10**power:g}%" for power in ticks],
    }
    trace["text"] = [[_percent(cell) for cell in row] for row in moved]
    trace["hovertemplate"] = "%{y}<br>%{text} at %{x:.3s} steps<extra></extra>"
    return chart


def _percent(value: float) -> str:
    return f"{value:.2%}" if np.isfinite(value) else "not comparable"


def dead_chart(snapshots: Sequence[Snapshot], most: float) -> Chart | None:
    """The share of dead units in each hidden layer at each snapshot, as a map."""
    known = [snapshot for snapshot in snapshots if snapshot.units]
    if not known:
        return None
    names = list(dict.fromkeys(name for snapshot in known for name in snapshot.units))[:MOST_ROWS]
    shares = np.array(
        [[_share(snapshot.units.get(name)) for snapshot in known] for name in names], np.float64
    )
    steps = [known[0].step - _spacing(known), *(snapshot.step for snapshot in known)]
    detail = "share of each hidden layer's units whose output is the same whatever is seen"
    if not np.nansum(shares):
        detail += "; none in these snapshots"
    chart = _map("Dead units", detail, names, steps, shares, most)
    (trace,) = chart.figure["data"]
    trace["colorscale"], trace["zmin"], trace["zmax"] = UNIT_SCALE, 0, 1
    trace["colorbar"]["tickformat"] = ".0%"
    trace["hovertemplate"] = "%{y}<br>%{z:.1%} at %{x:.3s} steps<extra></extra>"
    return chart


def _spacing(known: Sequence[Snapshot]) -> int:
    return known[-1].step // len(known) if len(known) < 2 else known[1].step - known[0].step


def _share(units: tuple[int, int] | None) -> float:
    return units[0] / units[1] if units else np.nan


def _rows(moved: dict[str, np.ndarray]) -> list[str]:
    """The layers that moved most, in their own order."""
    furthest = sorted(moved, key=lambda name: -float(np.nanmax(np.append(moved[name], 0.0))))
    chosen = set(furthest[:MOST_ROWS])
    return [name for name in moved if name in chosen]


def _map(
    title: str,
    detail: str,
    names: Sequence[str],
    edges: Sequence[int],
    values: np.ndarray,
    most: float,
) -> Chart:
    """A row for each layer and a cell for each stretch between two edges."""
    trace = {
        "type": "heatmap",
        "x": list(edges),
        "y": [html.escape(name) for name in names],
        "z": [plain_numbers(row) for row in values],
        "xgap": 1,
        "ygap": 1,
        "hoverongaps": False,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "len": 1},
    }
    layout = base_layout(xaxis=steps_axis(most), hovermode="closest")
    layout["yaxis"] |= {"autorange": "reversed", "showgrid": False, "nticks": len(names)}
    height = 60 + ROW_HEIGHT * len(names)
    return Chart(title, detail, {"data": [trace], "layout": layout}, wide=True, height=height)
