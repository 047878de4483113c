"""A weight report as people read it: a table, and what holds below it."""

from __future__ import annotations

import io
import shutil
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from heredity.common.weight_words import HEADS
from heredity.weights.report import WeightReport

WIDE = 160

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
    """What rich prints of a report; columns that tell nothing are left out."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = [row.in_words() for row in report.rows]
    shown = [i for i in range(len(HEADS)) if i < _ALWAYS or any(row[i] for row in rows)]
    for column in shown:
        table.add_column(HEADS[column], overflow="fold")
    for row in rows:
        colour = _COLOURS.get(row[_ACTION], "")
        table.add_row(*(Text(row[i], colour if i == _ACTION else "") for i in shown))
    told = [Text(report.summary(), "bold")]
    told += [
        Text(str(each), "bold red" if each.holds is False else "") for each in report.measurements
    ]
    told += [Text(note) for note in report.notes]
    return Group(table, *told)


_ACTION, _ALWAYS = 1, 4


def as_text(report: WeightReport, width: int | None = None) -> str:
    """The table without colours.

    Args:
        report: What is told.
        width: In columns; default: as wide as the terminal, and `WIDE` where there is none.
    """
    written = io.StringIO()
    width = width or shutil.get_terminal_size((WIDE, 0)).columns
    Console(file=written, width=width, color_system=None).print(as_table(report))
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())
