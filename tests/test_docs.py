"""Every Python block of the README and of docs/ runs, and every command there is understood.

What pages list (presets, metrics, settings of others) is what there is.
"""

from __future__ import annotations

import csv
import dataclasses
import doctest
import importlib
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import gymnasium
import pytest

from heredity.algorithms.ppo.elsewhere import RENAMED, our_way
from heredity.algorithms.ppo.presets import presets
from heredity.cli import launching, train
from heredity.cli.main import COMMANDS, run_command
from heredity.common.errors import HeredityError
from heredity.environments import registry
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
def unregistered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a page registers is gone after its test, or the next would be warned."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    yield
    for name in ("Askew-v0", "Corridor-v0"):
        gymnasium.registry.pop(name, None)


RUNNABLE = [page for page in PAGES if python_blocks(page.read_text(encoding="utf-8"))]


def test_the_pages_that_teach_have_blocks_to_run():
    names = {page.name for page in RUNNABLE}
    assert {"README.md", "quickstart.md", "concepts.md", "environments.md"} <= names


def test_blocks_are_found_where_they_stand():
    text = "a\n```python\nx = 1\n```\n```bash\nls\n```\n- b\n  ```python\n  y = 2\n  ```\n"
    text += "```python notest\nraise\n```\n"
    assert python_blocks(text) == [(3, "x = 1"), (10, "y = 2")]


def rows_of(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of a page, without its head."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    lines = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


def named(cell: str) -> list[str]:
    """What stands in code in a cell of a table."""
    return re.findall(r"`([^`]+)`", cell)


def metrics_are_named(folder: Path) -> None:
    """What the run of the page has logged stands in its table, and hardly anything else."""
    with (folder / "runs" / "probe" / "metrics.csv").open() as stream:
        columns = set(next(csv.reader(stream)))
    known = {name for cell, _ in rows_of("logging.md", "The names") for name in named(cell)}
    assert columns <= known
    # These come up under conditions of their own.
    assert known - columns <= {
        "environment/<name>",
        "environment/restarts",
        "eval/mean_ep_length",
        "eval/mean_reward",
        "processes/losses",
        "train/std",
    }


AFTERWARDS = {"logging.md": metrics_are_named}


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
    if check := AFTERWARDS.get(page.name):
        check(tmp_path)


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
    monkeypatch.setattr(train, "_start", lambda *_: None)  # of a policy that is not there
    monkeypatch.setattr(processes, "join", lambda *_: None)  # nobody else is there
    monkeypatch.setattr(launching, "launch", begin)
    for verb in (
        "resume",
        "evaluate",
        "inspect",
        "lineage",
        "diff",
        "transfer",
        "view",
        "import",
        "imagine",
    ):
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


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a script of docs/ as it runs there: what stands beside it can be imported."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module


@pytest.mark.parametrize("name", ["preset_tables", "regions", "setting_tables"])
def test_examples_in_the_scripts_of_the_pages_are_right(
    name: str, script: Callable[[str], ModuleType]
):
    failed, attempted = doctest.testmod(script(name))
    assert attempted and not failed


def test_the_page_of_presets_has_them_all_as_they_are(script: Callable[[str], ModuleType]):
    module = script("preset_tables")
    text = module.PAGE.read_text(encoding="utf-8")
    seeds = module.recorded()
    for name, preset in presets().items():
        assert f"\n### {name}\n" in text
        assert module.reached(preset, seeds), f"{name} has never been trained"
    assert module.rendered(text) == text, "stale: run `python docs/preset_tables.py`"
    options = {"num_envs": 8, "normalize_rewards": False, "network": {"hidden": [64, 64]}}
    assert list(module.command_line(options)) == [
        "--num-envs 8",
        "--no-normalize-rewards",
        "--network.hidden 64 64",
    ]


def test_tables_of_settings_are_as_the_code_is(script: Callable[[str], ModuleType]):
    module = script("setting_tables")
    for page, regions in module.pages().items():
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        told = f"docs/{page} is stale: run `python docs/setting_tables.py`"
        assert module.rendered(text, regions) == text, told
    # Of every adapter but the probes, which are for tests.
    assert {*module.ADAPTERS.values(), "probe"} == set(registry.adapter_names())
    with pytest.raises(ValueError, match=r"0 regions <!-- settings-ppo -->"):
        module.rendered("# A page without marks", {"settings-ppo": ""})


def test_a_setting_that_is_not_described_is_told(script: Callable[[str], ModuleType]):
    @dataclasses.dataclass
    class Silent:
        """Says nothing of its field."""

        length: int = 1

    with pytest.raises(ValueError, match=r"Silent\.length has no docstring"):
        script("setting_tables").settings_table(Silent)


def test_names_of_brax_are_those_that_errors_answer_with_ours():
    rows = rows_of("settings.md", "Names in other libraries")
    assert rows
    for ours, theirs, *_ in rows:
        for name in named(theirs):
            assert named(ours) == [RENAMED.get(name, name)] or named(ours)[0] in our_way(name)


def test_settings_of_stable_baselines3_are_told_as_the_library_tells_them():
    found = rows_of("from-stable-baselines3.md", "Settings of PPO")
    # Reference: the arguments of stable_baselines3.PPO, 2.9.2.
    arguments = """policy env learning_rate n_steps batch_size n_epochs gamma gae_lambda clip_range
    clip_range_vf normalize_advantage ent_coef vf_coef max_grad_norm use_sde sde_sample_freq
    rollout_buffer_class rollout_buffer_kwargs target_kl stats_window_size tensorboard_log
    policy_kwargs verbose seed device"""
    assert [name for theirs, _ in found for name in named(theirs)] == arguments.split()
    for theirs, ours in found:
        for name in named(theirs):
            told = our_way(name)
            if name in RENAMED:
                assert f"`{RENAMED[name]}`" in ours
            elif told:  # in another way
                assert any(
                    word in told for one in named(ours) for word in re.findall(r"\w{4,}", one)
                )
            else:
                assert name in ours or "not there" in ours or name == "env"
