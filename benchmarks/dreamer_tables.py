"""The tables of DreamerV3 beside the official code."""

from __future__ import annotations

import statistics

from cells import DREAMER_AIMS, NOT_MEASURED, Found, Row, aim, number, table


def row(told: str, what: str, times: Found) -> Row:
    """A gradient step, or acting, each side in what is faster for it."""
    seen = "a gradient step, 16 x 64" if what == "update" else "acting in 16 environments"
    ours, beside, ratio = times["ours"], NOT_MEASURED, ""
    aimed = DREAMER_AIMS[what]
    if "peer" in times:
        peer = times["peer"]
        beside = f"the official code: {number(peer['median_ms'])} ms ({peer['dtype']})"
        ratio = f"{times['ratio']:.2f}x its time"
    return (
        f"DreamerV3 {told}: {seen}",
        f"{number(ours['median_ms'])} ms ({ours['dtype']})",
        beside,
        ratio,
        aim(f"≤ {aimed}x", not ratio or times["ratio"] <= aimed),
    )


def by_precision(found: Found) -> str:
    """Both sides in the same precision, medians over their runs, with their memory."""
    of_dtype = ("gradient step", "official", "ours by theirs", "acting", "official")
    memory = ("memory", "official")
    rows: list[Row] = [("work", "computed in", *of_dtype, *memory)]
    cases = found["dreamer"]["cases"] if "dreamer" in found else {}
    for case in cases.values():
        for dtype in ("float32", "bfloat16"):
            runs = {
                who: [run for run in case["runs"].get(who, []) if run["dtype"] == dtype]
                for who in ("ours", "peer")
            }
            updates, acting = (
                {who: _median(of, what) for who, of in runs.items()}
                for what in ("update", "acting")
            )
            ratio = f"{updates['ours'] / updates['peer']:.2f}x" if all(runs.values()) else ""
            rows.append(
                (
                    case["told"],
                    dtype,
                    *(_milliseconds(updates[who]) for who in runs),
                    ratio,
                    *(_milliseconds(acting[who]) for who in runs),
                    *(_gibibytes(of) for of in runs.values()),
                )
            )
    return table(*rows)


def _median(runs: list[Found], what: str) -> float:
    return statistics.median([run[what]["median_ms"] for run in runs] or [0.0])


def _milliseconds(found: float) -> str:
    return f"{number(found)} ms" if found else "–"


def _gibibytes(runs: list[Found]) -> str:
    return f"{max(run['largest_megabytes'] for run in runs) / 1024:.1f} GiB" if runs else "–"
