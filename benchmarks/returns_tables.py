"""The tables and curves of docs/returns.md, from the JSON files in results/returns/ alone."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import comparisons
from cells import FEWEST_FOR_INTERVAL, Row, commit_of, mean_told, table
from return_problems import RETURN_PROBLEMS, ReturnProblem

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "returns.md"
NAMES = {"ours": "heredity", "sb3": "stable-baselines3", "brax": "brax"}
LEGEND = {**NAMES, "published": "published"}
COLOURS = {"ours": "#00897b", "sb3": "#c0602d", "brax": "#c0602d", "published": "#777"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 62, 12, 34, 40

REGION = re.compile(r"(<!-- returns -->\n).*?(<!-- /returns -->)", re.DOTALL)

Runs = Sequence[Mapping[str, Any]]


def render(results: Path, page: Path = PAGE) -> None:
    """Write the tables into the page and the curves beside it."""
    parts, everything = [], []
    for problem in RETURN_PROBLEMS.values():
        path = results / f"{problem.name}.json"
        if path.exists():
            runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
            kept = {name: runs[name] for name in NAMES if runs.get(name)}
            if not kept:  # seeds taken out, to be trained anew
                continue
            picture = page.parent / "pictures" / f"returns-{problem.name}.svg"
            picture.parent.mkdir(exist_ok=True)
            picture.write_text(drawn(problem, kept), encoding="utf-8")
            parts.append(section(problem, kept))
            everything.append(kept)
    text = page.read_text(encoding="utf-8")
    rendered = "\n".join([*notes(everything), *parts])
    text = REGION.sub(lambda old: f"{old[1]}\n{rendered}\n{old[2]}", text)
    page.write_text(text, encoding="utf-8")


def score(run: Mapping[str, Any]) -> float:
    """Mean return of the last policy of one seed."""
    return sum(run["returns"]) / len(run["returns"])


def digits(value: float) -> int:
    """How many digits after the point a return has: some where it is small."""
    return 0 if abs(value) >= 20 else 3


def told(value: float) -> str:
    """A return as people read it."""
    return f"{value:,.{digits(value)}f}"


def notes(everything: Sequence[Mapping[str, Runs]]) -> list[str]:
    """What has to be known to read the tables, as far as it comes up in them.

    Args:
        everything: The seeds of each problem, by who was trained.
    """
    of_ours = [run for found in everything for run in found.get("ours", ())]
    sizes = [len(runs) for found in everything for runs in found.values()]
    told_of = []
    if any(1 < size < FEWEST_FOR_INTERVAL for size in sizes):
        told_of.append(
            f"Of fewer than {FEWEST_FOR_INTERVAL} seeds the lowest and the highest stand beside "
            "the mean: an interval would say nothing."
        )
    if any(run.get("source") is None for run in of_ours):
        told_of.append("— under *trained by*: before commits were recorded.")
    return [" ".join(told_of) + "\n"] if told_of else []


def section(problem: ReturnProblem, found: Mapping[str, Runs]) -> str:
    """Heading, table and picture of one problem."""
    names = ("", "return, mean over seeds", "seeds", "each of them", "processor time a seed")
    rows: list[Row] = [(*names, "trained by")]
    for name, runs in found.items():
        scores = [score(run) for run in runs]
        seconds = [run["cpu_seconds"] / run.get("together", 1) for run in runs]
        steps = {run["steps"] for run in runs}
        rows.append(
            (
                f"{runs[0]['library']}, {min(steps):,} steps",
                mean_told(scores, digits),
                str(len(scores)),
                ", ".join(told(value) for value in scores),
                f"{sum(seconds) / len(seconds):,.0f} s",
                trained_by(runs) if name == "ours" else "its release",
            )
        )
    published = f"To compare: {problem.published}.\n\n" if problem.published else ""
    return (
        f"### {problem.title}\n\n{table(*rows)}\n{published}{verdict(found)}"
        f"![Returns of {curve_of(problem)}](pictures/returns-{problem.name}.svg)\n"
    )


def trained_by(runs: Runs) -> str:
    """The commits of some seeds of ours.

    Example:
        >>> of = {"commit": "0123456789", "clean": True, "package": "89"}
        >>> trained_by([{"source": of}] * 2 + [{}])
        '0123456 (2), — (1)'
    """
    counted: dict[str, int] = {}
    for run in runs:
        words = commit_of(run)
        counted[words] = counted.get(words, 0) + 1
    if len(counted) == 1:
        return next(iter(counted))
    return ", ".join(f"{words} ({count})" for words, count in counted.items())


def curve_of(problem: ReturnProblem) -> str:
    """What the curves show the returns of."""
    return "evaluations" if problem.settings else "training episodes"


def verdict(found: Mapping[str, Runs]) -> str:
    """Whether ours is as good as the peer, as far as the seeds can tell (Welch 1947)."""
    samples = [[score(run) for run in found[name]] for name in NAMES if name in found]
    if len(samples) != 2 or any(len(sample) < comparisons.FEWEST for sample in samples):
        return ""
    ours, peer = samples
    difference, low, high = comparisons.welch(ours, peer)
    return (
        f"heredity less the peer: {difference:+,.0f}, 95 % interval {low:+,.0f} to {high:+,.0f}: "
        f"{comparisons.verdict(low, high)}.\n\n"
    )


# --- curves ----------------------------------------------------------------------------------


def drawn(problem: ReturnProblem, found: Mapping[str, Runs]) -> str:
    """Returns over steps as an SVG: a line for each seed, legend by name."""
    curves = {name: distinct(runs) for name, runs in found.items()}
    if problem.published_curve:
        curves["published"] = [list(problem.published_curve)]
    points = [point for lines in curves.values() for line in lines for point in line]
    most = max((step for step, _ in points), default=1)
    low = min(0.0, *(value for _, value in points)) if points else 0.0
    high = max((value for _, value in points), default=1.0) or 1.0

    def across(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / most

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / ((high - low) or 1.0)

    grey = 'fill="#777" font-family="sans-serif" font-size="12"'
    title = f"{problem.title}: return of {curve_of(problem)}"
    parts = [f'<text x="{LEFT}" y="18" {grey}>{title}</text>']
    for value in ticks(low, high):
        y = up(value)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8884"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" {grey}>{value:,g}</text>'
        )
    for share in (0, 0.5, 1):
        parts.append(
            f'<text x="{across(share * most):.1f}" y="{HEIGHT - BOTTOM + 16}" '
            f'text-anchor="{"end" if share == 1 else "middle"}" {grey}>{share * most:,.0f}</text>'
        )
    for row, (name, lines) in enumerate(curves.items()):
        x, y = LEFT + 150 * row, HEIGHT - 8
        parts.append(
            f'<rect x="{x}" y="{y - 8}" width="14" height="4" fill="{COLOURS[name]}"/>'
            f'<text x="{x + 20}" y="{y}" {grey}>{LEGEND[name]}</text>'
        )
        for line in lines:
            path = " ".join(f"{across(step):.1f},{up(value):.1f}" for step, value in line)
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="{COLOURS[name]}" '
                'stroke-width="1.5" stroke-opacity="0.75"/>'
            )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">'
    return "\n".join((head, *parts, "</svg>\n"))


def distinct(runs: Runs) -> list[list[tuple[float, float]]]:
    """The curves; seeds that were trained together share the one of their mean."""
    lines = [[(float(step), float(value)) for step, value in run["curve"]] for run in runs]
    return [line for line, _ in itertools.groupby(lines)]


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers between two.

    Example:
        >>> ticks(0, 1000)
        [0, 200, 400, 600, 800, 1000]
    """
    rough = (high - low) / 5 or 1.0
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]
