"""What the report over several seeds shows: curves with intervals, and a table of the seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heredity.common.errors import HeredityError
from heredity.common.group_folder import GroupFolder
from heredity.common.intervals import Interval, mean_interval
from heredity.viewer import sections
from heredity.viewer.charts import (
    CONSTANT,
    MOST_POINTS,
    STEPS,
    Chart,
    band,
    base_layout,
    evaluated_spread,
    line,
    metric_titles,
    plain_numbers_exact,
    steps_axis,
    varies,
)
from heredity.viewer.formatting import algorithm_text, score_text, steps_text, time_text, value_text
from heredity.viewer.markup import escape
from heredity.viewer.reading import Run, Score, evenly, number, read_run
from heredity.viewer.rollouts import plain_numbers

# More curves than these are seen, but not told apart by pointing at them.
MOST_NAMED = 12

Curve = tuple[np.ndarray, np.ndarray]  # steps and values of one seed


@dataclasses.dataclass
class Group:
    """Everything of a run of several seeds but recordings and weights.

    Args:
        folder: Of the whole run.
        config: What the seeds were started with.
        runs: Those that can be read, by seed, ascending.
        notes: What was left out and why.
    """

    folder: GroupFolder
    config: dict[str, Any]
    runs: dict[int, Run]
    notes: list[str]

    @property
    def name(self) -> str:
        """The name of its folder, which a person chose."""
        return self.folder.root.resolve().name


def read_group(path: Path) -> Group:
    """Read a run of several seeds, also one that is still going.

    Raises:
        RefusedError: when it is none, or its ``config.json`` is torn, or names no seeds.
    """
    folder = GroupFolder(path)
    config = folder.read_config()
    notes: list[str] = []
    runs = {}
    present = folder.seeds()
    for seed in folder.members(config):
        if seed not in present:
            notes.append(f"Seed {seed} was left out: its folder is missing")
            continue
        try:
            runs[seed] = read_run(folder.member(seed).root)
        except HeredityError as error:
            notes.append(f"Seed {seed} was left out: {getattr(error, 'problem', error)}")
            continue
        notes += [f"Seed {seed}: {note}" for note in runs[seed].notes]
    return Group(folder, config, runs, notes)


def group_lead(group: Group) -> str:
    """One line under the name: what was trained where, with which seeds, and when."""
    environment = group.config.get("environment")
    named = environment.get("id") if isinstance(environment, dict) else None
    seeds = list(group.runs)
    parts = [f"<b>{escape(named)}</b>"] if named else []
    if algorithm := group.config.get("algorithm"):
        parts.append(f"<b>{escape(algorithm_text(str(algorithm)))}</b>")
    if seeds:
        parts.append(f"<b>{len(seeds)} seeds</b>, {seeds[0]} to {seeds[-1]}, in one program")
    if created := group.config.get("created"):
        parts.append(f"started {escape(time_text(created).split(',')[0])}")
    return " &nbsp;·&nbsp; ".join(parts)


def evaluated(run: Run) -> Curve | None:
    """Steps and mean returns of a run's evaluations; None without any."""
    if (results := run.evaluations.get("results")) is None:
        return None
    return run.evaluations["timesteps"], evaluated_spread(results)[0]


def together(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray]:
    """Curves of several seeds at the steps that all of them have.

    Returns:
        Steps (E,) and values (K, E).

    Example:
        >>> a = np.array([10, 20, 30]), np.array([1.0, 2.0, 3.0])
        >>> b = np.array([10, 30]), np.array([5.0, 7.0])
        >>> [part.tolist() for part in together([a, b])]
        [[10, 30], [[1.0, 3.0], [5.0, 7.0]]]
    """
    common = sorted(set.intersection(*(set(steps.tolist()) for steps, _ in curves)))
    steps = np.array(common)
    rows = []
    for own, values in curves:
        at = {step: index for index, step in enumerate(own.tolist())}
        rows.append([values[at[step]] for step in common])
    return steps, np.array(rows, np.float64).reshape(len(curves), len(common))


def _interval_at_end(group: Group) -> tuple[Interval, int] | None:
    """The mean return over seeds at the last evaluation of all of them, and its step."""
    curves = [curve for run in group.runs.values() if (curve := evaluated(run)) is not None]
    if not curves or len(curves) < len(group.runs):
        return None
    steps, values = together(curves)
    if not len(steps):
        return None
    return mean_interval(values[:, -1]), int(steps[-1])


def group_figures(group: Group) -> str:
    """The few numbers that the report begins with."""
    done = min((sections.steps_done(run) for run in group.runs.values()), default=0)
    planned = number(group.config.get("total_timesteps"))
    plan = f"of each seed, of {steps_text(planned)} planned" if planned else "of each seed"
    items = [("Steps", steps_text(done), plan)]
    last = _interval_at_end(group)
    if last is not None:
        interval, step = last
        items.append(
            ("Mean return", value_text(interval.mean), f"of all seeds at {steps_text(step)} steps")
        )
        if interval.size > 1:
            span = f"{value_text(interval.low)} to {value_text(interval.high)}"
            items.append(("95 % interval", span, "t interval of that mean"))
    cells = [
        f"<div><dt>{escape(t)}</dt><dd>{escape(v)}<small>{escape(s)}</small></dd></div>"
        for t, v, s in items
    ]
    return "".join(cells)


def _metric(run: Run, name: str) -> Curve | None:
    values, steps = run.metrics.get(name), run.metrics.get(STEPS)
    if values is None or steps is None:
        return None
    known = np.isfinite(steps)
    return steps[known], values[known]


def group_charts(group: Group) -> list[Chart]:
    """Return, episode length, then every other value that all seeds logged."""
    wanted: list[tuple[str, str, Callable[[Run], Curve | None], bool]] = [
        ("Mean return of evaluations", "", evaluated, True),
        ("Return", "rollout/ep_rew_mean", _of("rollout/ep_rew_mean"), False),
        ("Episode length", "rollout/ep_len_mean", _of("rollout/ep_len_mean"), False),
    ]
    logged = {name: None for run in group.runs.values() for name in run.metrics}
    for name, (title, detail) in metric_titles(logged).items():
        whose = " of each seed" if name == "time/fps" else ""
        said = " · ".join(part for part in (name, detail + whose) if part)
        wanted.append((title, said, _of(name), False))
    most = max((sections.steps_done(run) for run in group.runs.values()), default=1)
    charts = []
    for title, detail, get, wide in wanted:
        curves = {seed: curve for seed, run in group.runs.items() if (curve := get(run))}
        if not curves or len(curves) < len(group.runs):
            continue
        steps, values = together(list(curves.values()))
        if not np.isfinite(values).any():
            continue
        if any(name in detail for name in CONSTANT) and not varies(values):
            continue
        charts.append(_chart(title, detail, steps, values, list(curves), max(1, most), wide))
    return charts


def _of(name: str) -> Callable[[Run], Curve | None]:
    return lambda run: _metric(run, name)


def _chart(
    title: str,
    detail: str,
    steps: np.ndarray,
    values: np.ndarray,
    seeds: Sequence[int],
    most: int,
    wide: bool,
) -> Chart:
    """Each seed thin, their mean thick, and the interval of the mean shaded.

    Args:
        title: What it shows.
        detail: A few more words.
        steps: (E,).
        values: (K, E).
        seeds: K of them.
        most: Steps at which the axis ends.
        wide: Whether it takes the whole width.
    """
    known = np.flatnonzero(np.isfinite(values).any(axis=0))
    known = known[evenly(len(known), MOST_POINTS)]
    steps, values = steps[known], values[:, known]
    intervals = [mean_interval(column) for column in values.T]
    mean, low, high = np.array([interval[:3] for interval in intervals]).T
    x = plain_numbers_exact(steps)
    quiet = {} if wide and len(seeds) <= MOST_NAMED else {"hoverinfo": "skip"}
    traces = []
    for seed, row in zip(seeds, values, strict=True):
        thin = {"color": "@c1", "width": 1}
        traces.append(
            line(x, plain_numbers(row), f"seed {seed}", "@c1", opacity=0.45, showlegend=False)
            | {"line": thin, **quiet}
        )
    if np.isfinite(low).any():
        traces += band(x, low, high, "@c0-soft")
    mode = "lines+markers" if wide and len(x) <= 60 else "lines"
    span = [f"{value_text(i.low)} to {value_text(i.high)}" if i.size > 1 else "" for i in intervals]
    traces.append(
        line(x, plain_numbers(mean), "mean", "@c0", mode=mode)
        | {"marker": {"size": 5}, "customdata": span}
        | {"hovertemplate": "%{y:,.4~g} (%{customdata})"}
    )
    layout = base_layout(xaxis=steps_axis(most))
    return Chart(title, detail, {"data": traces, "layout": layout}, wide)


def seeds_html(group: Group, links: Mapping[int, str]) -> str:
    """The table of the seeds.

    Args:
        group: The seeds.
        links: Where the report of each is found.
    """
    rows = []
    lasts = {seed: _last_score(run) for seed, run in group.runs.items()}
    means = [score.mean for score in lasts.values() if score is not None]
    low, high = (min(means), max(means)) if means else (0.0, 0.0)
    for seed, run in group.runs.items():
        last, best = lasts[seed], sections.best_evaluation(run)
        bar = sections.bar_html(last.mean, low, high) if last else ""
        reached = (
            f"{score_text(best[0])} at {steps_text(best[1])}"
            if best is not None
            else "not evaluated"
        )
        rows.append(
            f"<tr><td>seed {seed}</td><td class=n>{sections.steps_done(run):,}</td>"
            f"<td class=n>{escape(score_text(last))}</td><td>{bar}</td>"
            f"<td class=n>{escape(reached)}</td>"
            f"<td class=n>{len(run.snapshots):,}</td>"
            f'<td><a href="{escape(links[seed])}">Report of this seed</a></td></tr>'
        )
    if not rows:
        return ""
    heads = (
        "<th>Seed<th class=n>Steps<th class=n>Last evaluation<th><th class=n>Best evaluation"
        "<th class=n>Snapshots<th>"
    )
    return (
        f'<div class="card scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _last_score(run: Run) -> Score | None:
    results = run.evaluations.get("results")
    if results is None:
        return None
    means, stds, counts = evaluated_spread(results)
    if not np.isfinite(means[-1]):
        return None
    return Score(float(means[-1]), float(stds[-1]), int(counts[-1]))
