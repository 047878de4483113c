"""Command lines from the dataclasses that are the API's own."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import shutil
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import tyro

from heredity.cli.mistakes import CommandLine, answered
from heredity.cli.values import NONE, REGISTRY
from heredity.common.errors import UsageError

Arguments = TypeVar("Arguments")


def parse(
    kind: type[Arguments],
    arguments: Sequence[str],
    program: str,
    fixed: Mapping[str, str] | None = None,
) -> Arguments:
    """Arguments from a command line.

    Args:
        kind: The dataclass that they become.
        arguments: What was given.
        program: The command, as a person calls it.
        fixed: Options that this command cannot have although they are ones, and why.

    Raises:
        UsageError: for what is not understood, naming what was probably meant.
        SystemExit: after ``--help``.
    """
    words = list(arguments)
    with answered(CommandLine(program, kind, words, peek(words, "--env"), fixed or {})):
        return tyro.cli(
            kind, args=words, prog=program, description=_description(kind), registry=REGISTRY
        )


def _description(kind: type) -> str:
    """What a command does, in lines of the terminal: tyro wraps what it says of options alone."""
    told = (inspect.getdoc(kind) or "").partition("\nArgs:\n")[0].strip()
    width = shutil.get_terminal_size().columns
    # Lines that begin with a letter would be joined again.
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="  ") for line in told.splitlines()
    )


def arguments_like(
    kind: type, unset: str, *, without: Collection[str] = (), each_optional: bool = False
) -> type:
    """A dataclass to parse into that has the fields of another and none of its checks.

    The checks come when the other is made, and speak for themselves.

    Args:
        kind: A dataclass whose docstring tells its fields.
        unset: What ``--help`` says of an option that nobody has to give and that has no value.
        without: Fields to leave out.
        each_optional: Every field may be left out, and is None then.
    """
    hints = get_type_hints(kind)
    shown = tyro.conf.arg(
        help_behavior_hint=lambda value: f"({unset if value == NONE else f'default: {value}'})"
    )
    fields: list[Any] = []
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if field.name in without:
            continue
        if each_optional:
            fields.append((field.name, Annotated[hint | None, shown], None))
        elif field.default_factory is not dataclasses.MISSING:
            default = dataclasses.field(default_factory=field.default_factory)
            fields.append((field.name, hint, default))
        elif field.default is dataclasses.MISSING:
            fields.append((field.name, hint))
        else:
            # Not of an empty list: there the value is none indeed.
            optional = type(None) in get_args(hint)
            fields.append((field.name, Annotated[hint, shown] if optional else hint, field.default))
    made = dataclasses.make_dataclass(kind.__name__, fields, frozen=True)
    # What is code on a page of the documentation is plain text on a terminal.
    made.__doc__ = (inspect.getdoc(kind) or "").replace("``", "")
    return made


def peek(arguments: Sequence[str], flag: str) -> str | None:
    """The value of a flag before the real parsing, which depends on it.

    Example:
        >>> peek(["--env=brax/ant", "--seed", "1"], "--env")
        'brax/ant'
    """
    found = None
    for index, word in enumerate(arguments):
        if word == flag and index + 1 < len(arguments):
            found = arguments[index + 1]
        elif word.startswith(flag + "="):
            found = word.removeprefix(flag + "=")
    return found


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Options of the environment: known once --env names one."""


def environment_options(environment_id: str | None) -> type:
    """The dataclass of options that an environment's adapter has.

    Raises:
        UnknownNameError: for an unknown id.
    """
    if environment_id is None:
        return NoOptions
    environments = importlib.import_module("heredity.environments")
    return environments.options_of(environment_id)


def environment_fields(
    environment_id: str | None, told: str, otherwise: str
) -> list[tuple[str, Any, Any]]:
    """Fields ``env`` and ``options`` of a command line that may name an environment.

    Args:
        environment_id: What `peek` found for ``--env``: its adapter's options become ``--env.*``.
        told: Help of ``--env``.
        otherwise: What its help says of leaving it out.

    Raises:
        UnknownNameError: for an unknown id.
    """
    options = environment_options(environment_id)
    argument = tyro.conf.arg(help=told, metavar="ID", help_behavior_hint=f"({otherwise})")
    return [
        ("env", Annotated[str | None, argument], None),
        ("options", Annotated[options, tyro.conf.arg(name="env")], _defaults(options)),
    ]


def _defaults(options: type) -> Any:
    """The options when none is given; tyro asks for those that a factory cannot do without."""
    fields: Any = dataclasses.fields(options)
    missing = dataclasses.MISSING
    needed = any(field.default is field.default_factory is missing for field in fields)
    # Asked for where there is no default, and only there.
    return tyro.MISSING_NONPROP if needed else options()


def otherwise(told: str) -> Any:
    """Mark of an option: what ``--help`` says of leaving it out."""
    return tyro.conf.arg(help_behavior_hint=f"({told})")


def options_given(options: Any) -> dict[str, Any]:
    """The fields of a dataclass as keywords: options for `make`, settings for what checks them."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}


def options_told(
    options: Any, arguments: Sequence[str], env: str, recorded: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Options for `make` where a file names an environment as well.

    Of the same environment, what is not told on the command line stays as the file has it.

    Args:
        options: As they were parsed.
        arguments: They were parsed from.
        env: The id that was given.
        recorded: The ``id`` and ``options`` of the file.
    """
    given = options_given(options)
    if recorded is None or recorded.get("id") != env:
        return given
    words = {word.partition("=")[0].replace("_", "-") for word in arguments}
    told = {
        name: value
        for name, value in given.items()
        for plain in [name.replace("_", "-")]
        if words & {f"--env.{plain}", f"--env.no-{plain}"}
    }
    return {**given, **recorded.get("options", {}), **told}


def require(value: Any, flag: str, why: str) -> Any:
    """The value of a flag that has to be given."""
    if value is None:
        raise UsageError(f"{flag} is needed: {why}")
    return value
