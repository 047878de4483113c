"""``heredity evaluate``: play episodes with a policy."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.markup import escape

from heredity.cli.output import console, only_json, print_json
from heredity.cli.parsing import environment_fields, options_told, parse, peek
from heredity.cli.places import choice_told, kind_of, policy_folder
from heredity.common.errors import DivergedError
from heredity.common.group_folder import GroupFolder


@dataclasses.dataclass(frozen=True)
class _Evaluate:
    """What is evaluated, and how.

    Args:
        policy: Folder of a policy, checkpoint, snapshot or run; of a run, the best checkpoint is
            taken. Of several seeds each is played.
        episodes: How many episodes to play.
        seed: Decides the first states, and the actions drawn.
        stochastic: Draw actions instead of taking the most likely ones.
        trust: Ids of environments, and networks, that the policy's file may name although they are
            not built in.
        json: Print one JSON object.
    """

    policy: Annotated[Path, tyro.conf.Positional]
    episodes: int = 100
    seed: int = 0
    stochastic: bool = False
    trust: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[ID ...]")] = ()
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run ``heredity evaluate``."""
    told = "Where to play; with it, --help lists that environment's options."
    fields: list[Any] = [
        ("evaluation", tyro.conf.OmitArgPrefixes[_Evaluate]),
        *environment_fields(peek(arguments, "--env"), told, "default: where it was trained"),
    ]
    kind = dataclasses.make_dataclass("Evaluate", fields, frozen=True)
    kind.__doc__ = "Play whole episodes with a policy and print the return."
    given: Any = parse(kind, arguments, "heredity evaluate")
    how = given.evaluation
    several = kind_of(how.policy) == "group"
    with only_json(how.json):
        places = _members(how.policy) if several else [how.policy]
        results = _evaluate(places, how, given.env, given.options, arguments)
        found = _over_seeds(how.policy, places, results) if several else results[0]
    if how.json:
        print_json(found)
        return 0
    out = console()
    told = "" if several else choice_told(how.policy)
    if told:
        out.print(escape(told), soft_wrap=True)
    for place, result in zip(places, results, strict=True):
        whose = f"[bold]{escape(place.name)}[/]  " if several else ""
        note = f" ({result['cut']} of them cut off)" if result["cut"] else ""
        out.print(
            f"{whose}return [bold]{result['mean_return']:.2f} ± {result['std_return']:.2f}[/] over "
            f"{result['episodes']} episodes{note} of {escape(str(result['environment']))}, "
            f"mean length {result['mean_length']:.1f}, "
            f"{'deterministic' if result['deterministic'] else 'stochastic'}",
            soft_wrap=True,
        )
        if not several:
            out.print(f"[dim]policy sha256:{result['policy_hash']}[/]")
    if several:
        span = " to ".join(f"{end:.2f}" for end in found["interval"] or ()) or "unknown"
        out.print(
            f"mean of {len(places)} seeds [bold]{found['mean_return']:.2f}[/], "
            f"{found['interval_told']}: [bold]{span}[/]",
            soft_wrap=True,
        )
    return 0


def _members(path: Path) -> list[Path]:
    """The folders of all seeds: a mean over those that happen to be there would be another one."""
    group = GroupFolder(path)
    config = group.read_config()
    seeds = group.members(config)
    for seed in seeds:
        group.read_member(seed, config)
    return [group.member(seed).root for seed in seeds]


def _over_seeds(
    path: Path, places: Sequence[Path], results: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """What several seeds reached together, as a JSON object."""
    from heredity.common.intervals import mean_interval

    interval = mean_interval(result["mean_return"] for result in results)
    return {
        "mean_return": interval.mean,
        "interval": [interval.low, interval.high] if interval.size > 1 else None,
        "interval_told": "95 % t interval of the mean over seeds",
        "environment": results[0]["environment"],
        "path": str(path),
        "seeds": {
            place.name.removeprefix("seed-"): result
            for place, result in zip(places, results, strict=True)
        },
    }


def _evaluate(
    places: Sequence[Path], how: _Evaluate, env: str | None, options: Any, arguments: Sequence[str]
) -> list[dict[str, Any]]:
    from heredity.policies import Policy
    from heredity.training.evaluation import evaluate_policies, scoring_environment

    folders = [policy_folder(place) for place in places]
    policies = [Policy.from_pretrained(folder, trust=how.trust) for folder in folders]
    recorded = policies[0].spec.environment
    told = options_told(options, arguments, env, recorded) if env else None
    with scoring_environment(
        env, how.episodes, recorded, trust=how.trust, options=told
    ) as environment:
        evaluations = evaluate_policies(
            policies,
            environment,
            how.episodes,
            deterministic=not how.stochastic,
            seed=how.seed,
        )
    results = []
    for folder, policy, evaluation in zip(folders, policies, evaluations, strict=True):
        if not evaluation.is_finite:
            raise DivergedError(
                f"the return over {evaluation.episodes} episodes is not finite: the environment "
                "gave rewards that are not, or the policy acts on observations that are not"
            )
        results.append(
            {
                "mean_return": evaluation.mean,
                "std_return": evaluation.std,
                "episodes": evaluation.episodes,
                "policy_hash": policy.policy_hash,
                "environment": env or (recorded or {}).get("id"),
                "mean_length": float(evaluation.lengths.mean()),
                "deterministic": evaluation.deterministic,
                "seed": how.seed,
                "cut": evaluation.cut,
                "path": str(folder),
            }
        )
    return results
