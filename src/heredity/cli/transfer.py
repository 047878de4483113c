"""``heredity transfer``: a policy for other sensors, other actions or wider layers."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.markup import escape

from heredity.cli.output import ANY_WIDTH, console, only_json, print_json
from heredity.cli.parsing import environment_fields, options_given, otherwise, parse, peek
from heredity.cli.places import check_new_folder, choice_told, kind_of, policy_folder
from heredity.common.errors import MismatchError, RefusedError, UsageError

_SEVERAL = tyro.conf.arg(metavar="[NAME ...]")
_PAIRS = tyro.conf.arg(metavar="[OLD=NEW ...]")
_NAMES = tyro.conf.arg(metavar="NAMES", help_behavior_hint="(default: as the spaces have them)")


@dataclasses.dataclass(frozen=True)
class _Transfer:
    """What is transferred, and how.

    Args:
        policy: Folder of a policy, checkpoint, snapshot or run; of a run, the best checkpoint's
            policy is taken. A checkpoint is moved as a whole, its optimiser too.
        out: Where the new policy, or checkpoint, goes; a folder that is not there yet.
        add_sensor: Columns to append to the observation; of a Dict, entry/column.
        drop: Columns, or entries of a Dict, to take away; their mean stands for them.
        rename: New names of columns, entries or actions.
        hidden: New widths of the hidden layers.
        critic_hidden: The same for the critic.
        observation_names: Names for the columns of the policy, divided by commas, where they have
            none; of a Dict entry=a,b,c for each entry.
        action_names: The same for its actions.
        new_observation_names: The same for the new environment.
        new_action_names: The same for its actions.
        positions: Match what has no names by its place.
        means: What stands for a dropped column, in its own units: column=value. Without it: its
            mean in the statistics of the normaliser, or in --observations.
        new_share: Probability that all new discrete actions get together, at most.
        observations: Recorded observations of the policy to measure on: a file of numpy, .npy with
            an array (N, columns), or .npz with one array for each entry.
        seed: Of weights that are new.
        dry_run: Print the plan; write nothing.
        trust: Networks that the policy's file may name although they are not built in.
        json: Print one JSON object.
    """

    policy: Annotated[Path, tyro.conf.Positional]
    out: Annotated[Path | None, otherwise("required, but for --dry-run")] = None
    add_sensor: Annotated[tuple[str, ...], _SEVERAL] = ()
    drop: Annotated[tuple[str, ...], _SEVERAL] = ()
    rename: Annotated[tuple[str, ...], _PAIRS] = ()
    hidden: Annotated[tuple[int, ...], otherwise("default: as they are")] = ()
    critic_hidden: Annotated[tuple[int, ...], otherwise("default: as hidden")] = ()
    observation_names: Annotated[tuple[str, ...], _NAMES] = ()
    action_names: Annotated[str, _NAMES] = ""
    new_observation_names: Annotated[tuple[str, ...], _NAMES] = ()
    new_action_names: Annotated[str, _NAMES] = ""
    positions: bool = False
    means: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[NAME=VALUE ...]")] = ()
    new_share: float = 0.01
    observations: Annotated[Path | None, otherwise("default: sampled")] = None
    seed: int = 0
    dry_run: bool = False
    trust: Annotated[tuple[str, ...], _SEVERAL] = ()
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run ``heredity transfer``."""
    told = "What the new policy is for; with it, --help lists that environment's options."
    fields: list[Any] = [
        ("transfer", tyro.conf.OmitArgPrefixes[_Transfer]),
        *environment_fields(peek(arguments, "--env"), told, "default: the spaces it has"),
    ]
    kind = dataclasses.make_dataclass("Transfer", fields, frozen=True)
    kind.__doc__ = (
        "Move a policy to other sensors, other actions or wider layers: columns are found again by "
        "name, what stays the same is guaranteed and measured."
    )
    given: Any = parse(kind, arguments, "heredity transfer")
    how: _Transfer = given.transfer
    _check(how, given.env)
    with only_json(how.json):
        found, report = _transfer(how, given.env, given.options)
    if how.json:
        print_json(found)
        return 0
    out = console()
    if not sys.stdout.isatty():
        out.width = ANY_WIDTH
    if told := choice_told(how.policy):
        out.print(escape(told), soft_wrap=True)
    out.print(report)
    if found["out"] is None:
        out.print("[dim]nothing was written: this was a dry run[/]")
    else:
        out.print(f"wrote [bold]{escape(found['out'])}[/], a {found['kind']}", soft_wrap=True)
        out.print(f"[dim]policy sha256:{found['policy_hash']}[/]")
    return 0


def _check(how: _Transfer, env: str | None) -> None:
    if how.out is None and not how.dry_run:
        raise UsageError("--out is needed: where the new policy goes; or --dry-run for the plan")
    if how.out is not None and not how.dry_run:
        check_new_folder(how.out, "--out")
    if env is not None and (how.add_sensor or how.drop):
        raise UsageError(
            "--env shows the new observation: leave --add-sensor and --drop out, or --env"
        )


def _transfer(how: _Transfer, env: str | None, options: Any) -> tuple[dict[str, Any], Any]:
    """What was done as a JSON object, and the report."""
    from heredity.policies import Policy

    checkpoint = None
    if kind_of(how.policy) == "checkpoint":
        from heredity.training.checkpoints import read_checkpoint

        place = how.policy / "policy"
        checkpoint = read_checkpoint(how.policy)
        policy = checkpoint.to_policy(how.trust)
    else:
        place = policy_folder(how.policy)
        policy = Policy.from_pretrained(place, trust=how.trust)
    space = policy.spec.observation_space
    recorded = None if how.observations is None else _recorded(how.observations, space)
    plan = _plan(policy, how, env, options, recorded)
    found: dict[str, Any] = {
        "kind": "policy" if checkpoint is None else "checkpoint",
        "source": {"path": str(place), "policy_hash": policy.policy_hash},
        "out": None,
        "policy_hash": None,
        **plan.to_json(),
    }
    if how.dry_run:
        return found, plan.report
    assert how.out is not None  # checked before
    if checkpoint is not None:
        from heredity.training.checkpoints import write_checkpoint_folder
        from heredity.training.transfer import transfer

        moved, report = transfer(checkpoint, plan, recorded)
        write_checkpoint_folder(how.out, moved)
    else:
        moved, report = policy.transfer(plan, recorded)
        moved.save_pretrained(how.out)
    found |= {"out": str(how.out), "policy_hash": moved.lineage.head, "report": report.to_json()}
    return found, report


def _plan(policy: Any, how: _Transfer, env: str | None, options: Any, recorded: Any) -> Any:
    names = _names("--observation-names", how.observation_names, how.action_names)
    new_names = _names("--new-observation-names", how.new_observation_names, how.new_action_names)
    observation, action, environment = None, None, None
    if env is not None:
        from heredity.environments import make

        made = make(env, num_envs=1, **options_given(options))
        try:
            observation, action = made.observation_space, made.action_space
            environment = made.spec.to_json() if made.spec else None
        finally:
            if hasattr(made, "close"):
                made.close()  # pyright: ignore[reportAttributeAccessIssue]
    return policy.plan_transfer(
        observation,
        action,
        add=how.add_sensor,
        drop=how.drop,
        renamed=_pairs(how.rename, "--rename OLD=NEW"),
        hidden=how.hidden or None,
        critic_hidden=how.critic_hidden or None,
        names=names,
        new_names=new_names,
        positions=how.positions,
        means=_numbers(_pairs(how.means, "--means NAME=VALUE")),
        observations=recorded,
        new_share=how.new_share,
        environment=environment,
        seed=how.seed,
    )


def _names(flag: str, words: Sequence[str], actions: str) -> Any:
    """Names of columns, of the only entry or ``entry=a,b,c`` for each, and of actions."""
    found: dict[str, tuple[str, ...]] = {}
    if any("=" in word for word in words):
        for entry, names in _pairs(words, f"{flag} ENTRY=NAME,NAME").items():
            found[f"observation/{entry}"] = _divided(names)
    elif len(words) > 1:
        told = ",".join(words)
        raise UsageError(f"{flag} {' '.join(words)}: one word was expected, {flag} {told}")
    elif words and not actions:
        return _divided(words[0])
    elif words:
        found["observation"] = _divided(words[0])
    if actions:
        found["action"] = _divided(actions)
    return found


def _divided(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(","))


def _pairs(words: Sequence[str], expected: str) -> dict[str, str]:
    found = {}
    for word in words:
        left, sign, right = word.partition("=")
        if not (left and sign and right):
            raise UsageError(f"{word!r}: {expected} was expected")
        found[left] = right
    return found


def _numbers(pairs: dict[str, str]) -> dict[str, float]:
    found = {}
    for name, text in pairs.items():
        try:
            found[name] = float(text)
        except ValueError:
            raise UsageError(f"--means {name}={text}: a number was expected") from None
    return found


def _recorded(path: Path, space: Any) -> Any:
    """Observations of a space from a file of numpy: one array, or one for each entry.

    Raises:
        RefusedError: when the file is torn, or holds other observations.
    """
    from heredity.policies.given import checked_observation
    from heredity.spaces import Dict, space_in_words
    from heredity.weights import flatten

    loaded = _arrays(path)
    if isinstance(loaded, dict) and not isinstance(space, Dict):
        if len(loaded) > 1:
            told = f"has {len(loaded)} arrays, {', '.join(sorted(loaded)[:5])}"
            expected = f"one array of observations (N, …) was expected, {space_in_words(space)}"
            raise RefusedError(path, f"{told}: {expected}")
        loaded = next(iter(loaded.values()), None)
    try:
        seen, several = checked_observation(space, loaded)
    except MismatchError as error:
        remedy = "Give observations of the policy that is transferred, (N, …)"
        raise RefusedError(path, error.problem, remedy) from None
    if not several:
        raise RefusedError(path, "is one observation: several were expected, (N, …)")
    if any(len(leaf) == 0 for leaf in flatten({"observation": seen}).values()):
        raise RefusedError(path, "has no observations")
    return loaded


def _arrays(path: Path) -> Any:
    import numpy as np

    from heredity.weights import unflatten
    from heredity.weights.reading.npz import read_numpy

    found = read_numpy(path)
    try:
        return found if isinstance(found, np.ndarray) else unflatten(found)
    except UsageError as error:
        raise RefusedError(path, f"has arrays that are no observation ({error})") from None
