"""Every Python block of the README and of docs/ runs, page by page, from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)(?P<words>[^\n`]*)$")


def python_blocks(text: str) -> list[tuple[int, str]]:
    """The line number and source of each ```python block; those marked `notest` are left out.

    A block stands on the line it has in the page, so that a traceback points there. An indented
    block (in a list or a tab) loses its indentation.
    """
    blocks: list[tuple[int, str]] = []
    lines = text.splitlines()
    start = None
    fence: re.Match[str] | None = None
    for number, line in enumerate(lines, start=1):
        if fence is None:
            if match := FENCE.match(line):
                fence, start = match, number
        elif line.strip() == "```":
            assert start is not None
            if fence["language"] == "python" and "notest" not in fence["words"].split():
                indent = len(fence["indent"])
                source = "\n".join(row[indent:] for row in lines[start : number - 1])
                blocks.append((start + 1, source))
            fence = None
    assert fence is None, f"the block that opens on line {start} is never closed"
    return blocks


RUNNABLE = [page for page in PAGES if python_blocks(page.read_text(encoding="utf-8"))]


def test_the_pages_that_teach_have_blocks_to_run():
    names = {page.name for page in RUNNABLE}
    assert {"README.md", "quickstart.md", "concepts.md", "environments.md"} <= names


def test_blocks_are_found_where_they_stand():
    text = "a\n```python\nx = 1\n```\n```bash\nls\n```\n- b\n  ```python\n  y = 2\n  ```\n"
    text += "```python notest\nraise\n```\n"
    assert python_blocks(text) == [(3, "x = 1"), (10, "y = 2")]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The blocks of one page share their names, as they do for somebody who reads along."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for line, source in python_blocks(page.read_text(encoding="utf-8")):
        # Empty lines put the block where it stands in the page.
        code = compile("\n" * (line - 1) + source, str(page), "exec")
        exec(code, names)
