"""The tables of settings and options in the pages, from the dataclasses that hold them.

``python docs/setting_tables.py`` writes them; a test says when that has to be done.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import re
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from regions import DOCS, filled, table, write

from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.algorithms.dreamer.encoder_config import EncoderConfig
from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.network_config import NetworkConfig
from heredity.environments.registry import load_adapter
from heredity.environments.vectors import VectorOptions
from heredity.environments.wrappers.options import Wrapping, offered
from heredity.training.settings import RunSettings

# Page below docs/, name of the region, dataclass.
SETTINGS = (
    ("settings.md", "settings-ppo", PPOConfig),
    ("settings.md", "settings-network", NetworkConfig),
    ("settings.md", "settings-dreamer", DreamerConfig),
    ("settings.md", "settings-encoder", EncoderConfig),
    ("settings.md", "settings-run", RunSettings),
    ("wrappers.md", "options-wrappers", Wrapping),
    ("environments.md", "options-vectors", VectorOptions),
)

# Where on their page settings stand that are a group of their own.
GROUPS = {NetworkConfig: "networks", EncoderConfig: "pretrained-encoder"}

# Each page holds the options of one adapter in a region `options-<adapter>`.
ADAPTERS = {
    "environments/atari.md": "atari",
    "environments/brax.md": "brax",
    "environments/crafter.md": "crafter",
    "environments/dm-control.md": "dm_control",
    "environments/envpool.md": "envpool",
    "environments/gymnasium.md": "gym",
    "environments/gymnax.md": "gymnax",
    "environments/minigrid.md": "minigrid",
    "environments/playground.md": "playground",
}


def pages() -> dict[str, dict[str, str]]:
    """What each page holds in its regions, by page and by name of the region."""
    found: dict[str, dict[str, str]] = {}
    for page, region, kind in SETTINGS:
        found.setdefault(page, {})[region] = settings_table(kind)
    for page, adapter in ADAPTERS.items():
        options = load_adapter(adapter).options
        found.setdefault(page, {})[f"options-{adapter}"] = adapter_table(options)
    return found


def rendered(text: str, regions: Mapping[str, str]) -> str:
    """The text of a page with its regions as they are now."""
    return functools.reduce(lambda page, name: filled(page, name, regions[name]), regions, text)


def adapter_table(options: type) -> str:
    """The options that only this adapter has, then the names of those that it shares."""
    own = [field.name for field in dataclasses.fields(options)]
    common: list[str] = []
    also = f"the [wrappers](../wrappers.md) {listed(offered(own))}"
    if issubclass(options, VectorOptions):
        common = [field.name for field in dataclasses.fields(VectorOptions)]
        vectors = "[options of host environments](../environments.md#host-environments)"
        also = f"the {vectors} {listed(common)}, and {also}"
    told = textwrap.fill(f"There are also {also}.", 118, break_on_hyphens=False)
    return f"{settings_table(options, without=common)}\n\n{told}"


def listed(names: Sequence[str]) -> str:
    """Names of options in a sentence.

    Example:
        >>> listed(["a", "b", "c"])
        '`a`, `b` and `c`'
    """
    *most, last = [f"`{name}`" for name in names]
    return f"{', '.join(most)} and {last}"


def settings_table(kind: type, without: Collection[str] = ()) -> str:
    """Names, defaults and meanings of the fields of a dataclass.

    Raises:
        ValueError: when a field is not described.
    """
    meanings, hints = dict(described(kind)), get_type_hints(kind)
    rows = []
    for field in dataclasses.fields(kind):
        if field.name in without:
            continue
        if field.name not in meanings:
            raise ValueError(f"{kind.__name__}.{field.name} has no docstring")
        hint = hints[field.name]
        choices = [str(part) for part in get_args(hint)] if get_origin(hint) is Literal else []
        meaning = marked(meanings[field.name], choices)
        rows.append((f"`{field.name}`", default_of(field), meaning))
    return table(("name", "default", "meaning"), rows)


def default_of(field: dataclasses.Field[Any]) -> str:
    """A default as it is written in Python.

    Example:
        >>> @dataclasses.dataclass
        ... class Demo:
        ...     steps: int
        ...     rate: float = 2.0**0.5
        ...     names: tuple[str, ...] = ()
        >>> [default_of(field) for field in dataclasses.fields(Demo)]
        ['required', '`1.41421`', '`()`']
    """
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
        if dataclasses.is_dataclass(value):
            return f"[below](#{GROUPS[type(value)]})"
    if value is dataclasses.MISSING:
        return "required"
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    return f"`{value}`"


def marked(text: str, choices: Sequence[str] = ()) -> str:
    """A description as Markdown: names with underscores, and choices that are listed, are code.

    Args:
        text: Plain; what stands in backticks is left alone.
        choices: Values that the setting can have.

    Example:
        >>> marked(
        ...     "stop; rollback (see num_steps) to where it can stop. ``a/**`` too.",
        ...     ["stop", "rollback"],
        ... )
        '`stop`; `rollback` (see `num_steps`) to where it can `stop`. `a/**` too.'
    """
    named = [r"[a-z]+(?:\.[a-z_]+)*(?:_[a-z0-9.]*[a-z0-9])+"]
    if choices:
        longest_first = "|".join(sorted(map(re.escape, choices), key=len, reverse=True))
        named.append(rf"(?:{longest_first})(?=[,.:;)]| \(| or |$)")
    code = re.compile(rf"(?<![\w./-])({'|'.join(named)})(?![\w/-])")
    parts = re.split(r"(`+[^`]+`+)", text)
    return "".join(
        f"`{part.strip('`')}`" if part.startswith("`") else code.sub(r"`\1`", part)
        for part in parts
    )


def described(kind: type) -> Iterator[tuple[str, str]]:
    """The fields of a dataclass with what is said of them.

    That is the section ``Args`` of its docstring, or the docstring below each field.
    """
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base) and base.__module__ != "types":
            yield from arguments_of(inspect.getdoc(base) or "")
            yield from below_fields(base)


def arguments_of(docstring: str) -> Iterator[tuple[str, str]]:
    r"""The arguments of a Google docstring.

    Example:
        >>> dict(arguments_of("What.\n\nArgs:\n    a: One\n        thing.\n    b: Two."))
        {'a': 'One thing.', 'b': 'Two.'}
    """
    section = docstring.partition("\nArgs:\n")[2].partition("\n\n")[0]
    for name, text in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
        yield name, " ".join(text.split())


def below_fields(kind: type) -> Iterator[tuple[str, str]]:
    """The strings that stand below the fields of a class."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        match field, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, " ".join(text.split())


def main() -> None:
    """Write the pages."""
    for name, regions in pages().items():
        page = DOCS / name
        write(page, rendered(page.read_text(encoding="utf-8"), regions))


if __name__ == "__main__":
    main()
