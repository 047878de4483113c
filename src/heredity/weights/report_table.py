"""A weight report as people read it: a table, and what holds below it."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from heredity.weights.report import WeightReport, WeightRow

_COLOURS = {
    "kept": "dim",
    "frozen": "cyan",
    "initialised": "yellow",
    "grown": "yellow",
    "shrunk": "yellow",
    "grown and shrunk": "yellow",
    "folded": "yellow",
    "resized": "yellow",
    "dropped": "red",
}


def as_table(report: WeightReport) -> Any:
    """What rich prints of a report."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    has_guarantees = any(row.guarantee for row in report.rows)
    for name in ("path", "action", "shape", "from", *(("guarantee",) if has_guarantees else ())):
        table.add_column(name, overflow="fold")
    if any(row.note for row in report.rows):
        table.add_column("note", overflow="fold")
    for row in report.rows:
        cells = [row.path, Text(row.action, _COLOURS.get(row.action, "")), _after(row), _from(row)]
        if has_guarantees:
            cells.append("" if row.guarantee is None else str(row.guarantee))
        table.add_row(*cells, *((row.note,) if len(table.columns) > len(cells) else ()))
    told = [Text(report.summary(), "bold")]
    told += [Text(str(each), "" if each.holds else "bold red") for each in report.measurements]
    told += [Text(note) for note in report.notes]
    return Group(table, *told)


def as_text(report: WeightReport, width: int = 120) -> str:
    """The table without colours."""
    written = io.StringIO()
    Console(file=written, width=width, color_system=None).print(as_table(report))
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def _array(dtype: str, shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else f"{dtype}{list(shape)}"


def _after(row: WeightRow) -> str:
    return _array(row.dtype, row.shape)


def _from(row: WeightRow) -> str:
    """The source, as far as it differs from the result."""
    before = _array(row.source_dtype, row.source_shape)
    before = "" if before == _after(row) else before
    name = "" if row.source in (None, row.path) else row.source
    return " ".join(part for part in (name, before) if part)
