"""``heredity inspect``: what a folder is, verified, running nothing."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.markup import escape

from heredity.cli.output import ANY_WIDTH, SHORT_HASH, console, only_json, print_json
from heredity.cli.parsing import parse
from heredity.cli.places import kind_of
from heredity.common.errors import HeredityError, RefusedError
from heredity.common.group_folder import GroupFolder
from heredity.common.run_folder import RunFolder
from heredity.common.words import environment_in_words, in_words, seconds_in_words, space_in_words


@dataclasses.dataclass(frozen=True)
class Inspect:
    """Show what a policy, checkpoint, snapshot or run is. Every hash is checked; nothing is run.

    Args:
        path: Folder of a policy, checkpoint, snapshot or run; of a run, the last whole checkpoint
            is shown, of several seeds what each has reached.
        json: Print one JSON object.
    """

    path: Annotated[Path, tyro.conf.Positional]
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run ``heredity inspect``."""
    given = parse(Inspect, arguments, "heredity inspect")
    with only_json(given.json):
        found = inspect(given.path)
    if given.json:
        print_json(found)
    else:
        _show(found)
    problems = [one["problem"] for one in found.get("members", {}).values() if "problem" in one]
    for problem in problems:
        print(f"heredity: {problem}", file=sys.stderr)
    return RefusedError.exit_code if problems else 0


def inspect(path: Path) -> dict[str, Any]:
    """What a folder is, as a JSON object.

    Raises:
        RefusedError: naming the file that is missing, torn, altered or from the future.
    """
    kind = kind_of(path)
    if kind == "group":
        return _inspect_group(path)
    if kind == "run":
        return _inspect_run(path)
    if kind == "policy":
        return {"kind": kind, "path": str(path), **_inspect_policy(path)}
    found: dict[str, Any] = {"kind": kind, "path": str(path)}
    if kind == "checkpoint":
        from heredity.training.checkpoints import verify_checkpoint

        manifest = verify_checkpoint(path, shared=True)
        found |= {"run": manifest["run"], **_of_the_manifest(manifest), "files": manifest["files"]}
    return {**found, **_inspect_policy(path / "policy")}


def _of_the_manifest(notes: dict[str, Any]) -> dict[str, Any]:
    return {
        "exactness": notes["exactness"],
        "best": notes["best"],
        "frozen": sorted(notes["frozen"]),
        "elapsed_seconds": notes["elapsed"],
        "numerics": notes["numerics"],
    }


def _inspect_policy(path: Path) -> dict[str, Any]:
    from heredity.policies.files import load_policy
    from heredity.policies.policy import Policy
    from heredity.spaces import space_to_json
    from heredity.weights import count, unflatten

    spec, leaves, lineage, policy_hash = load_policy(path)
    if not any(":" in kind for kind in spec.network_kinds):
        # Whether they fit each other; code that the file names is not run for a look at it.
        Policy.from_pretrained(path)
    last = lineage.entries[-1] if lineage.entries else None
    return {
        "step": last.step if last else None,
        "policy_hash": policy_hash,
        "parameters": count(unflatten(leaves)),
        "observation_space": space_to_json(spec.observation_space),
        "action_space": space_to_json(spec.action_space),
        "actor": spec.actor.to_json(),
        "critic": spec.critic.to_json() if spec.critic else None,
        "trunk": spec.trunk.to_json() if spec.trunk else None,
        "distribution": spec.distribution.to_json(),
        "normalize_observations": spec.normalize_observations,
        "environment": spec.environment,
        "algorithm": spec.algorithm,
        "score": lineage.score_of(policy_hash),
        "weights": {
            name: {"shape": list(leaf.shape), "dtype": leaf.dtype.name}
            for name, leaf in leaves.items()
        },
        "lineage": [
            {"operation": e.operation, "step": e.step, "hash": e.hash} for e in lineage.entries
        ],
        "versions": dict(last.versions) if last else {},
    }


def _inspect_run(path: Path) -> dict[str, Any]:
    from heredity.training.checkpoints import newest_whole_checkpoint

    folder = RunFolder(path)
    config = folder.read_config()
    # As a resume does: what was put here from another run is not this run's.
    run_id = config.get("run_id")
    checkpoint, refused = newest_whole_checkpoint(folder, run_id)
    found: dict[str, Any] = {
        "kind": "run",
        "path": str(path),
        "run": config.get("run_id"),
        "algorithm": config.get("algorithm"),
        "environment": config.get("environment"),
        "seed": config.get("seed"),
        "total_timesteps": config.get("total_timesteps"),
        "checkpoints": folder.checkpoint_steps(),
        "snapshots": folder.snapshot_steps(),
        "refused": [str(error) for error in refused],
    }
    if checkpoint is None:
        return {**found, "step": 0, "policy_hash": None}
    shown = folder.checkpoint(checkpoint.step)
    found |= {"shown": str(shown), **_of_the_manifest(checkpoint.notes)}
    return {**found, **_inspect_policy(shown / "policy")}


def _inspect_group(path: Path) -> dict[str, Any]:
    """What each seed has reached; one that cannot be shown has a ``problem``, and no ``step``."""
    group = GroupFolder(path)
    config = group.read_config()
    members: dict[str, dict[str, Any]] = {}
    for seed in group.members(config):
        root = group.member(seed).root
        try:
            group.read_member(seed, config)
            one = _inspect_run(root)
            if one["refused"] and one["policy_hash"] is None:
                raise RefusedError(root, f"has no whole checkpoint: {one['refused'][0]}")
            members[root.name] = one
        except HeredityError as error:
            members[root.name] = {"path": str(root), "step": None, "problem": str(error)}
    return {
        "kind": "group",
        "path": str(path),
        "run": config.get("run_id"),
        "algorithm": config.get("algorithm"),
        "environment": config.get("environment"),
        "seeds": config.get("seeds"),
        "total_timesteps": config.get("total_timesteps"),
        "members": members,
    }


_TOLD_ELSEWHERE = {"weights", "lineage", "files", "frozen", "members"}


def _show(found: dict[str, Any]) -> None:
    from rich.table import Table

    out = console()
    if not sys.stdout.isatty():
        out.width = ANY_WIDTH
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")  # a path or a hash that is cut short is of no use
    for name, value in found.items():
        if name in _TOLD_ELSEWHERE or value is None or value in ([], {}):
            continue
        label = _LABELS.get(name, name.replace("_", " "))
        table.add_row(f"[bold]{label}[/]", escape(_told(name, value, found)))
    out.print(table)
    if found.get("members"):
        members = Table("", "step", "best", "resume", "policy", box=None, padding=(0, 2, 0, 0))
        for name, one in found["members"].items():
            best, exact = one.get("best"), one.get("exactness")
            members.add_row(
                escape(name),
                "refused" if one["step"] is None else f"{one['step']:,}",
                "–" if best is None else escape(_told("best", best, one)),
                "–" if exact is None else "exact" if exact["exact"] else "not exact",
                escape(str(one.get("policy_hash") or "–")[:SHORT_HASH]),
            )
        out.print(members)
        for one in found["members"].values():
            for refused in one.get("refused", ()):
                out.print(f"[yellow]refused[/]  {escape(refused)}", soft_wrap=True)
    if found.get("weights"):
        weights = Table("weights", "shape", "dtype", box=None, padding=(0, 2, 0, 0))
        for name, leaf in found["weights"].items():
            frozen = " [cyan](frozen)[/]" if name in found.get("frozen", ()) else ""
            shape = "×".join(map(str, leaf["shape"])) or "–"
            weights.add_row(escape(name) + frozen, shape, leaf["dtype"])
        out.print(weights)
    for entry in found.get("lineage", ()):
        short = entry["hash"][:SHORT_HASH]
        line = f"{entry['operation']:<10} step {entry['step']:>12,}  sha256:{short}"
        out.print(f"[dim]{escape(line)}[/]")


_FLAGS = {"True": "yes", "False": "no", "None": "default"}
_LABELS = {"elapsed_seconds": "time spent"}


def _told(name: str, value: Any, found: dict[str, Any]) -> str:
    match name, value:
        case "seed", int():
            return str(value)
        case "seeds", list():
            return f"{len(value)}: {value[0]} … {value[-1]}"
        case "policy_hash", str():
            return f"sha256:{value}"
        case "shown", str():
            return f"last whole checkpoint, step {found['step']:,}"
        case "score", dict():
            spread = f"{value['mean_return']:.2f} ± {value['std_return']:.2f}"
            return f"{spread} over {value['episodes']} episodes"
        case "best", dict():
            return f"step {value['step']:,}, return {value['mean']:,.2f}"
        case "exactness", dict():
            return "exact" if value["exact"] else f"not exact: {value['reason']}"
        case (("checkpoints" | "snapshots"), list()):
            return f"{len(value):,}: {value[0]:,} … {value[-1]:,}"
        case (("observation_space" | "action_space"), dict()):
            return space_in_words(value)
        case "environment", dict():
            return environment_in_words(value)
        case "elapsed_seconds", float():
            return seconds_in_words(value)
        case "numerics", dict():
            # Recorded as Python wrote them.
            return in_words({key: _FLAGS.get(str(part), part) for key, part in value.items()})
        case "refused", list():
            return "\n".join(map(str, value))
    return in_words(value)
