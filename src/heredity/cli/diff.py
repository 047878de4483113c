"""``heredity diff``: what two policies have in common, weight by weight, and in what they do."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.markup import escape
from rich.table import Table

from heredity.cli.output import ANY_WIDTH, SHORT_HASH, console, only_json, print_json
from heredity.cli.parsing import parse
from heredity.cli.places import choice_told, policy_folder
from heredity.common.errors import HeredityError, UsageError


@dataclasses.dataclass(frozen=True)
class Diff:
    """Compare two policies: each path of their weights, and how differently they act.

    Args:
        a: Folder of a policy, checkpoint, snapshot or run; of a run, the best checkpoint is taken.
        b: The same of the other one.
        observations: On how many drawn observations their actions are compared; 0 for none.
        seed: Decides which observations are drawn.
        all: Also list the paths that are the same.
        trust: Networks that the policies' files may name although they are not built in.
        json: Print one JSON object.
    """

    a: Annotated[Path, tyro.conf.Positional]
    b: Annotated[Path, tyro.conf.Positional]
    observations: int = 1000
    seed: int = 0
    all: bool = False
    trust: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[NAME ...]")] = ()
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run ``heredity diff``."""
    given = parse(Diff, arguments, "heredity diff")
    if given.observations < 0:
        raise UsageError(f"--observations {given.observations}: a whole number >= 0 was expected")
    with only_json(given.json):
        found = describe(given)
    if given.json:
        print_json(found)
    else:
        _show(found, given)
    return 0


def describe(given: Diff) -> dict[str, Any]:
    """The differences as a JSON object.

    Raises:
        RefusedError: when one of the policies is torn or altered.
    """
    from heredity.policies.behaviour import compare
    from heredity.policies.policy import Policy
    from heredity.weights import diff

    places = [policy_folder(path) for path in (given.a, given.b)]
    a, b = (Policy.from_pretrained(place, trust=given.trust) for place in places)
    behaviour: dict[str, Any] | None = None
    reason = "" if given.observations else "not asked for"
    if given.observations:
        try:
            found = compare(a, b, count=given.observations, seed=given.seed)
            behaviour = found.to_json()
        except HeredityError as error:
            reason = str(error)
    return {
        "a": {"path": str(places[0]), "policy_hash": a.policy_hash},
        "b": {"path": str(places[1]), "policy_hash": b.policy_hash},
        "same": a.policy_hash == b.policy_hash,
        **diff(a.params, b.params).to_json(),
        "behaviour": behaviour,
        "behaviour_missing": reason,
    }


def _show(found: dict[str, Any], given: Diff) -> None:
    out = console()
    if not sys.stdout.isatty():
        out.width = ANY_WIDTH
    for name, path in (("a", given.a), ("b", given.b)):
        told = choice_told(path) or found[name]["path"]
        out.print(f"[bold]{name}[/]  {found[name]['policy_hash'][:SHORT_HASH]}  {escape(told)}")
    shown = [leaf for leaf in found["leaves"] if given.all or leaf["state"] != "same"]
    if shown:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("path", overflow="fold")
        for name in ("relative change", "cosine", "norm a", "norm b"):
            table.add_column(name, justify="right")
        table.add_column("", overflow="fold")
        for leaf in shown:
            table.add_row(
                escape(leaf["path"]),
                *(_number(leaf[name]) for name in ("relative", "cosine", "norm_a", "norm_b")),
                _state(leaf),
            )
        out.print(table)
    counts = ", ".join(f"{number} {state}" for state, number in found["counts"].items())
    out.print(f"[bold]weights[/]: {counts}", soft_wrap=True)
    out.print(f"[bold]behaviour[/]: {_behaviour(found)}", soft_wrap=True)


def _number(value: Any) -> str:
    if value is None:
        return "–"
    number = float(value)
    return f"{number:.3g}" if abs(number) < 1e-3 or abs(number) >= 1e4 else f"{number:.4f}"


def _state(leaf: dict[str, Any]) -> str:
    state = "" if leaf["state"] == "changed" else leaf["state"]
    return escape(": ".join(filter(None, (state, leaf["note"]))))


def _behaviour(found: dict[str, Any]) -> str:
    behaviour = found["behaviour"]
    if behaviour is None:
        return f"not compared ({escape(found['behaviour_missing'])})"
    parts = [f"the same action on {behaviour['same']:.1%} of {behaviour['observations']}"]
    if behaviour["mean"] is not None:
        parts.append(
            f"absolute difference {behaviour['mean']:.3g} in the mean, "
            f"{behaviour['largest']:.3g} at most"
        )
    if behaviour["kl_mean"] is not None:
        parts.append(
            f"KL {behaviour['kl_mean']:.3g} nats in the mean, {behaviour['kl_largest']:.3g} at most"
        )
    return "; ".join(parts)
