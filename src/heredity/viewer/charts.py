"""Learning curves as plotly figures, in colours that the page fills in for light and dark."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterable
from typing import Any

import numpy as np

from heredity.viewer.reading import Run, evenly, number
from heredity.viewer.rollouts import plain_numbers

STEPS = "time/total_timesteps"
# More points than a wide screen has pixels are not seen.
MOST_POINTS = 1500
SERIES_COLORS = 8
SMALL = 0.01
# Progress of the clock and of counters: straight lines that teach nothing.
NOT_DRAWN = frozenset(
    {
        STEPS,
        "time/iterations",
        "time/time_elapsed",
        "time/compilations",
        "time/compilations_from_cache",
        "time/compile_seconds",
        "train/n_updates",
        # The number of the dynamics loss once more; only their gradients differ.
        "train/representation_loss",
    }
)
# A name that ends with a stroke stands for all that begin with it, such as one for each entry.
TITLES = {
    "time/fps": ("Throughput", "steps per second"),
    "train/value_loss": ("Value loss", ""),
    "train/policy_gradient_loss": ("Policy loss", ""),
    "train/entropy_loss": ("Entropy loss", ""),
    "train/approx_kl": ("Approximate KL", "between old and new policy"),
    "train/clip_fraction": ("Clip fraction", "of samples outside the trust region"),
    "train/explained_variance": ("Explained variance", "of returns by the value function"),
    "train/learning_rate": ("Learning rate", ""),
    "train/loss": ("Loss", ""),
    "train/reconstruction/": ("Reconstruction loss", ""),
    "train/dynamics_loss": (
        "KL (dynamics loss)",
        "what is seen beside what was expected; nats, not below the free ones",
    ),
    "train/posterior_entropy": ("Posterior entropy", "of the latents once it is seen, nats"),
    "train/prior_entropy": ("Prior entropy", "of the latents that are expected, nats"),
    "train/reward_loss": ("Reward loss", "of the world model"),
    "train/continue_loss": ("Continue loss", "of whether the task goes on"),
    "train/actor_loss": ("Actor loss", ""),
    "train/critic_loss": ("Critic loss", "in imagination"),
    "train/replayed_critic_loss": ("Critic loss, replayed", "on what really happened"),
    "train/entropy": ("Action entropy", "nats"),
    "train/imagined_return": ("Imagined return", "discounted, mean over imagined moments"),
    "train/imagined_value": ("Imagined value", "by the critic, mean over imagined moments"),
    "train/imagined_reward": ("Imagined reward", "mean over imagined moments"),
    "train/imagined_continue": ("Imagined chance to go on", "times the discount"),
    "train/advantage": ("Advantage", "scaled, mean over imagined moments"),
    "train/advantage_size": ("Size of advantages", "without their sign"),
    "train/return_scale": ("Return scale", "5 % to 95 % of the returns, at least 1"),
    "train/gradient_norm": ("Gradient norm", ""),
    "train/kl": ("Exact KL", "between old and new policy"),
    "train/grad_norm": ("Gradient norm", "before it is scaled down"),
    "train/std": ("Action noise", "standard deviation, mean over dimensions"),
    "train/clip_range": ("Clip range", ""),
    "train/gradient_steps": ("Gradient steps", ""),
    "rollout/episodes": ("Episodes", "that ended since the row before"),
}
# What the curves may jump at, and how it is written there.
MARKED = {"resume": "resumed", "rollback": "rolled back"}
MOST_LABELS = 4
# Settings that some runs change on the way; those that do not show a line without news.
CONSTANT = frozenset({"train/clip_range", "train/gradient_steps"})
# Three charts stand side by side where there is room.
ABREAST = 3


@dataclasses.dataclass(frozen=True)
class Chart:
    """One figure and what stands above it.

    Args:
        title: What it shows.
        detail: A few more words: a unit, the name of the logged value.
        figure: A plotly figure; colours written ``@name`` are the page's.
        wide: Whether it takes the whole width.
        half: Whether it takes half of it, so that nothing is left alone in the last row.
        height: Of the figure in pixels; None for that of all others.
    """

    title: str
    detail: str
    figure: dict[str, Any]
    wide: bool = False
    half: bool = False
    height: int | None = None


def base_layout(**more: Any) -> dict[str, Any]:
    """How every figure of the report looks, and what one of them does differently."""
    axis = {"gridcolor": "@grid", "zeroline": False, "linecolor": "@grid", "automargin": True}
    base = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "@muted", "family": "@font", "size": 12},
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "hovermode": "x unified",
        "hoverlabel": {
            "bgcolor": "@card",
            "bordercolor": "@grid",
            "font": {"color": "@ink", "family": "@font", "size": 12},
        },
        "showlegend": False,
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"size": 12},
        },
        "xaxis": {**axis, "showgrid": False, "ticks": "outside", "tickcolor": "@grid"},
        "yaxis": {**axis, "nticks": 6},
    }
    return base | more


def line(x: list[Any], y: list[Any], name: str, color: str, **more: Any) -> dict[str, Any]:
    """A curve, whose name may come from a file."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
        # Names come from files, and plotly reads a few tags in them.
        "name": html.escape(name),
        "line": {"color": color, "width": 2},
        **more,
    }


def band(x: list[Any], low: np.ndarray, high: np.ndarray, color: str) -> list[dict[str, Any]]:
    """What lies between two curves."""
    edge = {"line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "mode": "lines"}
    below = {"type": "scatter", "x": x, "y": plain_numbers(low), **edge}
    above = {"type": "scatter", "x": x, "y": plain_numbers(high), **edge}
    return [below, above | {"fill": "tonexty", "fillcolor": color}]


def _thinned(*columns: np.ndarray) -> list[np.ndarray]:
    """The rows where every column is finite, at most `MOST_POINTS` of them."""
    finite = np.all([np.isfinite(column) for column in columns], axis=0)
    kept = [column[finite] for column in columns]
    chosen = evenly(len(kept[0]), MOST_POINTS)
    return [column[chosen] for column in kept]


def _metric(run: Run, name: str) -> tuple[list[Any], list[Any]] | None:
    """Steps and values of a logged column; None if it was never logged."""
    values = run.metrics.get(name)
    if values is None:
        return None
    steps = run.metrics.get(STEPS, np.arange(len(values), dtype=np.float64))
    steps, values = _thinned(steps, values)
    return (plain_numbers_exact(steps), plain_numbers(values)) if len(values) else None


def plain_numbers_exact(values: np.ndarray) -> list[int | float]:
    """Counts as whole numbers, for an axis on which nothing may be rounded."""
    return [int(value) if float(value).is_integer() else float(value) for value in values]


def evaluated_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation and number of the finite values of each evaluation.

    Evaluations of fewer episodes than others are filled up with NaN in the file.

    Args:
        values: Shape (evaluations, episodes).

    Returns:
        Three arrays of shape (evaluations,); NaN for mean and deviation where nothing is finite.

    Example:
        >>> [part.tolist() for part in evaluated_spread(np.array([[1.0, 3.0], [5.0, np.nan]]))]
        [[2.0, 5.0], [1.0, 0.0], [2, 1]]
    """
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    count = finite.sum(axis=1)
    known = np.where(count, count, np.nan)
    mean = np.where(finite, values, 0.0).sum(axis=1) / known
    off = np.where(finite, values - mean[:, None], 0.0)
    return mean, np.sqrt((off**2).sum(axis=1) / known), count


def _progress(run: Run, title: str, logged: str, evaluated: str, wide: bool) -> Chart | None:
    """What training saw and what evaluation measured, in one figure."""
    traces: list[dict[str, Any]] = []
    if (metric := _metric(run, logged)) is not None:
        traces.append(line(*metric, "while training", "@c1", opacity=0.75))
    values = run.evaluations.get(evaluated)
    if values is not None:
        x = plain_numbers_exact(run.evaluations["timesteps"])
        mean, std, _ = evaluated_spread(values)
        mode = "lines+markers" if len(x) <= 60 else "lines"
        traces += band(x, mean - std, mean + std, "@c0-soft")
        traces.append(
            line(x, plain_numbers(mean), "evaluation (mean ± std)", "@c0", mode=mode)
            | {"marker": {"size": 5}}
        )
    if not traces:
        return None
    named = sum("name" in trace for trace in traces)
    return Chart(title, logged, {"data": traces, "layout": base_layout(showlegend=named > 1)}, wide)


def varies(values: np.ndarray) -> bool:
    """Whether there is more than one value, those that are no number apart."""
    return np.unique(values[~np.isnan(values)]).size > 1


def steps_axis(most: float) -> dict[str, Any]:
    """The axis that all figures over steps share, so that they can be compared at a glance."""
    return base_layout()["xaxis"] | {"range": [-0.01 * most, 1.01 * most]}


def learning_charts(run: Run, most: float) -> list[Chart]:
    """Return, episode length, then every other value that was logged.

    Args:
        run: The run.
        most: Steps at which the axes end.
    """
    charts = [
        _progress(run, "Return", "rollout/ep_rew_mean", "results", wide=True),
        _progress(run, "Episode length", "rollout/ep_len_mean", "ep_lengths", wide=False),
    ]
    titles = metric_titles(run.metrics)
    drawn = {"rollout/ep_rew_mean", "rollout/ep_len_mean"} | NOT_DRAWN
    if run.evaluations:
        # The same numbers as in the first two figures, without their spread.
        drawn |= {"eval/mean_reward", "eval/mean_ep_length"}
    others = [
        name
        for name, values in run.metrics.items()
        if name not in drawn and name not in titles and varies(values)
    ]
    for name in [*titles, *others]:
        if (metric := _metric(run, name)) is None:
            continue
        if name in CONSTANT and not varies(run.metrics[name]):
            continue
        title, detail = titles.get(name, (name, ""))
        layout = base_layout()
        values = [value for value in metric[1] if value is not None]
        if values and max(map(abs, values)) < SMALL:
            # A learning rate is 2e-4 to everyone, and 200µ to nobody.
            layout["yaxis"] |= {"exponentformat": "e", "showexponent": "all"}
        if name == "time/fps":
            layout["yaxis"]["rangemode"] = "tozero"
        elif values and values[0] and min(values) == max(values):
            # Around a constant plotly draws one unit up and down, which hides a learning rate.
            layout["yaxis"]["range"] = sorted([0, 2 * values[0]])
        trace = line(*metric, title, "@c0")
        said = " · ".join(filter(None, [name if name != title else "", detail]))
        charts.append(Chart(title, said, {"data": [trace], "layout": layout}))
    found = [chart for chart in charts if chart is not None]
    for chart in found:
        chart.figure["layout"] |= steps_layout(run, most, chart.wide)
    narrow = [index for index, chart in enumerate(found) if not chart.wide]
    alone = {1: 4, 2: 2}.get(len(narrow) % ABREAST, 0)
    for index in narrow[-alone:] if alone else []:
        found[index] = dataclasses.replace(found[index], half=True)
    return found


def metric_titles(logged: Iterable[str]) -> dict[str, tuple[str, str]]:
    """`TITLES`, those of whole groups of columns spelt out for what was logged.

    Example:
        >>> metric_titles(["train/reconstruction/camera_loss"])["train/reconstruction/camera_loss"]
        ('Reconstruction loss', 'of camera')
    """
    columns = list(logged)
    found: dict[str, tuple[str, str]] = {}
    for name, (title, detail) in TITLES.items():
        if not name.endswith("/"):
            found[name] = title, detail
            continue
        for column in columns:
            if column.startswith(name):
                entry = column.removeprefix(name).removesuffix("_loss")
                found[column] = title, "" if entry == "observation" else f"of {entry}"
    return found


def marks(run: Run) -> list[tuple[int, str]]:
    """The steps at which training was resumed or taken back, ascending, and what happened.

    Example:
        >>> from heredity.common.run_folder import RunFolder
        >>> from pathlib import Path
        >>> entries = ({"operation": "resume", "step": 4096},)
        >>> marks(Run(RunFolder(Path("runs/ant")), {}, {}, {}, [], entries, []))
        [(4096, 'resumed')]
    """
    found: set[tuple[int, str]] = set()
    for entries in [*(snapshot.lineage for snapshot in run.snapshots), run.checkpoint_lineage]:
        for entry in entries:
            operation, step = str(entry.get("operation")), number(entry.get("step"))
            if operation in MARKED and step is not None:
                found.add((int(step), MARKED[operation]))
    return sorted(found)


def steps_layout(run: Run, most: float, wide: bool) -> dict[str, Any]:
    """The steps axis, with a thin line where training was resumed or taken back."""
    drawn, labels = [], []
    marked = marks(run)
    for index, (step, label) in enumerate(marked):
        stroke = {"color": "@faint", "width": 1, "dash": "dot"}
        drawn.append(
            {"type": "line", "x0": step, "x1": step, "yref": "paper", "y0": 0, "y1": 1}
            | {"line": stroke, "layer": "below"}
        )
        # In a small chart the word would lie on the curve; the first chart has told it.
        if not wide or (index and len(marked) > MOST_LABELS):
            continue
        side = "left" if step < 0.8 * most else "right"
        labels.append(
            {"x": step, "yref": "paper", "y": 1, "yanchor": "top", "xanchor": side, "text": label}
            | {"showarrow": False, "font": {"size": 11, "color": "@muted"}, "borderpad": 3}
        )
    return {"xaxis": steps_axis(most), "shapes": drawn, "annotations": labels}
