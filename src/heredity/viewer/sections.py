"""The parts of the report that stand in the page as HTML. Every string of a file is escaped."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from heredity.common.words import counted, in_words
from heredity.viewer.charts import Chart, evaluated_spread
from heredity.viewer.formatting import (
    algorithm_text,
    mean_text,
    score_text,
    spread_text,
    steps_text,
    time_text,
)
from heredity.viewer.lineage import NOTED, Node, Row, family, rows_of
from heredity.viewer.markup import escape, hash_html
from heredity.viewer.reading import Run, Score, Snapshot, number, short_hash
from heredity.viewer.templates import fill, page_file

ROW_HEIGHT = 34
LANE_WIDTH = 22
LANE_COLORS = 8
# Deeper nesting than a person reads, and than a page should recurse into.
DEEPEST_SETTINGS = 6


def best_snapshot(run: Run) -> Snapshot | None:
    """The snapshot with the highest mean return; None if none was evaluated."""
    scored = [s for s in run.snapshots if s.score is not None]
    return max(scored, key=lambda s: s.score.mean if s.score else 0.0, default=None)


def best_evaluation(run: Run) -> tuple[Score, int] | None:
    """The highest mean return of all evaluations, and at which step; None without any."""
    results = run.evaluations.get("results")
    if results is None:
        return None
    means, stds, counts = evaluated_spread(results)
    if not np.isfinite(means).any():
        return None
    at = int(np.nanargmax(means))
    score = Score(float(means[at]), float(stds[at]), int(counts[at]))
    return score, int(run.evaluations["timesteps"][at])


def steps_done(run: Run) -> int:
    """The most steps that anything in the run folder speaks of."""
    logged = run.metrics.get("time/total_timesteps", np.zeros(0))
    evaluated = run.evaluations.get("timesteps", np.zeros(0))
    seen = [s.step for s in run.snapshots]
    seen += [int(np.nanmax(a)) for a in (logged, evaluated) if np.isfinite(a).any()]
    return max(seen, default=0)


def lead(run: Run) -> str:
    """One line under the name: what was trained where, and when."""
    parts = []
    if run.environment:
        parts.append(f"<b>{escape(run.environment)}</b>")
    if algorithm := run.config.get("algorithm"):
        parts.append(f"<b>{escape(algorithm_text(str(algorithm)))}</b>")
    if (seed := run.config.get("seed")) is not None:
        parts.append(f"seed {escape(seed)}")
    if run_id := run.config.get("run_id"):
        parts.append(f"run {escape(run_id)}")
    if created := run.config.get("created"):
        parts.append(f"started {escape(time_text(created).split(',')[0])}")
    return " &nbsp;·&nbsp; ".join(parts)


def figures(run: Run, shown: int) -> str:
    """The few numbers that the report begins with."""
    done, planned = steps_done(run), number(run.config.get("total_timesteps"))
    plan = f"of {steps_text(planned)} planned" if planned else ""
    if planned and steps_text(done) != steps_text(planned) and done > planned:
        plan += ", in whole iterations"
    items = [("Steps", steps_text(done), plan)]
    best = best_snapshot(run)
    candidates = [(s.score, s.step) for s in run.snapshots if s.score is not None]
    if (evaluated := best_evaluation(run)) is not None:
        candidates.append(evaluated)
    if candidates:
        score, step = max(candidates, key=lambda c: c[0].mean)
        at = f"{steps_text(step)} {'step' if step == 1 else 'steps'}"
        told = f"{spread_text(score)} at {at}".strip()
        items.append(("Best score", mean_text(score), told))
    if run.snapshots:
        last = run.snapshots[-1]
        if last.score is not None:
            items.append(("Last score", mean_text(last.score), spread_text(last.score)))
        total = len(run.snapshots)
        items.append(("Snapshots", f"{total:,}", f"{shown:,} shown" if shown < total else ""))
    cells = [
        f"<div><dt>{escape(t)}</dt><dd>{escape(v)}<small>{escape(s)}</small></dd></div>"
        for t, v, s in items
    ]
    named = best or (run.snapshots[-1] if run.snapshots else None)
    if named is not None and named.policy_hash:
        title = "Best policy" if best else "Last policy"
        where = escape(f"snapshot at {steps_text(named.step)}")
        cells.append(
            f"<div><dt>{title}</dt><dd>{hash_html(named.policy_hash)}<small>{where}</small></dd></div>"
        )
    return "".join(cells)


def notes_html(notes: Sequence[str]) -> str:
    """What was left out, open to be seen."""
    if not notes:
        return ""
    what = "One thing was" if len(notes) == 1 else f"{len(notes)} things were"
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return (
        f'<details class="card notes" open><summary>{what} left out of this report</summary>'
        f"<ul>{listed}</ul></details>"
    )


def timeline_html(shown: int, total: int) -> str:
    """The frame of the timeline; the page's script fills it."""
    if not shown:
        return (
            '<section class="card timeline" id="timeline"><div class="screen" id="screen">'
            '<div class="empty">There is no snapshot yet. '
            "Write the report again when training has made one.</div></div></section>"
        )
    several = counted(total, "snapshot")
    count = f"{shown:,} of {several}" if shown < total else several
    return fill(page_file("timeline.html"), {"last": shown - 1, "count": count})


def part(title: str, detail: str, content: str) -> str:
    """A section with its heading; nothing if it is empty."""
    if not content:
        return ""
    small = f"<small>{escape(detail)}</small>" if detail else ""
    return f'<section class="part"><h2>{escape(title)}{small}</h2>{content}</section>'


def charts_html(charts: Sequence[Chart], first: int) -> str:
    """Empty frames that the page's script draws figures into, numbered from `first`."""
    frames = [
        f'<article class="card chart{_breadth(chart)}"><h3>{escape(chart.title)}</h3>'
        f"<p>{escape(chart.detail)}</p>"
        f'<div class="plot" id="chart-{first + index}"{_height(chart)}></div></article>'
        for index, chart in enumerate(charts)
    ]
    return f'<div class="charts">{"".join(frames)}</div>' if frames else ""


def _height(chart: Chart) -> str:
    return f' style="height:{chart.height}px"' if chart.height else ""


def _breadth(chart: Chart) -> str:
    return " wide" if chart.wide else " half" if chart.half else ""


def snapshots_html(run: Run, shown: Mapping[int, int]) -> str:
    """The table of all snapshots.

    Args:
        run: The run.
        shown: Position on the timeline by step, of those that are there.
    """
    if not run.snapshots:
        return ""
    best = best_snapshot(run)
    means = [s.score.mean for s in run.snapshots if s.score is not None]
    low, high = (min(means), max(means)) if means else (0.0, 0.0)
    rows = []
    for snapshot in run.snapshots:
        score = snapshot.score
        bar = bar_html(score.mean, low, high) if score else ""
        episodes = f"{score.episodes:,}" if score and score.episodes is not None else "—"
        length = f"{score.length:,.0f}" if score and score.length is not None else "—"
        mark = '<span class="tag">best</span>' if snapshot is best else ""
        at = shown.get(snapshot.step)
        button = f'<button data-show="{at}">Show</button>' if at is not None else ""
        rows.append(
            f"<tr{' class=best' if snapshot is best else ''}><td class=n>{snapshot.step:,}</td>"
            f"<td class=n>{escape(score_text(score))}</td><td>{bar}</td>"
            f"<td class=n>{episodes}</td><td class=n>{length}</td>"
            f"<td>{hash_html(snapshot.policy_hash)}{mark}</td><td class=n>{button}</td></tr>"
        )
    heads = "<th class=n>Step<th class=n>Return<th><th class=n>Episodes<th class=n>Mean length"
    return (
        f'<div class="card scroll"><table><thead><tr>{heads}<th>Policy<th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def bar_html(value: float, low: float, high: float) -> str:
    """A bar from zero to a value, as long beside the others as it is large.

    Args:
        value: From `low` to `high`.
        low: The lowest of all values.
        high: The highest.

    Example:
        >>> bar_html(30.0, 20.0, 40.0)
        '<span class="bar"><i style="margin-left:0.0%;width:75.0%"></i></span>'
    """
    low, high = min(low, 0.0), max(high, 0.0)
    span = (high - low) or 1.0
    start, length = (min(value, 0.0) - low) / span, abs(value) / span
    style = f"margin-left:{100 * start:.1f}%;width:{100 * length:.1f}%"
    return f'<span class="bar"><i style="{style}"></i></span>'


def lineage_html(run: Run, shown: Sequence[Snapshot]) -> str:
    """The family tree of the shown snapshots and the newest checkpoint."""
    rows = rows_of(family([*(s.lineage for s in shown), run.checkpoint_lineage]))
    if not rows:
        return ""
    lanes = 1 + max(row.lane for row in rows)
    indent = 18 + lanes * LANE_WIDTH + 12
    items = []
    for row in rows:
        node = row.node
        folded = f" (after {node.folded:,} more)" if node.folded else ""
        lost = (
            f", from {short_hash(node.lost_parent)} which was not recorded"
            if node.lost_parent
            else ""
        )
        score = escape(score_text(node.score)) if node.score else ""
        told = f"run {node.run}" + "".join(
            f", {k.replace('_', ' ')} {in_words(v)}"
            for k, v in node.arguments.items()
            if k != "report"
        )
        items.append(
            f'<li style="padding-left:{indent}px" title="{escape(told)}">'
            f'<span class="what">{escape(node.operation)}</span>'
            f'<span class="step">{escape(steps_text(node.step))} steps{escape(folded)}</span>'
            f'<span class="score">{score}</span><span>{hash_html(node.hash)}{escape(lost)}</span>'
            f'<span class="when">{escape(time_text(node.time))}</span></li>'
        )
    return (
        f'<div class="card scroll"><div class="tree">{_tree_drawing(rows, lanes)}'
        f"<ul>{''.join(items)}</ul></div></div>"
    )


def _tree_drawing(rows: Sequence[Row], lanes: int) -> str:
    def place(index: int) -> tuple[float, float]:
        return LANE_WIDTH * (rows[index].lane + 0.5), ROW_HEIGHT * (index + 0.5)

    lines, dots = [], []
    for index, row in enumerate(rows):
        x, y = place(index)
        color = f"var(--c{row.lane % LANE_COLORS})"
        if row.parent >= 0:
            px, py = place(row.parent)
            turn = min(LANE_WIDTH, abs(x - px))
            trunk = f"var(--c{rows[row.parent].lane % LANE_COLORS})"
            down = y - turn if x > px else y
            lines.append(f'<path d="M{px:g} {py:g}V{down:g}" style="stroke:{trunk}"/>')
            if x > px:
                bend = f"M{px:g} {down:g}Q{px:g} {y:g} {px + turn:g} {y:g}H{x:g}"
                lines.append(f'<path d="{bend}" style="stroke:{color}"/>')
        radius = 5 if _is_noted(row.node) else 7
        dots.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius}" style="fill:{color}"/>')
    width, height = LANE_WIDTH * lanes, ROW_HEIGHT * len(rows)
    return (
        f'<svg width="{width}" height="{height}" aria-hidden="true">{"".join(lines)}'
        f"{''.join(dots)}</svg>"
    )


def _is_noted(node: Node) -> bool:
    return node.operation in NOTED


def settings_html(config: Mapping[str, Any]) -> str:
    """Everything that the run was started with, as nested tables."""
    plain = {k: v for k, v in config.items() if not isinstance(v, dict) and k != "schema_version"}
    groups = {"Overview": plain} | {k: v for k, v in config.items() if isinstance(v, dict) and v}
    cards = [
        f'<article class="card settings"><h3>{escape(str(name).capitalize())}</h3>'
        f"{_table(group, 1)}</article>"
        for name, group in groups.items()
        if group
    ]
    return f'<div class="columns">{"".join(cards)}</div>' if cards else ""


def _table(value: Mapping[str, Any], depth: int) -> str:
    rows = []
    for key, item in value.items():
        if isinstance(item, dict) and item and depth < DEEPEST_SETTINGS:
            rows.append(f"<tr><td>{escape(key)}<td>{_table(item, depth + 1)}</tr>")
        else:
            rows.append(f"<tr><td>{escape(key)}<td>{escape(_plain(item))}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _plain(value: Any) -> str:
    if isinstance(value, dict | list):
        if isinstance(value, dict) or any(isinstance(item, dict | list) for item in value):
            return in_words(value)
        return ", ".join(_plain(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def version() -> str:
    """The version of heredity that wrote the page; empty when it is not installed."""
    try:
        return importlib.metadata.version("heredity")
    except importlib.metadata.PackageNotFoundError:
        return ""
