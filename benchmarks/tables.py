"""The tables of README.md and docs/performance.md, from the JSON files in results/ alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from problems import PROBLEMS, Problem

# What stands between marks in a file, by the name in the marks.
REGION = r"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
Found = Mapping[str, Any]


def render(results: Path, root: Path) -> Iterator[Path]:
    """Write the tables into the files below `root`; gives those that have marks for them."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    regions = {
        "benchmarks": overview(found),
        "benchmark-details": details(found),
        "benchmark-starts": starts(found),
        "benchmark-profile": profiles(found),
        "benchmark-changes": changes(found),
    }
    for path in (root / "README.md", root / "docs" / "performance.md"):
        text = path.read_text(encoding="utf-8")
        for name, rows in regions.items():
            marks = re.compile(REGION.format(name=name), re.DOTALL)
            text = marks.sub(lambda old, rows=rows: old[1] + rows + old[2], text)
        path.write_text(text, encoding="utf-8")
        yield path


def rows_of(*rows: tuple[str, ...]) -> str:
    """A table in Markdown; the first row is its head."""
    head, *others = rows
    lines = [head, ("---",) * len(head), *others]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines).replace("|  |", "| |")


# --- README ----------------------------------------------------------------------------------


def overview(found: Found) -> str:
    """One row for each peer on each problem, and for what is measured otherwise."""
    rows = [("work", "heredity", "beside it", "ratio")]
    for problem in PROBLEMS.values():
        if problem.name in found and not problem.extra:
            rows += compared(problem, found[problem.name])
    if "predict" in found:
        ours, peer = found["predict"]["ours"], found["predict"]["peer"]
        rows.append(
            (
                "`predict` of one CartPole observation, 2 x 64 units",
                f"{ours['microseconds']:.0f} µs",
                f"{peer['library']}: {peer['microseconds']:.0f} µs" if peer else "not measured",
                f"{found['predict']['ratio']:.2f}x its time" if peer else "",
            )
        )
    if "snapshots" in found:
        kept = found["snapshots"]
        rows.append(
            (
                "a snapshot every 1 % of the steps, brax/ant, "
                f"{kept['learning_seconds']:.0f} s of learning",
                f"{kept['cost_share'] * 100:.2f} % of the wall time, evaluation apart",
                "no snapshots",
                "",
            )
        )
    return rows_of(*rows)


def compared(problem: Problem, record: Found) -> list[tuple[str, ...]]:
    """A row for each peer: end to end where everything is on the host, else the steady rate."""
    from_start_to_end = problem.environment.startswith("gym/")
    contestants = record["contestants"]
    ours = contestants["ours"]
    steps = f"{ours['steps']:,} steps"

    def cell(one: Found) -> str:
        reached = f"return {number(one['final_return'])}"
        if from_start_to_end:
            return f"{one['seconds']:.0f} s, {reached}"
        return f"{one['steps_per_second']:,.0f} steps/s, {reached}"

    work = f"PPO, {problem.title}"
    work += f", {steps} from start to end" if from_start_to_end else ""
    peers = [name for name in contestants if name != "ours"]
    if not peers:
        return [(work, cell(ours), "not measured", "")]
    rows = []
    for name in peers:
        measured = record["ratios"][name]["seconds" if from_start_to_end else "steps_per_second"]
        ratio = {k: 1 / v for k, v in measured.items()} if from_start_to_end else measured
        low, high = sorted((ratio["low"], ratio["high"]))
        spread = f" ({low:.2f} to {high:.2f})" if record["rounds"] > 1 else ""
        peer = contestants[name]
        rows.append(
            (
                work,
                cell(ours),
                f"{peer['library']}: {cell(peer)}",
                f"{ratio['median']:.2f}x its speed{spread}",
            )
        )
    return rows


def number(value: float) -> str:
    """As many digits as say something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


# --- docs/performance.md ---------------------------------------------------------------------


def details(found: Found) -> str:
    """One row for each contestant on each problem."""
    rows = [
        (
            "problem",
            "library",
            "steps/s",
            "start",
            "compiling",
            "in all",
            "to its return",
            "return",
            "memory",
        )
    ]
    for problem in PROBLEMS.values():
        if problem.name not in found:
            continue
        record = found[problem.name]
        for one in record["contestants"].values():
            reached = one["seconds_to_return"]
            rows.append(
                (
                    problem.title,
                    one["library"],
                    f"{one['steps_per_second']:,.0f}",
                    f"{one['startup_seconds']:.1f} s",
                    f"{one['compile_seconds']:.1f} s",
                    f"{one['seconds']:.0f} s",
                    "–" if reached is None else f"{reached:.0f} s",
                    number(one["final_return"]),
                    f"{one['peak_mib']:,.0f} MiB",
                )
            )
        again = record["ours_with_kept_programs"]
        rows.append(
            (
                problem.title,
                "heredity, programs kept from before",
                f"{again['steps_per_second']:,.0f}",
                f"{again['startup_seconds']:.1f} s",
                f"{again['compile_seconds']:.1f} s",
                f"{again['seconds']:.0f} s",
                "",
                "",
                f"{again['peak_mib']:,.0f} MiB",
            )
        )
    return rows_of(*rows)


def starts(found: Found) -> str:
    """How long imports take."""
    rows = [("what", "seconds")]
    for name, seconds in found.get("start", {"seconds": {}})["seconds"].items():
        rows.append((f"`{name}`", f"{seconds:.2f}"))
    return rows_of(*rows)


def profiles(found: Found) -> str:
    """Where the time of an iteration goes."""
    rows = [("problem", "iteration", "acting and environment", "environment alone", "learning")]
    for one in found.get("profile", {"problems": []})["problems"]:
        whole = one["iteration"]

        def cell(name: str, one: Found = one, whole: float = whole) -> str:
            return f"{one[name] * 1e3:,.2f} ms ({one[name] / whole * 100:.0f} %)"

        rows.append(
            (
                PROBLEMS[one["problem"]].title,
                f"{whole * 1e3:,.2f} ms",
                cell("acting"),
                cell("environment"),
                cell("learning"),
            )
        )
    return rows_of(*rows)


def changes(found: Found) -> str:
    """What each change gave."""
    rows = [("change", "problem", "before", "after", "times as fast")]
    for one in found.get("changes", {"changes": []})["changes"]:
        rows.append(
            (
                one["change"],
                PROBLEMS[one["problem"]].title,
                duration(one["before_seconds"]),
                duration(one["after_seconds"]),
                f"{one['ratio']:.1f}",
            )
        )
    return rows_of(*rows)


def duration(seconds: float) -> str:
    """In the unit that fits."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"
