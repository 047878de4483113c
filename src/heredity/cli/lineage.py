"""``heredity lineage``: where a policy's weights come from."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.markup import escape
from rich.tree import Tree

from heredity.cli.output import ANY_WIDTH, SHORT_HASH, console, only_json, print_json
from heredity.cli.parsing import parse
from heredity.cli.places import choice_told, policy_folder
from heredity.common.errors import HeredityError, RefusedError
from heredity.common.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class LineageArguments:
    """Show every ancestor of a policy: what was done, at which step, with which hash and score.

    Args:
        policy: Folder of a policy, checkpoint, snapshot or run; of a run, the best checkpoint is
            taken.
        verify: Also find each ancestor in the run folder and check its weights.
        json: Print one JSON object.
    """

    policy: Annotated[Path, tyro.conf.Positional]
    verify: bool = False
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run ``heredity lineage``."""
    given = parse(LineageArguments, arguments, "heredity lineage")
    with only_json(given.json):
        found = describe(given.policy, given.verify)
    if given.json:
        print_json(found)
    else:
        _show(found, choice_told(given.policy))
        if given.verify:
            console().print(_verdict(found["entries"]))
    return 3 if any(entry.get("verified") == "altered" for entry in found["entries"]) else 0


def describe(path: Path, verify: bool) -> dict[str, Any]:
    """The lineage as a JSON object, snapshots of the same run among its entries.

    A policy names the snapshot before it by hash; they are followed back as far as they are kept.

    Raises:
        RefusedError: when the policy itself is torn or altered.
    """
    from heredity.policies.files import load_policy

    place = policy_folder(path)
    _, _, lineage, policy_hash = load_policy(place)
    entries = [entry.to_json() for entry in lineage.entries]
    kept = _kept_policies(place)
    entries = _with_snapshots(entries, kept)
    if verify:
        for entry in entries:
            entry["verified"] = _verified(entry["hash"], policy_hash, kept)
        _check_parents(place, entries)
    return {"policy_hash": policy_hash, "path": str(place), "entries": entries}


def _kept_policies(place: Path) -> dict[str, Path]:
    """Policies of the same run that are still there, by the hash their lineage gives them."""
    from heredity.policies.files import read_lineage

    kept: dict[str, Path] = {}
    root = place.resolve().parent.parent.parent
    if not (root / "config.json").exists():
        return kept
    folder = RunFolder(root)
    for step in folder.checkpoint_steps():
        _add(kept, folder.checkpoint(step) / "policy", read_lineage)
    for step in folder.snapshot_steps():
        _add(kept, folder.snapshot(step) / "policy", read_lineage)
    return kept


def _add(kept: dict[str, Path], place: Path, read: Any) -> None:
    try:
        _, record = read(place)
    except RefusedError as error:
        # Torn neighbours do not make this policy's lineage unreadable, but they are told.
        console().print(f"[yellow]{escape(str(error))}[/]")
        return
    kept[str(record["policy_hash"])] = place


def _with_snapshots(entries: list[dict[str, Any]], kept: dict[str, Path]) -> list[dict[str, Any]]:
    from heredity.policies.files import read_lineage

    # A snapshot and what came after it can be the same weights: known is not yet followed.
    followed: set[str] = set()
    found = list(entries)
    known = {_identity(entry) for entry in entries}
    wanted = [entry["parent"] for entry in entries]
    while wanted:
        parent = wanted.pop()
        if parent in followed or parent not in kept:
            continue
        followed.add(parent)
        lineage, _ = read_lineage(kept[parent])
        if not lineage.entries:
            continue
        last = lineage.entries[-1].to_json()
        if _identity(last) not in known:
            known.add(_identity(last))
            found.append(last)
        wanted.append(last["parent"])
    order = {"train": 0, "snapshot": 1, "checkpoint": 2, "rollback": 3, "resume": 4}
    return sorted(found, key=lambda e: (e["step"], order.get(e["operation"], 9)))


def _identity(entry: dict[str, Any]) -> tuple[str, int, str]:
    return entry["operation"], entry["step"], entry["hash"]


def _verified(policy_hash: str, own: str, kept: dict[str, Path]) -> str:
    from heredity.policies.files import load_policy

    if policy_hash == own:
        return "verified"
    if policy_hash not in kept:
        return "not kept"
    try:
        *_, found = load_policy(kept[policy_hash])
    except HeredityError as error:
        console().print(f"[red]{escape(str(error))}[/]")
        return "altered"
    return "verified" if found == policy_hash else "altered"


def _check_parents(place: Path, entries: list[dict[str, Any]]) -> None:
    """Every entry but the first names a parent, and none names its own future.

    Adds ``parent_verified``: ``recorded`` when an entry with that hash is not after it, and
    ``not kept`` when no entry has it.
    """
    first: dict[str, int] = {}  # the earliest step at which there were weights of that hash
    for entry in entries:
        first[entry["hash"]] = min(entry["step"], first.get(entry["hash"], entry["step"]))
    for index, entry in enumerate(entries):
        parent = entry["parent"]
        if (parent is None) != (index == 0):
            raise RefusedError(
                place / "lineage.json",
                f"entry {index} ({entry['operation']}) has parent {parent!r}",
                "The lineage was not written by heredity",
            )
        if parent is None:
            entry["parent_verified"] = None
            continue
        if first.get(parent, 0) > entry["step"]:
            raise RefusedError(
                place / "lineage.json",
                f"entry {index} ({entry['operation']}, step {entry['step']:,}) has the parent "
                f"{parent[:12]}…, weights of step {first[parent]:,}",
                "The lineage was not written by heredity",
            )
        entry["parent_verified"] = "recorded" if parent in first else "not kept"


def _verdict(entries: list[dict[str, Any]]) -> str:
    """One line that says how a verification ended."""
    by_outcome: dict[str, set[str]] = {}
    for entry in entries:
        by_outcome.setdefault(entry["verified"], set()).add(entry["hash"])
        if entry["parent_verified"] == "not kept":
            by_outcome.setdefault("not kept", set()).add(entry["parent"])
    altered = by_outcome.get("altered", set())
    checked = len(by_outcome.get("verified", set()) | altered)
    gone = len(by_outcome.get("not kept", set()))
    told = f"{checked} weights checked"
    if gone:
        told += f", {gone} no longer kept (pruned)"
    if altered:
        return f"[red]chain broken: {told}, {len(altered)} altered[/]"
    return f"[green]chain whole[/]: {told}"


def _show(found: dict[str, Any], told: str) -> None:
    # On a terminal an entry fits into a line of 80 columns; elsewhere nothing is shortened or
    # wrapped, so that a line can be searched and cut.
    short = sys.stdout.isatty()
    out = console()
    if not short:
        out.width = ANY_WIDTH
    if told:
        out.print(escape(told))
    out.print(_drawn(found, short))


def _drawn(found: dict[str, Any], short: bool) -> Tree:
    tree = Tree(f"[bold]{escape(found['path'])}[/]\nsha256:{found['policy_hash']}")
    width = max((len(f"{entry['step']:,}") for entry in found["entries"]), default=0)
    branch = tree
    for entry in found["entries"]:
        # A new branch where a process began, so that runs and resumes are seen at a glance.
        begins = entry["operation"] in ("train", "resume", "rollback")
        words = [
            f"[bold]{escape(entry['operation']):<10}[/] step {entry['step']:>{width},}",
            escape(entry["hash"][:SHORT_HASH] if short else entry["hash"]),
        ]
        if score := entry.get("score"):
            mean, deviation = score["mean_return"], score["std_return"]
            digits = 0 if short and abs(mean) >= 1000 else 1
            words.append(f"return {mean:,.{digits}f} ± {deviation:,.{digits}f}")
        if not short:
            words.append(f"[dim]{escape(entry['time'])}[/]")
        elif begins:
            words.append(f"[dim]{escape(entry['time'][:16].replace('T', ' '))}[/]")
        if verified := entry.get("verified"):
            mark = _MARK[verified] if short else verified
            words.append(f"[{_COLOR[verified]}]{mark}[/]")
        line = "  ".join(words)
        if entry.get("parent_verified") == "not kept":
            # Below the entry, where it does not fit beside it.
            parent = entry["parent"][:SHORT_HASH] if short else entry["parent"]
            told = f"parent {escape(parent)} not kept"
            line += f"\n{'':10} [dim]{told}[/]" if short else f"  [dim]{told}[/]"
        if begins:
            branch = tree.add(line)
        else:
            branch.add(line)
    return tree


_COLOR = {"verified": "green", "not kept": "dim", "altered": "red"}
_MARK = {"verified": "✓", "not kept": "–", "altered": "altered"}
