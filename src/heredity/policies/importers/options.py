"""What a person has to say when a file does not, and who asks for it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heredity.common.errors import UnknownNameError, UsageError
from heredity.networks.layers import ACTIVATIONS
from heredity.policies.specification import PolicySpec
from heredity.spaces import Box, Space
from heredity.weights import Rule

UNNAMED = "unnamed"
NO_NORMALIZER = "none"
OWN_NORMALIZER = "file"


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """What the file itself does not say. Which of these are asked for depends on the format.

    Args:
        activation: After each hidden layer: elu, gelu, leaky_relu, relu, selu, swish or tanh.
        observation_names: One name for each feature; ``("unnamed",)`` says that there are none.
        action_bounds: What actions are clipped to before the environment gets them: the lowest and
            the highest; infinite ones for actions that are not clipped.
        normalizer: ``"none"``: observations were not normalised; ``"file"``: by the statistics
            within the file; or the path of the file that has them.
        critic: Whether the critic reads the same as the actor (``"same"``), and is taken over, or
            is left out (``"drop"``); asked for where a file does not say what it reads.
        observation_clip: What CleanRL-like statistics in a file of their own are clipped to;
            default: 10.
        environment: Id and options of the environment the policy is for; None if unknown.
        observation_space: What that environment shows: bounds and dtype are taken from it where a
            file knows how many features there are and no more.
        spec: For safetensors: what the weights are of.
        rules: For safetensors: from its names to ours.
        allow: For safetensors: patterns of names that may be left out, or keep fresh weights.
        sha256: Of the file, where it is known; anything else is refused.
    """

    activation: str | None = None
    observation_names: tuple[str, ...] | None = None
    action_bounds: tuple[Any, Any] | None = None
    normalizer: str | None = None
    critic: str | None = None
    observation_clip: float | None = None
    environment: Mapping[str, Any] | None = None
    observation_space: Space | None = None
    spec: PolicySpec | None = None
    rules: tuple[Rule, ...] | None = None
    allow: tuple[str, ...] = ()
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.activation is not None and self.activation not in ACTIVATIONS:
            raise UnknownNameError("activation", self.activation, ACTIVATIONS)
        clip = self.observation_clip
        if clip is not None and (not isinstance(clip, int | float) or not 0 < clip < 1e30):
            raise UsageError(f"--observation-clip {clip!r}: a number > 0 was expected")
        if clip is not None and self.normalizer == NO_NORMALIZER:
            raise UsageError(
                f"--observation-clip {clip:g}: nothing is clipped with --normalizer none, leave "
                "one of them out"
            )
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", self.sha256):
            raise UsageError(f"--sha256 {self.sha256!r}: 64 hexadecimal digits were expected")
        if self.critic not in (None, "same", "drop"):
            raise UnknownNameError("critic", self.critic, ("same", "drop"))

    def to_json(self) -> dict[str, Any]:
        """What was said, as a JSON object for the lineage."""
        said: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("activation", "normalizer", "critic", "sha256")
            if getattr(self, name) is not None
        }
        if self.observation_names is not None:
            said["observation_names"] = list(self.observation_names)
        if self.action_bounds is not None:
            # Infinite numbers are no JSON.
            said["action_bounds"] = [str(bound) for bound in self.action_bounds]
        if self.rules is not None:
            said["rules"] = [str(rule) for rule in self.rules]
        if self.allow:
            said["allow"] = list(self.allow)
        return said


class Demands:
    """What is asked of a person after a file was read: everything that is missing, at once.

    Args:
        path: Of the file.
        options: What was said.

    Example:
        >>> demands = Demands(Path("model.pt"), ImportOptions())
        >>> demands.ask("activation", "the function after each hidden layer: elu, relu, …")
        >>> demands.check()
        Traceback (most recent call last):
        heredity.common.errors.UsageError: model.pt was read and is whole, but does not say ...
    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self._path = path
        self._options = options
        self._missing: list[str] = []

    def ask(self, name: str, meaning: str) -> Any:
        """What was said of one thing; when nothing was, it is remembered as missing."""
        value = getattr(self._options, name)
        if value is None:
            self._missing.append(f"  --{name.replace('_', '-')}: {meaning}")
        return value

    def known(self, name: str, value: Any) -> Any:
        """What the file itself says, if nobody said anything else.

        Raises:
            UsageError: when a person said something else.
        """
        given = getattr(self._options, name)
        if given not in (None, value):
            raise UsageError(
                f"--{name.replace('_', '-')} {given}: {self._path} itself says {value}"
            )
        return value

    def names(self, count: int) -> tuple[str, ...]:
        """A name for each of `count` features; () for unnamed ones."""
        told = (
            f"a name for each of its {count} features, divided by commas, or '{UNNAMED}'; "
            "weights are matched by them when sensors change"
        )
        names = self.ask("observation_names", told) or ()
        if names in ((), (UNNAMED,)):
            return ()
        if len(names) != count:
            raise UsageError(
                f"{self._path} reads {count} features; there are {len(names)} observation names, "
                "given with --observation-names or taken from --env"
            )
        return tuple(names)

    def seen(self, count: int) -> Box:
        """A vector of `count` features as the environment shows it, with the names asked for."""
        names = self.names(count)
        space = self._options.observation_space
        if isinstance(space, Box) and space.shape == (count,):
            return dataclasses.replace(space, names=names or space.names)
        return Box((count,), names=names)

    def check(self) -> None:
        """See that nothing is missing.

        Raises:
            UsageError: naming all that is.
        """
        if self._missing:
            lines = "\n".join(self._missing)
            raise UsageError(
                f"{self._path} was read and is whole, but does not say (give it, nothing is "
                f"guessed):\n{lines}"
            )


def rules_from_json(text: str, path: Path | str) -> tuple[Rule, ...]:
    """Rules as a JSON list: ``[{"source": "fc.weight", "target": "…", "layout": "linear"}, …]``.

    A rule without target leaves out what matches. ``axis`` is that of `Rule`.

    Raises:
        UsageError: when it is no such list.

    Example:
        >>> rules = rules_from_json('[{"source": "fc.bias", "target": "output/bias"}]', "rules")
        >>> str(rules[0])
        'fc.bias -> output/bias'
    """
    from heredity.weights.rules import AS_IS, CONV, LINEAR, SQUEEZED

    layouts = {"as is": AS_IS, "linear": LINEAR, "conv": CONV, "squeezed": SQUEEZED}

    def patterns(value: Any) -> str | tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            return tuple(value)
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is no pattern")
        return value

    found = []
    try:
        for entry in json.loads(text):
            given = dict(entry)
            source, target = patterns(given.pop("source")), patterns(given.pop("target", []))
            layout, axis = given.pop("layout", "as is"), given.pop("axis", 0)
            if given:
                raise UnknownNameError(
                    "part of a rule", next(iter(given)), ("source", "target", "layout", "axis")
                )
            if layout not in layouts:
                raise UnknownNameError("layout", layout, layouts)
            found.append(Rule(source, target, layouts[layout], int(axis)))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"{path}: {error!r}: a JSON list of rules with source, target, layout was expected"
        ) from None
    return tuple(found)
