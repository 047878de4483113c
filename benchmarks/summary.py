"""What the README says of speed: short rows, made from the same numbers as the full tables."""

from __future__ import annotations

import re

from cells import (
    AIMS,
    DREAMER_AIMS,
    NOT_MEASURED,
    PREDICT_AIM,
    SNAPSHOT_AIM,
    Found,
    Row,
    number,
    table,
    times_as_fast,
)
from comparisons import FEWEST, verdict, welch
from problems import PROBLEMS, Problem

# What a title says beside the environment, and what is the same in most rows.
_USUAL = re.compile(r", (\d+ environments|one agent)\b| in one program")
_LEARNT = {"better": "more", "worse": "less"}
_NO_DIFFERENCE = "no difference seen"
_TOO_FEW = "–"


def overview(found: Found) -> str:
    """One row for each peer on each problem, and for what is measured otherwise.

    What a row shares with the one above it is not said again. An aim is told of where it is missed.
    """
    rows: list[Row] = [("training with PPO", "heredity", "compared with", "", "faster", "learnt")]
    for problem in PROBLEMS.values():
        if problem.name in found:
            rows += _compared(problem, found[problem.name])
    if "seeds" in found:
        one = found["seeds"]
        rows.append(
            (
                f"gymnax CartPole, {one['seeds']} seeds at once",
                f"{one['together_steps_per_second']:,.0f}/s",
                "one after another",
                f"{one['alone_steps_per_second']:,.0f}/s",
                _faster(one["speed_up"], None, 1.0),
                "",
            )
        )
    return f"{table(*rows, right=(1, 3))}\n{_otherwise(found)}\n{_measured(found)}"


def _otherwise(found: Found) -> str:
    """What is no training, in sentences."""
    lines = []
    if "predict" in found:
        ours, peer, ratio = (found["predict"].get(name) for name in ("ours", "peer", "ratio"))
        beside = NOT_MEASURED
        if peer:
            missed = "" if ratio <= PREDICT_AIM else f", short of {1 / PREDICT_AIM:.0f}×"
            beside = f"{1 / ratio:.0f}× as fast as {peer['library']}, {peer['microseconds']:.0f} µs"
            beside += missed
        lines.append(
            f"- `predict` for one observation of CartPole takes {ours['microseconds']:.0f} µs "
            f"({beside})."
        )
    if "dreamer" in found:
        lines += _dreamt(found["dreamer"]["cases"])
    if "vit-load" in found:
        ours, peer = found["vit-load"]["ours"], found["vit-load"]["peer"]
        beside = NOT_MEASURED
        if peer:
            beside = f"{peer['library']}'s load_state_dict: {peer['seconds']:.2f} s and "
            beside += f"{peer['megabytes']:,.0f} MiB"
        lines.append(
            f"- Reading a ViT-B's file of {found['vit-load']['file_megabytes']:,.0f} MiB into "
            f"weights that are there, checking and reporting it, takes {ours['seconds']:.2f} s, "
            f"{ours['hashed_seconds']:.2f} s with its SHA-256, and {ours['megabytes']:,.0f} MiB "
            f"({beside})."
        )
    if "snapshots" in found:
        kept = found["snapshots"]
        share, scoring = kept["cost_share"], kept["evaluation_seconds"] / kept["wall_seconds"]
        missed = (
            "" if share < SNAPSHOT_AIM else f", more than the {SNAPSHOT_AIM * 100:.0f} % aimed at"
        )
        lines.append(
            f"- Keeping a snapshot at every 1 % of a run on brax ant takes {share * 100:.2f} % of "
            f"the time{missed}; scoring each, over 10 episodes, took {scoring * 100:.0f} % of it."
        )
    return "".join(f"{line}\n" for line in lines)


def _dreamt(cases: Found) -> list[str]:
    """DreamerV3 beside the official code, in one sentence for gradient steps and one for acting."""
    lines = []
    for what, named in (("update", "a gradient step of DreamerV3"), ("acting", "acting with it")):
        told = []
        for case in cases.values():
            ours, ratio = case[what]["ours"], case[what].get("ratio")
            beside = NOT_MEASURED if ratio is None else f"{ratio:.2f}× the official code's time"
            if ratio is not None and case[what]["peer"]["dtype"] != ours["dtype"]:
                beside += f" in {case[what]['peer']['dtype']}"
            if ratio is not None and ratio > DREAMER_AIMS[what]:
                beside += f", short of {DREAMER_AIMS[what]:g}×"
            milliseconds = number(ours["median_ms"])
            told.append(f"{milliseconds} ms at {case['told']} ({ours['dtype']}, {beside})")
        lines.append(f"- {named[0].upper()}{named[1:]} takes {'; '.join(told)}.")
    return lines


def _measured(found: Found) -> str:
    """On what and when, in one sentence."""
    records = list(found.values())
    where = [record["machine"] for record in records]
    machines = {f"{one['cores']} cores of {one['processor']}, {one['system']}" for one in where}
    versions = {
        f"Python {record['versions']['python']}, JAX {record['versions']['jax']}"
        for record in records
        if "versions" in record
    }
    days = sorted({record["measured"][:10] for record in records})
    parts = [*sorted(machines), "no accelerator", *sorted(versions)]
    return f"Measured on {', '.join(parts)}, {' to '.join(days[:: len(days) - 1 or 1])}.\n"


def _compared(problem: Problem, record: Found) -> list[Row]:
    """A row for each peer: end to end where everything is on the host, else the steady rate."""
    end_to_end = problem.environment.startswith("gym/")
    contestants = record["contestants"]
    ours = contestants["ours"]
    work = _USUAL.sub("", problem.title)
    if end_to_end:
        work += f", {ours['steps'] / 1e6:.1f} M steps"

    def speed(name: str) -> str:
        one = contestants[name]
        return f"{one['seconds']:.0f} s" if end_to_end else f"{one['steps_per_second']:,.0f}/s"

    beside = []
    for name, ratio in record["ratios"].items():
        times = times_as_fast(ratio, end_to_end)
        beside.append(
            (
                _short(contestants[name]["library"]),
                speed(name),
                _faster(times["median"], (times["low"], times["high"]), AIMS[name]),
                _learnt(record, name),
            )
        )
    beside += [(name, "failed", "", "") for name in record["failed"]]
    first, *others = beside or [(NOT_MEASURED, "", "", "")]
    return [(work, speed("ours"), *first), *(("", "", *other) for other in others)]


def _short(library: str) -> str:
    """The name of a library alone; its version stands in the full table.

    Example:
        >>> _short("brax 0.14.2 ppo.train"), _short("PureJaxRL-style loop")
        ('brax', 'PureJaxRL-style')
    """
    return library.partition(" ")[0]


def _faster(middle: float, between: tuple[float, float] | None, aim: float) -> str:
    """How many times as fast, between which if that is known, and the aim where it is missed."""
    spread = ""
    if between is not None:
        low, high = between
        spread = " (one run)" if low == high else f" ({low:.2f}–{high:.2f})"
    missed = "" if middle >= aim else f", short of {aim:g}×"
    return f"**{middle:.2f}×**{spread}{missed}"


def _learnt(record: Found, name: str) -> str:
    """Whether ours learnt more or less than the peer in as many steps; a dash for too few runs.

    Seeds that were trained for it count before the few runs that were timed.
    """
    seeds = record.get("over_seeds", {})
    if min(len(seeds.get(one, ())) for one in ("ours", name)) >= FEWEST:
        ours, theirs = seeds["ours"], seeds[name]
    else:
        ours, theirs = (record["contestants"][one]["final_returns"] for one in ("ours", name))
    fewest = min(len(ours), len(theirs))
    if fewest < FEWEST:
        return _TOO_FEW
    _, low, high = welch(ours, theirs)
    return f"{_LEARNT.get(verdict(low, high), _NO_DIFFERENCE)} ({fewest})"


def ant(found: Found) -> str:
    """How fast the run at the top of the README learns: the number of the table, in a sentence."""
    if "brax-ant" not in found:
        return ""
    record = found["brax-ant"]
    speed = f"{record['contestants']['ours']['steps_per_second']:,.0f} steps/s"
    return (
        "With this network and batch size `make bench` measured "
        f"{speed} on {record['machine']['cores']} CPU cores (brax ant,\n"
        "below), not counting compiling, evaluations and snapshots.\n"
    )
