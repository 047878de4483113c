"""What a command line got wrong: what was given, what is possible, and the nearest match.

tyro answers mistakes in several ways of its own, and names no nearest match for many. It tells a
hook what was wrong before it does: `tyro._errors.on_parse_error`. The module is private, but
nothing public says why words were refused. Everything that is used of it stands here; a kind of
mistake that is not known here is answered by tyro itself, as are all where the hook is gone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_type_hints

import tyro

from heredity.algorithms.registry import ALGORITHMS
from heredity.common.errors import UnknownNameError, UsageError

_HOOKS = "tyro._errors"
_USED = (
    "on_parse_error",
    "UnrecognizedArgs",
    "MissingArgs",
    "BadValue",
    "InvalidChoice",
    "InstantiationFailure",
)

_OPTION = re.compile(r"--?[A-Za-z]")

# More than so many options are not listed: --help tells them, and what they are.
_FEW = 12


def known_options(kind: type, prefix: str = "--") -> dict[str, str]:
    """Options of a dataclass of arguments; of a switch, which takes no value, both spellings.

    Example:
        >>> @dataclasses.dataclass
        ... class Listing:
        ...     json: bool = False
        ...     max_lines: int = 3
        >>> known_options(Listing)
        {'--json': '--json or --no-json', '--no-json': '--json or --no-json', '--max-lines': ''}
    """
    found: dict[str, str] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        plain = get_args(hint)[0] if marks else hint
        names = [mark.name for mark in marks if getattr(mark, "name", None)]
        shown = (names or [name.replace("_", "-")])[0]
        if dataclasses.is_dataclass(plain) and isinstance(plain, type):
            wide = tyro.conf.OmitArgPrefixes in marks
            found |= known_options(plain, prefix if wide else f"{prefix}{shown}.")
        elif plain is bool and tyro.conf.FlagCreatePairsOff not in marks:
            pair = (f"{prefix}{shown}", f"{prefix}no-{shown}")
            found |= dict.fromkeys(pair, " or ".join(pair))
        elif tyro.conf.Positional not in marks:
            found[prefix + shown] = ""
    return found


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """What was given, and to whom.

    Args:
        program: The command, as a person calls it.
        kind: The dataclass of its arguments.
        words: What was given to it.
        environment: Id of the environment that was named, if any.
        fixed: Options that another command has and this one cannot have, and why.
    """

    program: str
    kind: type
    words: Sequence[str]
    environment: str | None = None
    fixed: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def is_unknown(self, word: str) -> bool:
        """Whether a word is meant as an option, and there is none of that name."""
        name = word.partition("=")[0].replace("_", "-")
        return bool(_OPTION.match(word)) and name not in known_options(self.kind)

    def missing(self, *usages: str) -> UsageError:
        """The answer to what was not given."""
        needed = f"{' and '.join(usages)} {'are' if len(usages) > 1 else 'is'} needed"
        return UsageError(f"{needed} ({self.program} --help tells more)")

    def unknown(self, refused: Sequence[str]) -> UsageError:
        """The answer to words that were not understood."""
        options = known_options(self.kind)
        # A value that stands behind an unknown option is not understood either.
        word = next((word for word in refused if _OPTION.match(word)), refused[0])
        given = word.partition("=")[0] if word.startswith("-") else word
        dashed = given.replace("_", "-")
        if dashed in self.fixed:
            return UsageError(f"{given} {self.fixed[dashed]}")
        switch = self._switch_before(word, options)
        if switch and not _OPTION.match(word):
            return UsageError(f"{switch} takes no value, {word!r} was given: {options[switch]}")
        told = f"unknown option {given!r}" if given.startswith("-") else f"unexpected {given!r}"
        if dashed.startswith("--env.") and "--env" in options:
            if self.environment is None:
                return UsageError(f"{told}: --env has to name the environment that it belongs to")
            told = f"unknown option of {self.environment} {given!r}"
            options = {name: pair for name, pair in options.items() if name.startswith("--env.")}
        theirs = dashed.removeprefix("--").replace("-", "_")
        ours = [one.renamed.get(theirs, "").replace("_", "-") for one in ALGORITHMS.values()]
        near = [f"--{name}" for name in dict.fromkeys(ours) if f"--{name}" in options]
        algorithm = ALGORITHMS.get(self.program.split()[-1])
        if algorithm is not None and not near and (way := algorithm.our_way(theirs)):
            return UsageError(f"{told}: {way} ({self.program} --help lists all options)")
        near = near or nearest(dashed, options)
        guess = f": did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
        listed = [n for n, pair in options.items() if not pair or pair.startswith(f"{n} or")]
        possible = f"known: {', '.join(sorted(listed)) or 'none'}"
        if len(listed) > _FEW:
            possible = f"{self.program} --help lists all options"
        return UsageError(f"{told}{guess} ({possible})")

    def _switch_before(self, word: str, options: Mapping[str, str]) -> str | None:
        """The switch that a value was given to: ``--progress yes`` or ``--progress=yes``."""
        for before, this in zip(["", *self.words], self.words, strict=False):
            name, _, value = this.partition("=")
            if this == word and before.startswith("-"):
                name, value = before, word
            name = name.replace("_", "-")
            if value == word and options.get(name):
                return name
        return None


def nearest(given: str, options: Mapping[str, Any]) -> list[str]:
    """Options that were probably meant, best first.

    Example:
        >>> nearest("--total-timestep", {"--total-timesteps": 0, "--seed": 0})
        ['--total-timesteps']
    """
    # Without the dashes, which all have in common and which would make all of them alike.
    names = {option.lstrip("-"): option for option in options}
    word = given.lstrip("-")
    if word in names:
        return [names[word]]
    begun = [name for name in names if name.startswith(word)] if len(word) > 2 else []
    near = begun[:3] or difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return [names[name] for name in near]


@contextlib.contextmanager
def answered(line: CommandLine) -> Iterator[None]:
    """While the block runs, what tyro refuses is raised as an error of ours.

    Raises:
        UsageError: saying what was given and what is possible.
    """
    events = importlib.import_module(_HOOKS) if importlib.util.find_spec(_HOOKS) else None
    if events is None or not all(hasattr(events, name) for name in _USED):
        yield
        return

    def answer(event: Any) -> None:
        error = _error(event, events, line)
        if error is not None:
            raise error

    with events.on_parse_error(answer):
        yield


def _error(event: Any, events: Any, line: CommandLine) -> UsageError | None:
    match event:
        case events.UnrecognizedArgs(tokens=[_, *_] as words):
            return line.unknown(words)
        # A misspelt option is often the one that is missing.
        case events.MissingArgs(unrecognized_tokens=[_, *_] as words):
            return line.unknown(words)
        case events.MissingArgs(missing_arguments=missing):
            return line.missing(*(_usage(context.arg) for context in missing))
        # An option where the argument without a flag was expected.
        case events.BadValue(argument=argument) if not _flags(argument):
            unknown = [word for word in line.words if line.is_unknown(word)]
            return line.unknown(unknown) if unknown else line.missing(_usage(argument))
        case events.BadValue(argument=argument):
            return UsageError(f"{_name(argument)} needs a value: {_usage(argument)}")
        case events.InvalidChoice(argument=argument, value=value, choices=choices):
            return UnknownNameError(_name(argument), value, choices)
        case events.InstantiationFailure(message=message, argument=argument):
            # Below its first line tyro tells what each part of a union found wrong.
            told = str(message).partition("\n")[0]
            return UsageError(f"{_name(argument)} {told}" if argument else told)
    return None


def _name(argument: Any) -> str:
    """``--seed``, or ``PATH`` of an argument that has no flag."""
    flags = _flags(argument)
    return flags[0] if flags else str(argument.lowered.metavar)


def _flags(argument: Any) -> list[str]:
    return [name for name in argument.lowered.name_or_flags if name.startswith("-")]


def _usage(argument: Any) -> str:
    """``--seed INT``."""
    return " ".join(dict.fromkeys((_name(argument), str(argument.lowered.metavar))))
