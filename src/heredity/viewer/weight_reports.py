"""What operations did to the weights of a run's policies, as tables of the report page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from heredity.common.words import counted
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
        told.append(f"<li>{len(rows) - MOST_ROWS:,} more leaves are in the policy's lineage</li>")
    body = "".join(_row_html(row) for row in rows[:MOST_ROWS])
    heads = "".join(
        f"<th>{name}" for name in ("Path", "Action", "Shape", "From", "Guarantee", "Note")
    )
    step = number(entry.get("step"))
    at = f" at {steps_text(step)} steps" if step else ""
    operation = escape(str(entry.get("operation")))
    done = escape(_summary(report, len(rows)))
    made = hash_html(str(entry.get("hash") or ""))
    return (
        f'<details class="card operation"><summary><b>{operation}</b>{at}: {done} · {made}'
        "</summary>"
        f"<ul>{''.join(told)}</ul>"
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
        "</div></details>"
    )


def _summary(report: dict[str, Any], rows: int) -> str:
    counts = report.get("counts")
    done = counts.items() if isinstance(counts, dict) else ()
    parts = [f"{count} {action}" for action, count in done] or [counted(rows, "leaf")]
    coverage = number(report.get("coverage"))
    if coverage:  # what has no source, such as to unfreeze, covers nothing
        parts.append(f"{coverage:.1%} from the source")
    return f"{', '.join(parts)}; guarantee: {_guarantee(report.get('guarantee'))}"


def _row_html(row: dict[str, Any]) -> str:
    after = _array(row.get("dtype"), row.get("shape"))
    before = _array(row.get("source_dtype"), row.get("source_shape"))
    source = row.get("source")
    origin = "" if source in (None, row.get("path")) else str(source)
    origin = " ".join(part for part in (origin, "" if before == after else before) if part)
    cells = (
        str(row.get("path", "")),
        str(row.get("action", "")),
        after,
        origin,
        _guarantee(row["guarantee"]) if row.get("guarantee") else "",
        str(row.get("note", "")),
    )
    return f"<tr>{''.join(f'<td>{escape(cell)}' for cell in cells)}</tr>"


def _guarantee(value: Any) -> str:
    if not isinstance(value, dict):
        return "not told"
    kind = str(value.get("kind"))
    if kind == "bounded":
        bound = number(value.get("bound"))
        of = f" of {value['of']}" if value.get("of") else ""
        return "bounded" if bound is None else f"bounded({bound:.3g}{of})"
    return "exact up to rounding" if kind == "rounding" else kind


def _measurement(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    measured, allowed = number(value.get("value")), number(value.get("allowed"))
    told = f"{value.get('what')}: {value.get('value') if measured is None else f'{measured:.3g}'}"
    told += f" on {value.get('on')}"
    return told + (f" (allowed {allowed:.3g})" if allowed is not None else "")


def _array(dtype: Any, shape: Any) -> str:
    return f"{dtype or ''}{shape}" if isinstance(shape, list) else ""


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
