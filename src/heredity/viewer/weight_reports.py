"""What operations did to the weights of a run's policies, as tables of the report page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from heredity.common.weight_words import (
    HEADS,
    array_in_words,
    guarantee_in_words,
    measurement_in_words,
    origin_in_words,
    summary_in_words,
)
from heredity.viewer.formatting import steps_text
from heredity.viewer.markup import escape, hash_html
from heredity.viewer.reading import number

MOST_ROWS = 400  # of one operation; a large network has thousands of leaves


def weight_reports_html(lineages: Iterable[Sequence[dict[str, Any]]]) -> str:
    """Every operation that a lineage has a weight report of, each once, to be opened.

    Args:
        lineages: The entries of each policy.
    """
    found: dict[tuple[str, str], str] = {}
    for entries in lineages:
        for entry in entries:
            arguments = entry.get("arguments")
            report = arguments.get("report") if isinstance(arguments, dict) else None
            key = str(entry.get("operation")), str(entry.get("hash"))
            if isinstance(report, dict) and key not in found:
                found[key] = _operation_html(entry, report)
    return "".join(found.values())


def _operation_html(entry: dict[str, Any], report: dict[str, Any]) -> str:
    rows = [row for row in _listed(report.get("rows")) if isinstance(row, dict)]
    told = [
        f"<li>{escape(_measurement(each))}</li>" for each in _listed(report.get("measurements"))
    ]
    told += [f"<li>{escape(note)}</li>" for note in _listed(report.get("notes"))]
    if len(rows) > MOST_ROWS:
        told.append(f"<li>{len(rows) - MOST_ROWS:,} more arrays are in the policy's lineage</li>")
    cells = [_cells(row) for row in rows[:MOST_ROWS]]
    # As in a terminal: what tells nothing is no column.
    shown = [column for column in range(len(HEADS)) if any(row[column] for row in cells)]
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(row[column])}' for column in shown)}</tr>" for row in cells
    )
    heads = "".join(f"<th>{HEADS[column].capitalize()}" for column in shown)
    step = number(entry.get("step"))
    at = f" at {steps_text(step)} steps" if step else ""
    operation = escape(str(entry.get("operation")))
    done = escape(_summary(report, rows))
    made = hash_html(str(entry.get("hash") or ""))
    return (
        f'<details class="card operation"><summary><b>{operation}</b>{at}: {done} · {made}'
        "</summary>"
        f"<ul>{''.join(told)}</ul>"
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
        "</div></details>"
    )


def _summary(report: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    counts = report.get("counts")
    known = counts.items() if isinstance(counts, dict) else ()
    done = {str(name): int(count) for name, found in known if (count := number(found)) is not None}
    total = sum(math.prod(_shape(row.get("shape")) or (0,)) for row in rows)
    # What has no source, such as to unfreeze, covers nothing.
    share = number(report.get("coverage")) or None
    guarantee = f"guarantee: {_guarantee(report.get('guarantee'))}"
    return summary_in_words(done or {"arrays": len(rows)}, total, share, guarantee)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    path, source = str(row.get("path", "")), row.get("source")
    after, before = (
        array_in_words(str(row.get(f"{of}dtype") or ""), _shape(row.get(f"{of}shape")))
        for of in ("", "source_")
    )
    return (
        path,
        str(row.get("action", "")),
        after,
        origin_in_words(path, after, None if source is None else str(source), before),
        _guarantee(row["guarantee"]) if row.get("guarantee") else "",
        str(row.get("note", "")),
    )


def _guarantee(value: Any) -> str:
    if not isinstance(value, dict):
        return "not told"
    return guarantee_in_words(
        str(value.get("kind")), number(value.get("bound")), str(value.get("of") or "")
    )


def _measurement(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    what, on = str(value.get("what")), str(value.get("on"))
    allowed = value.get("allowed")
    limit = None if allowed is None else _any_number(allowed)
    return measurement_in_words(what, _any_number(value.get("value")), on, limit)


def _any_number(value: Any) -> float:
    """A number, also one that is not finite, which JSON has as text; NaN for everything else."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _shape(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, list) or not all(isinstance(size, int) for size in value):
        return None
    return tuple(value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
