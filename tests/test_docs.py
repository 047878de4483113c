"""Every Python block of the README and of docs/ runs, and every command there is understood."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import gymnasium
import pytest

from heredity.cli import launching
from heredity.cli.main import COMMANDS, run_command
from heredity.common.errors import HeredityError
from heredity.training import processes, session

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


@pytest.fixture(autouse=True)
def unregistered() -> Iterator[None]:
    """What a page registers with Gymnasium is gone after its test, or the next would be warned."""
    yield
    gymnasium.registry.pop("Corridor-v0", None)


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


def commands(text: str) -> list[tuple[int, list[str]]]:
    """The line number and words of each ``heredity`` command in the ```bash blocks of a page."""
    found: list[tuple[int, list[str]]] = []
    language, joined = "", ""
    for number, line in enumerate(text.splitlines(), start=1):
        if match := FENCE.match(line):
            language = "" if language else match["language"] or "text"
        elif language == "bash":
            joined += line
            if joined.endswith("\\"):
                joined = joined[:-1]
                continue
            words = shlex.split(joined, comments=True)
            joined = ""
            if words and words[0] == "heredity":
                found.append((number, words[1:]))
    return found


def modules(text: str) -> dict[str, str]:
    """The files that a page tells to write: blocks of which it said 'here in `name.py`:'."""
    lines = text.splitlines()
    found = {}
    for start, source in python_blocks(text):
        before = " ".join(lines[max(start - 6, 0) : start - 2])
        if named := re.findall(r"here[^.]*?`(\w+)\.py`", before):
            found[named[-1]] = source
    return found


def test_commands_are_found_where_they_stand():
    text = "```bash\npip install x\nheredity envs \\\n  atari   # all\n```\n`heredity view`\n"
    assert commands(text) == [(4, ["envs", "atari"])]


class Understood(Exception):
    """A command got as far as its work."""


WITH_COMMANDS = [page for page in PAGES if commands(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_understood(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Its words are parsed, and what it would train in is made; then it stops."""
    text = page.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, source in modules(text).items():
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)

    def begin(*_: object, **__: object) -> None:
        raise Understood

    def parse_only(module: ModuleType) -> None:
        parse = module.parse

        def parsed(*arguments: object, **more: object) -> None:
            parse(*arguments, **more)
            raise Understood

        monkeypatch.setattr(module, "parse", parsed)

    monkeypatch.setattr(session, "begin_run", begin)
    monkeypatch.setattr(processes, "join", lambda *_: None)  # nobody else is there
    monkeypatch.setattr(launching, "launch", begin)
    for verb in ("resume", "evaluate", "inspect", "lineage", "view"):
        parse_only(importlib.import_module(COMMANDS[verb][0]))
    for line, words in commands(text):
        try:
            assert run_command(words) == 0, f"{page.name}, line {line}"
        except Understood:
            continue
        except SystemExit as left:
            assert left.code in (0, None), f"{page.name}, line {line}: {capsys.readouterr()}"
        except HeredityError as error:
            pytest.fail(f"{page.name}, line {line}: {error}")
