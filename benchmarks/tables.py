"""The tables of README.md and docs/performance.md, from the JSON files in results/ alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import dreamer_tables
import summary
from cells import (
    AIMS,
    NOT_MEASURED,
    PREDICT_AIM,
    SNAPSHOT_AIM,
    Found,
    Row,
    aim,
    commit_of,
    duration,
    mean_told,
    number,
    table,
    times_as_fast,
)
from comparisons import FEWEST, difference
from heredity.common.intervals import mean_interval
from problems import PROBLEMS, Problem
from profile_checks import contradiction

# What stands between marks in a file, by the name in the marks.
REGION = r"(<!-- {name} -->\n).*?(<!-- /{name} -->)"


def render(results: Path, root: Path) -> list[Path]:
    """Write the tables into the files below `root`; gives those files."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    for name in found.keys() & PROBLEMS.keys():
        record = found[name]
        record["over_seeds"] = over_seeds(record, results / "returns" / f"{name}.json")
    regions = {
        "benchmarks": summary.overview(found),
        "benchmark-ant": summary.ant(found),
        "benchmark-details": f"{beside_peers(found)}\n{COSTS}\n{details(found)}",
        "benchmark-returns": returns(found),
        "benchmark-starts": starts(found),
        "benchmark-profile": profiles(found),
        "benchmark-changes": changes(found),
        "benchmark-dreamer": dreamer_tables.by_precision(found),
        "benchmark-machine": machine(found),
    }
    written = []
    for path in (root / "README.md", root / "docs" / "performance.md"):
        text = path.read_text(encoding="utf-8")
        for name, rows in regions.items():
            marks = re.compile(REGION.format(name=name), re.DOTALL)
            text = marks.sub(lambda old, rows=rows: old[1] + rows + old[2], text)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def over_seeds(record: Found, path: Path) -> dict[str, list[float]]:
    """Returns by contestant, where `returns.py` recorded several seeds of the same settings.

    Args:
        record: Of the problem, with the settings that its speeds were measured with.
        path: What is recorded of returns.

    Returns:
        The mean return of each seed.
    """
    known = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    settings = json.loads(json.dumps(record["problem"]["settings"]))
    found = {}
    for name, runs in known["runs"].items():
        if len(runs) > 1 and all(run["settings"] == settings for run in runs):
            found[name] = [sum(run["returns"]) / len(run["returns"]) for run in runs]
    return found


# --- beside the peers ------------------------------------------------------------------------

COSTS = "What each of them took:\n"


def beside_peers(found: Found) -> str:
    """One row for each peer on each problem, and for what is measured otherwise."""
    rows: list[Row] = [("work", "heredity", "beside it", "ours by theirs", "aim")]
    for problem in PROBLEMS.values():
        if problem.name in found:
            rows += compared(problem, found[problem.name])
    if "seeds" in found:
        one = found["seeds"]
        rows.append(
            (
                f"{one['seeds']} seeds in one program, gymnax CartPole, "
                f"{one['environments']} environments each",
                f"{one['together_steps_per_second']:,.0f} steps/s",
                f"{one['seeds']} runs one after another: "
                f"{one['alone_steps_per_second']:,.0f} steps/s",
                f"{one['speed_up']:.2f}x its speed",
                aim("≥ 1x", one["speed_up"] >= 1),
            )
        )
    if "predict" in found:
        ours, peer = found["predict"]["ours"], found["predict"]["peer"]
        beside = f"{peer['library']}: {peer['microseconds']:.0f} µs" if peer else NOT_MEASURED
        rows.append(
            (
                "`predict` of one CartPole observation, 2 x 64 units",
                f"{ours['microseconds']:.0f} µs",
                beside,
                f"{found['predict']['ratio']:.2f}x its time" if peer else "",
                aim(f"≤ {PREDICT_AIM}x", not peer or found["predict"]["ratio"] <= PREDICT_AIM),
            )
        )
    if "imported" in found:
        rows += [
            _imported(case["told"], what, case[what], found["imported"])
            for case in found["imported"]["cases"].values()
            for what in ("one", "batch")
        ]
    if "dreamer" in found:
        rows += [
            dreamer_tables.row(case["told"], what, case[what])
            for case in found["dreamer"]["cases"].values()
            for what in ("update", "acting")
        ]
    if "vit-load" in found:
        one = found["vit-load"]
        ours, peer = one["ours"], one["peer"]
        beside = NOT_MEASURED
        if peer:
            beside = f"{peer['library']}: {peer['seconds']:.2f} s, {peer['megabytes']:,.0f} MiB "
            beside += f"(`assign=True`, which reads later: {peer['assigned_seconds']:.2f} s)"
        rows.append(
            (
                f"a ViT-B's file of {one['file_megabytes']:,.0f} MiB into weights that are there",
                f"{ours['seconds']:.2f} s ({ours['hashed_seconds']:.2f} s with the SHA-256), "
                f"{ours['megabytes']:,.0f} MiB",
                beside,
                f"{one['ratio']:.2f}x its time" if peer else "",
                "",
            )
        )
    if "features" in found:
        one = found["features"]
        rows.append(
            (
                f"PPO iteration around a frozen ViT of {one['parameters'] / 1e6:.1f} M parameters, "
                f"{one['tokens']} tokens, {one['epochs']} epochs",
                f"{one['kept_seconds']:.2f} s",
                f"features computed again: {one['again_seconds']:.2f} s",
                f"{one['speed_up']:.2f}x as fast",
                aim("≥ 1x", one["speed_up"] >= 1),
            )
        )
    if "snapshots" in found:
        kept = found["snapshots"]
        minutes = kept["learning_seconds"] / kept["snapshots"] * 100 / 60
        rows.append(
            (
                f"a snapshot at every 1 % of a run on brax ant of {minutes:.0f} minutes",
                f"{kept['cost_share'] * 100:.2f} % of the time, evaluation apart",
                "no snapshots",
                "",
                aim(f"< {SNAPSHOT_AIM * 100:.0f} %", kept["cost_share"] < SNAPSHOT_AIM),
            )
        )
    if "replay" in found:
        kept, last = found["replay"], found["replay"]["rows"][-1]
        rows.append(
            (
                f"memory of a replay of {kept['capacity']:,} pictures and states (size12m), full",
                f"{kept['most_gibibytes']:.2f} GiB, {last['files_gibibytes']:.1f} in files",
                f"a budget of {kept['budget_gibibytes']:g} GiB",
                "",
                aim("within it", kept["most_gibibytes"] < kept["budget_gibibytes"]),
            )
        )
    return table(*rows)


def _imported(told: str, what: str, times: Found, record: Found) -> Row:
    """A row of `predict` of a policy that was imported."""
    seen = "one observation" if what == "one" else f"{record['batch']} observations"
    beside, ratio = NOT_MEASURED, ""
    if times["peer"] is not None:
        threads = f"{times['peer_threads']} thread{'s' if times['peer_threads'] > 1 else ''}"
        library = record["libraries"][str(times["peer_threads"])]
        beside = f"{library} ({threads}): {times['peer']:,.0f} µs"
        ratio = f"{times['ratio']:.2f}x its time"
    return (
        f"`predict` of an imported {told}: {seen}",
        f"{times['ours']:,.0f} µs",
        beside,
        ratio,
        "",
    )


def compared(problem: Problem, record: Found) -> list[Row]:
    """A row for each peer: end to end where everything is on the host, else the steady rate."""
    end_to_end = problem.environment.startswith("gym/")
    contestants = record["contestants"]
    ours = contestants["ours"]
    work = f"PPO, {problem.title}"
    work += f", {ours['steps']:,} steps from start to end" if end_to_end else ""

    def cell(name: str) -> str:
        one = contestants[name]
        speed = f"{one['seconds']:.0f} s" if end_to_end else f"{one['steps_per_second']:,.0f}/s"
        runs = one["final_returns"]
        told = f"{number(one['final_return'])} ({len(runs)} run{'s' if len(runs) > 1 else ''})"
        if seeds := record.get("over_seeds", {}).get(name):
            told = f"{mean_told(seeds)} over {len(seeds)} seeds"
        return f"{speed}, return {told}"

    rows = []
    for name, ratio in record["ratios"].items():
        times, spread = times_as_fast(ratio, end_to_end), ""
        if record["rounds"] > 1:
            spread = f" ({times['low']:.2f}–{times['high']:.2f})"
        peer = contestants[name]
        rows.append(
            (
                work,
                cell("ours"),
                f"{peer['library']}: {cell(name)}",
                f"{times['median']:.2f}x its speed{spread}",
                aim(f"≥ {AIMS[name]}x", times["median"] >= AIMS[name]),
            )
        )
    rows += [(work, cell("ours"), f"{name}: failed", "", "") for name in record["failed"]]
    return rows or [(work, cell("ours"), NOT_MEASURED, "", "")]


def details(found: Found) -> str:
    """One row for each contestant on each problem."""
    names = ("problem", "library", "steps/s", "by CPU time", "start", "compiling", "programs")
    rows: list[Row] = [(*names, "in all", "memory")]
    for problem in PROBLEMS.values():
        if problem.name not in found:
            continue
        record = found[problem.name]
        for one in record["contestants"].values():
            rows.append((problem.title, one["library"], *_costs(one)))
        if (again := record["ours_with_kept_programs"]) is not None:
            rows.append((problem.title, "heredity, programs kept from before", *_costs(again)))
        for name, why in record["failed"].items():
            rows.append((problem.title, name, f"failed: {why.splitlines()[0]}", *[""] * 6))
    return table(*rows)


def _costs(one: Found) -> Row:
    return (
        f"{one['steps_per_second']:,.0f}",
        f"{one['steps_per_cpu_second']:,.0f}",
        f"{one['startup_seconds']:.1f} s",
        f"{one['compile_seconds']:.1f} s",
        "–" if one["programs"] is None else f"{one['programs']:.0f}",
        f"{one['seconds']:.0f} s",
        f"{one['peak_mib']:,.0f} MiB",
    )


def returns(found: Found) -> str:
    """What was learnt: one row for each contestant on each problem."""
    names = ("problem", "library", "steps", "runs", "return", "each run", "ours less theirs")
    rows: list[Row] = [(*names, "solved at", "after")]
    for problem in PROBLEMS.values():
        if problem.name not in found:
            continue
        record = found[problem.name]
        trained = {name: one["final_returns"] for name, one in record["contestants"].items()}
        trained |= record.get("over_seeds", {})
        for name, one in record["contestants"].items():
            each, ours = trained[name], trained["ours"]
            interval = mean_interval(each)
            spread = f" ± {number(interval.half)}" if len(each) >= FEWEST else ""
            rows.append(
                (
                    problem.title,
                    one["library"],
                    f"{one['steps']:,}",
                    str(len(each)),
                    number(interval.mean) + spread,
                    ", ".join(number(value) for value in each),
                    "" if name == "ours" else difference(ours, each),
                    number(problem.threshold),
                    duration(one["seconds_to_return"]),
                )
            )
    return table(*rows)


def starts(found: Found) -> str:
    """How long imports take."""
    rows: list[Row] = [("what", "seconds")]
    for name, seconds in found.get("start", {"seconds": {}})["seconds"].items():
        rows.append((f"`{name}`", f"{seconds:.2f}"))
    return table(*rows)


_PARTS = ("acting", "environment", "learning")  # of an iteration


def profiles(found: Found) -> str:
    """Where the time of an iteration goes, and what comes beside iterations."""
    names = ("problem", "iteration", "rollout", "environment in it", "update", "call from Python")
    rows: list[Row] = [(*names, "compiling", "an evaluation")]
    for one in found.get("profile", {"problems": []})["problems"]:
        title = PROBLEMS[one["problem"]].title
        # Not only while measuring: a record from before there was the check is looked at as well.
        if (why := contradiction(one)) is not None:
            rows.append((title, f"failed: {why}", *[""] * 6))
            continue
        shares = one.get("shares") or {name: one[name] / one["iteration"] for name in _PARTS}
        parts = [f"{duration(one[name])} ({shares[name] * 100:.0f} %)" for name in _PARTS]
        rows.append(
            (
                title,
                duration(one["iteration"]),
                *parts,
                duration(one["dispatch"]),
                f"{duration(one['compile_seconds'])}, {one['programs']} programs",
                f"{duration(one['evaluation'])}, {one['evaluation_steps']:,} steps",
            )
        )
    return table(*rows)


def changes(found: Found) -> str:
    """What each change gave."""
    rows: list[Row] = [("change", "problem", "what", "without", "with", "times as fast")]
    for one in found.get("changes", {"changes": []})["changes"]:
        rows.append(
            (
                one["change"],
                PROBLEMS[one["problem"]].title,
                one["what"],
                duration(one["before_seconds"]),
                duration(one["after_seconds"]),
                f"{one['ratio']:.2f}",
            )
        )
    for problem in PROBLEMS.values():
        record = found.get(problem.name, {})
        if (again := record.get("ours_with_kept_programs")) is not None:
            before, after = record["runs"]["ours"][0]["compile_seconds"], again["compile_seconds"]
            rows.append(
                (
                    "compiled programs are kept",
                    problem.title,
                    "compiling",
                    duration(before),
                    duration(after),
                    f"{before / after:.2f}" if after > 0 else "–",
                )
            )
    return table(*rows)


def machine(found: Found) -> str:
    """What it was measured on, by when."""
    days: dict[tuple[str, str, str], list[str]] = {}
    for name, record in found.items():
        where = record["machine"]
        what = f"{where['processor']}, {where['cores']} cores, {where['system']}"
        loads = days.setdefault((record["measured"][:10], what, commit_of(record)), [])
        loads.append(f"{name} {where['load_before']:.1f}" if "load_before" in where else name)
    rows: list[Row] = [("day", "machine", "heredity at", "rows, and the load before each")]
    rows += [(*place, ", ".join(loads)) for place, loads in sorted(days.items())]
    return table(*rows)
