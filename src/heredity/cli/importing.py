"""``heredity import``: a policy from a file of another library, without running what is in it."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.markup import escape

from heredity.cli.output import ANY_WIDTH, console, only_json, print_json
from heredity.cli.parsing import environment_fields, options_given, otherwise, parse, peek
from heredity.cli.places import check_new_folder
from heredity.common.errors import DivergedError, UsageError
from heredity.common.reading import read_text

if TYPE_CHECKING:
    from heredity.policies.importers import Imported, ImportOptions
    from heredity.spaces import Space

UNBOUNDED = "none"


def _asked(metavar: str) -> Any:
    """Mark of an option that is asked for where a file does not say. No `None`: none is a word."""
    told = "(default: asked for where the file does not say)"
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=told)


@dataclasses.dataclass(frozen=True)
class _Import:
    """What is imported, and what its file does not say.

    Args:
        file: File or folder of the other library.
        format: sb3, rsl_rl, brax, cleanrl, dreamerv3 or safetensors.
        out: Folder that the policy is written to; it must not be there yet.
        activation: After each hidden layer: elu, gelu, leaky_relu, relu, selu, swish or tanh.
        observation_names: A name for each feature, divided by commas; unnamed where there are none.
        action_bounds: What the environment clips actions to, as in --action-bounds=-1,1; none
            where it clips nothing.
        normalizer: How observations were normalised: none; file (by the statistics within it); or
            the path of the file that has them.
        critic: Of rsl_rl: same if the critic reads what the actor reads, else drop.
        observation_clip: Of CleanRL: what normalised observations were clipped to.
        spec: Of safetensors: a policy's config.json that says what the weights are of.
        rules: Of safetensors: a JSON file with rules from its names to ours.
        allow: Of safetensors: patterns of names that may be left out, or stay fresh.
        sha256: Of the file, if it is known; another file is refused.
        episodes: How many to play in --env, to compare with the score that was recorded; 0 for
            none.
        json: Print one JSON object.
    """

    file: Annotated[Path, tyro.conf.Positional]
    format: Annotated[str, tyro.conf.arg(metavar="NAME")]
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    activation: Annotated[str, _asked("NAME")] = ""
    observation_names: Annotated[str, _asked("NAMES")] = ""
    action_bounds: Annotated[str, _asked("LOW,HIGH")] = ""
    normalizer: Annotated[str, _asked("none|file|PATH")] = ""
    critic: Annotated[str, _asked("same|drop")] = ""
    observation_clip: Annotated[float | None, otherwise("default: 10")] = None
    spec: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    rules: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    allow: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[PATTERN ...]")] = ()
    sha256: str | None = None
    episodes: int = 0
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run ``heredity import``."""
    told = "The environment it is for: names of sensors and bounds of actions are taken from it."
    fields: list[Any] = [
        ("importing", tyro.conf.OmitArgPrefixes[_Import]),
        *environment_fields(peek(arguments, "--env"), told, "default: the policy names none"),
    ]
    kind = dataclasses.make_dataclass("Import", fields, frozen=True)
    kind.__doc__ = "Make a policy of a file of another library. Nothing that is in it is run."
    parsed: Any = parse(kind, arguments, "heredity import")
    given: _Import = parsed.importing
    with only_json(given.json):
        imported = _import(given, parsed.env, parsed.options)
        imported.policy.save_pretrained(given.out)
    entry = imported.policy.lineage.entries[-1]
    if given.json:
        print_json(
            {
                "path": str(given.out),
                "policy_hash": imported.policy.policy_hash,
                "format": given.format,
                "file": str(given.file),
                "sha256": entry.arguments["sha256"],
                "library": entry.arguments["library"],
                "recorded": imported.recorded,
                "score": dict(entry.score) if entry.score else None,
                "report": imported.report.to_json(),
            }
        )
        return 0
    out = console()
    if not sys.stdout.isatty():
        out.width = ANY_WIDTH
    out.print(imported.report)
    for line in _scores(imported, parsed.env):
        out.print(line, soft_wrap=True)
    out.print(f"wrote [bold]{escape(str(given.out))}[/]", soft_wrap=True)
    out.print(f"[dim]policy sha256:{imported.policy.policy_hash}[/]")
    return 0


def _import(given: _Import, env: str | None, options: Any) -> Imported:
    from heredity.policies.importers import import_policy

    if given.episodes < 0 or (given.episodes and env is None):
        raise UsageError(f"--episodes {given.episodes}: a number >= 0, and --env, were expected")
    if env is None:
        imported = import_policy(given.file, given.format, _options(given, None, None))
        # After the file was read: one that is refused is refused, wherever it was to go.
        check_new_folder(given.out, "--out")
        return imported

    from heredity.training.evaluation import evaluate_policies, scoring_environment

    copies = max(given.episodes, 1)
    with scoring_environment(env, copies, None, options=options_given(options)) as environment:
        named = environment.spec.to_json() if environment.spec else None
        spaces = environment.observation_space, environment.action_space
        imported = import_policy(given.file, given.format, _options(given, named, spaces))
        imported.policy.check_spaces(*spaces)
        check_new_folder(given.out, "--out")
        if not given.episodes:
            return imported
        (evaluation,) = evaluate_policies([imported.policy], environment, given.episodes)
    if not evaluation.is_finite:
        raise DivergedError(f"the return over {evaluation.episodes} episodes is not finite")
    return imported.scored(evaluation.mean, evaluation.std, evaluation.episodes, env)


def _options(
    given: _Import, environment: dict[str, Any] | None, spaces: tuple[Space, Space] | None
) -> ImportOptions:
    """What was said on the command line, and what the environment says where nobody did."""
    from heredity.common.formats import POLICY
    from heredity.policies.importers import IMPORTERS, ImportOptions, rules_from_json
    from heredity.policies.specification import PolicySpec

    takes = IMPORTERS[given.format].takes if given.format in IMPORTERS else frozenset()
    names = _words(given.observation_names) if given.observation_names else None
    bounds = _bounds(given.action_bounds) if given.action_bounds else None
    if spaces is not None:
        if names is None and "observation_names" in takes:
            names = _names_of(spaces[0])
        if bounds is None and "action_bounds" in takes:
            bounds = _bounds_of(spaces[1])
    return ImportOptions(
        activation=given.activation or None,
        observation_names=names,
        action_bounds=bounds,
        normalizer=given.normalizer or None,
        critic=given.critic or None,
        observation_clip=given.observation_clip,
        environment=environment if "environment" in takes else None,
        observation_space=spaces[0] if spaces and "observation_space" in takes else None,
        spec=None if given.spec is None else PolicySpec.from_json(POLICY.read(given.spec)),
        rules=None if given.rules is None else rules_from_json(read_text(given.rules), given.rules),
        allow=given.allow,
        sha256=given.sha256,
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


def _bounds(text: str) -> tuple[float, float]:
    if text == UNBOUNDED:
        return -math.inf, math.inf
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError:
        raise UsageError(
            f"--action-bounds {text!r}: two numbers as in --action-bounds=-1,1 or 'none' expected"
        ) from None
    return low, high


def _names_of(space: Space) -> tuple[str, ...] | None:
    """The names of the features, if the environment gives some; else a person is asked."""
    from heredity.networks.observations import feature_names

    return feature_names(space) or None


def _bounds_of(space: Space) -> tuple[Any, Any] | None:
    from heredity.spaces import Box

    return (space.low, space.high) if isinstance(space, Box) else None


def _scores(imported: Imported, env: str | None) -> list[str]:
    """What was recorded in training and what was measured now, in words."""
    lines = []
    if imported.recorded is not None:
        mean, std = imported.recorded["mean_return"], imported.recorded["std_return"]
        lines.append(
            f"recorded: return {mean:.2f} ± {std:.2f} over the last "
            f"{imported.recorded['episodes']} episodes of training, with drawn actions"
        )
    score = imported.policy.lineage.entries[-1].score
    if score:
        lines.append(
            f"measured: return [bold]{score['mean_return']:.2f} ± {score['std_return']:.2f}[/] "
            f"over {score['episodes']} episodes of {escape(str(env))}, most likely actions"
        )
    elif imported.recorded is not None:
        lines.append("[dim]to check it: --env ID --episodes 100[/]")
    return lines
