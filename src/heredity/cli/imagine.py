"""``heredity imagine``: what a world model expects to see, beside what really happened."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.markup import escape
from rich.table import Table

from heredity.cli.output import console, only_json, print_json
from heredity.cli.parsing import (
    environment_fields,
    options_told,
    otherwise,
    parse,
    peek,
    require,
)
from heredity.cli.places import kind_of, policy_folder
from heredity.common.errors import UsageError
from heredity.common.run_folder import RunFolder
from heredity.common.words import counted

if TYPE_CHECKING:
    from heredity.common.open_loop import Episode, OpenLoop
    from heredity.policies import Policy

MOST_STEPS = 10_000


@dataclasses.dataclass(frozen=True)
class _Imagine:
    """What is imagined, and where it goes.

    Args:
        policy: Folder of a run, whose newest snapshot with an episode is taken; or of a snapshot,
            checkpoint or policy. Without a recorded episode one is played.
        out: File to write: .webp or .gif (moment after moment), .png (all of them side by side),
            .npz (the arrays).
        context: How many moments are seen before the rest is imagined.
        steps: How many decisions at most.
        seed: Draws latents instead of taking the most likely ones; it also decides the first state
            of an episode that is played.
        trust: Ids of environments, and networks, that the policy's file may name although they are
            not built in.
        json: Print one JSON object.
    """

    policy: Annotated[Path, tyro.conf.Positional]
    out: Annotated[Path | None, otherwise("required")] = None
    context: Annotated[int | None, otherwise("default: 5, or half of a shorter episode")] = None
    steps: Annotated[int | None, otherwise("default: 64, or all that was recorded")] = None
    seed: Annotated[int | None, otherwise("default: the most likely of everything")] = None
    trust: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[ID ...]")] = ()
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run ``heredity imagine``."""
    told = "Where to play an episode; with it, --help lists that environment's options."
    unset = "default: the recorded episode, or where it was trained"
    fields: list[Any] = [
        ("imagining", tyro.conf.OmitArgPrefixes[_Imagine]),
        *environment_fields(peek(arguments, "--env"), told, unset),
    ]
    kind = dataclasses.make_dataclass("Imagine", fields, frozen=True)
    kind.__doc__ = (
        "Show a world model the beginning of an episode, then only what was done, and write what "
        "it imagines beside what really happened."
    )
    given: Any = parse(kind, arguments, "heredity imagine")
    how: _Imagine = given.imagining
    with only_json(how.json):
        output = _checked(how)
        found, source = _imagined(how, given.env, given.options, arguments)
        from heredity.viewer.open_loop_file import write_open_loop

        write_open_loop(found, output)
    if how.json:
        print_json({"path": str(output), **source, **_numbers(found)})
    else:
        _tell(found, source, output)
    return 0


def _checked(how: _Imagine) -> Path:
    """Where to write, once everything that can be said at once has been."""
    from heredity.viewer.open_loop_file import check_ending

    output = require(how.out, "--out", "a file that ends in .webp, .gif, .png or .npz")
    check_ending(output)
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise UsageError(f"--out {output}: a file in a folder that is there was expected")
    if how.steps is not None and not 1 <= how.steps <= MOST_STEPS:
        raise UsageError(f"--steps {how.steps}: a whole number from 1 to {MOST_STEPS:,} expected")
    if how.seed is not None and not 0 <= how.seed < 2**32:
        raise UsageError(f"--seed {how.seed}: a whole number from 0 to 2**32 - 1 was expected")
    return output


def _imagined(
    how: _Imagine, env: str | None, options: Any, arguments: Sequence[str]
) -> tuple[OpenLoop, dict[str, Any]]:
    """What was imagined, and of what."""
    from heredity.policies import Policy
    from heredity.policies.open_loop import lacking_world_model, open_loop

    snapshot = None if env else _recorded(how.policy)
    folder = policy_folder(snapshot or how.policy)
    policy = Policy.from_pretrained(folder, trust=how.trust)
    if lacks := lacking_world_model(policy.functions):
        raise UsageError(f"{folder} cannot imagine anything: {lacks}")
    source: dict[str, Any] = {
        "policy": str(folder),
        "policy_hash": policy.policy_hash,
        "environment": env or (policy.spec.environment or {}).get("id"),
        "recorded": snapshot is not None,
    }
    if snapshot is None:
        return _played(how, policy, env, options, arguments), source
    from heredity.common.open_loop import OpenLoop

    episode: Episode = OpenLoop.load(snapshot / "imagined").episode
    if how.steps is not None:
        episode = episode.first(how.steps)
    return open_loop(policy, episode, how.context, how.seed), source


def _recorded(place: Path) -> Path | None:
    """The snapshot whose episode is shown: of a run the newest that has one."""
    match kind_of(place):
        case "snapshot":
            return place if (place / "imagined").is_dir() else None
        case "run":
            folder = RunFolder(place)
            shots = [folder.snapshot(step) for step in reversed(folder.snapshot_steps())]
            return next((shot for shot in shots if (shot / "imagined").is_dir()), None)
    return None


def _played(
    how: _Imagine, policy: Policy, env: str | None, options: Any, arguments: Sequence[str]
) -> OpenLoop:
    """An episode played now."""
    from heredity.training.beginnings import KEPT
    from heredity.training.evaluation import Evaluator, scoring_environment

    recorded = policy.spec.environment
    told = options_told(options, arguments, env, recorded) if env else None
    steps = how.steps or KEPT
    with scoring_environment(env, 1, recorded, trust=how.trust, options=told) as environment:
        policy.check_spaces(environment.observation_space, environment.action_space)
        evaluator = Evaluator(policy.spec, environment, 1, record=True, max_steps=steps, keep=steps)
        found = evaluator.evaluate(policy.params, how.seed or 0).imagined
    if found is None or evaluator.imagination is None:
        raise UsageError("the environment's process died before anything was seen: try again")
    if how.context is None and how.seed is None:
        return found
    return evaluator.imagination.predict(
        policy.params, found.episode, how.context, how.seed, padded=steps + 1
    )


def _numbers(found: OpenLoop) -> dict[str, Any]:
    """What was imagined, without what was seen, as JSON."""

    def plain(values: Any) -> list[float | None]:
        return [float(value) if abs(value) < float("inf") else None for value in values]

    errors = {"reconstructed": found.errors(found.seen), "imagined": found.errors(found.imagined)}
    return {
        "context": found.context,
        "moments": found.moments,
        "seed": found.seed,
        "terminated": found.episode.terminated,
        "rewards": plain(found.episode.rewards),
        "imagined_rewards": plain(found.imagined.rewards[1:]),
        "imagined_goes_on": plain(found.imagined.goes_on),
        "errors": {
            title: {name: plain(error) for name, error in one.items()}
            for title, one in errors.items()
        },
    }


def _tell(found: OpenLoop, source: dict[str, Any], output: Path) -> None:
    out = console()
    what = "the episode of its snapshot" if source["recorded"] else "an episode that was played"
    where = f" in {source['environment']}" if source["environment"] else ""
    out.print(
        f"{escape(source['policy'])}: {counted(found.context, 'moment')} seen, "
        f"{found.moments - found.context} imagined, of {what}{escape(where)}",
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("mean error of the imagined moments")
    for title in ("had it seen them", "imagined"):
        table.add_column(title, justify="right")
    again, imagined = found.errors(found.seen), found.errors(found.imagined)
    for name in again:
        means = (errors[name][found.context :].mean() for errors in (again, imagined))
        table.add_row(escape(name), *(f"{mean:.4g}" for mean in means))
    out.print(table)
    out.print(f"written to [bold]{escape(str(output))}[/]", soft_wrap=True)
