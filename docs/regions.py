"""Parts of pages that are generated, between marks such as ``<!-- presets -->``.

What is written between a pair of marks is replaced; the rest of the page is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

DOCS = Path(__file__).resolve().parent


def filled(text: str, name: str, content: str) -> str:
    r"""A page with its region of that name as it should be.

    Raises:
        ValueError: when the page does not have exactly one such region.

    Example:
        >>> filled("<!-- x -->\nold\n<!-- /x -->", "x", "new")
        '<!-- x -->\n\nnew\n\n<!-- /x -->'
    """
    region = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    found, count = region.subn(lambda old: f"{old[1]}\n{content}\n\n{old[2]}", text)
    if count != 1:
        raise ValueError(f"{count} regions <!-- {name} --> … <!-- /{name} -->: one was expected")
    return found


def table(head: Iterable[str], rows: Iterable[Iterable[str]], right: Iterable[int] = ()) -> str:
    r"""A Markdown table.

    Args:
        head: Titles of the columns.
        rows: Cells, row by row.
        right: Numbers of the columns that are aligned on the right.

    Example:
        >>> print(table(["a", "b"], [["1", "x|y"]], right=[0]))
        | a | b |
        | ---: | --- |
        | 1 | x\|y |
    """
    titles = list(head)
    aligned = ["---:" if column in set(right) else "---" for column in range(len(titles))]
    lines = [titles, aligned, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(page: Path, text: str) -> None:
    """Write a page, and say so."""
    page.write_text(text, encoding="utf-8")
    print(f"Rendered: {page}")
