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
from heredity.common.words import counted


@dataclasses.dataclass(frozen=True)
class LineageArguments:
    """Show every ancestor of a policy: what was done, at which step, with which hash and score.

    Args:
        policy: Folder of a policy, checkpoint, snapshot or run; of a run, the best checkpoint is
            taken.
        verify: Also find each ancestor in the run folder and check its weights.
        search: Further folders of policies or runs in which ancestors are looked for.
        json: Print one JSON object.
    """

    policy: Annotated[Path, tyro.conf.Positional]
    verify: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    search: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="[DIR ...]")] = ()
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


def main(arguments: Sequence[str]) -> int:
    """Run ``heredity lineage``."""
    given = parse(LineageArguments, arguments, "heredity lineage")
    with only_json(given.json):
        found = describe(given.policy, given.verify, given.search)
    if given.json:
        print_json(found)
    else:
        _show(found, choice_told(given.policy))
        if given.verify:
            told = _verdict_in_words(found["verdict"], found["weights"])
            console().print(told, soft_wrap=not sys.stdout.isatty())
    return 3 if found.get("verdict") == "broken" else 0


def describe(path: Path, verify: bool, search: Sequence[Path] = ()) -> dict[str, Any]:
    """The lineage as a JSON object, snapshots of the same run among its entries.

    A policy names the snapshot before it by hash; they are followed back as far as they are kept.

    Args:
        path: Of a policy, checkpoint, snapshot or run.
        verify: Whether to check the weights of every ancestor that is found.
        search: Where else ancestors may lie.

    Raises:
        RefusedError: when the policy itself is torn or altered.
    """
    from heredity.policies.files import load_policy

    place = policy_folder(path)
    _, _, lineage, policy_hash = load_policy(place)
    entries = [entry.to_json() for entry in lineage.entries]
    kept = _kept_policies(place)
    for other in search:
        for found in _searched(other):
            _add(kept, found)
    entries = _with_snapshots(entries, kept)
    _add_scores(entries)
    if verify:
        for entry in entries:
            entry["verified"] = _verified(entry["hash"], policy_hash, kept)
        _check_parents(place, entries)
    found = {"policy_hash": policy_hash, "path": str(place), "entries": entries}
    return {**found, **_verdict(entries)} if verify else found


def _searched(path: Path) -> list[Path]:
    """Every policy in a folder, however deep.

    Raises:
        RefusedError: when there is none.
    """
    if not path.is_dir():
        raise RefusedError(path, "is not there, or no folder", "Check the path given with --search")
    found = sorted(file.parent for file in path.rglob("lineage.json"))
    if not found:
        raise RefusedError(path, "holds no policy", "Check the path given with --search")
    return found


def _kept_policies(place: Path) -> dict[str, list[Path]]:
    """This policy and those of the same run that are there, by the hash their lineage gives."""
    kept: dict[str, list[Path]] = {}
    _add(kept, place)
    root = place.resolve().parent.parent.parent
    if not (root / "config.json").exists():
        return kept
    folder = RunFolder(root)
    for step in folder.checkpoint_steps():
        _add(kept, folder.checkpoint(step) / "policy")
    for step in folder.snapshot_steps():
        _add(kept, folder.snapshot(step) / "policy")
    return kept


def _add(kept: dict[str, list[Path]], place: Path) -> None:
    from heredity.policies.files import read_lineage

    try:
        _, record = read_lineage(place)
    except RefusedError as error:
        # Torn neighbours do not make this policy's lineage unreadable, but they are told.
        _tell(error)
        return
    kept.setdefault(str(record["policy_hash"]), []).append(place)


def _tell(error: HeredityError) -> None:
    print(f"heredity: {error}", file=sys.stderr)


def _with_snapshots(
    entries: list[dict[str, Any]], kept: dict[str, list[Path]]
) -> list[dict[str, Any]]:
    """The entries, and before each of them the snapshots that lead to it and are still there."""
    followed: set[tuple[str, str]] = set()
    known = {_identity(entry) for entry in entries}
    ordered: list[dict[str, Any]] = []
    for entry in entries:
        before: list[dict[str, Any]] = []
        now = entry
        while (last := _last_of_parent(now, kept, followed)) is not None:
            # A snapshot and what came after it can be the same weights: known is not yet followed.
            followed.add((last["run"], last["hash"]))
            if _identity(last) not in known:
                known.add(_identity(last))
                before.append(last)
            now = last
        ordered += [*reversed(before), entry]
    return ordered


def _last_of_parent(
    entry: dict[str, Any], kept: dict[str, list[Path]], followed: set[tuple[str, str]]
) -> dict[str, Any] | None:
    """What a policy that is still there says last of the weights that an entry came from."""
    from heredity.policies.files import read_lineage

    # Snapshots were added after checkpoints of the same weights, and lead further back.
    for place in reversed(kept.get(entry["parent"] or "", ())):
        lineage, _ = read_lineage(place)
        if not lineage.entries:
            continue
        last = lineage.entries[-1].to_json()
        # A run begins with weights of others; those of its own come after it.
        belongs = (entry["operation"] == "train") != (last["run"] == entry["run"])
        if belongs and (last["run"], last["hash"]) not in followed:
            return last
    return None


def _add_scores(entries: list[dict[str, Any]]) -> None:
    """Adds what the weights scored before and after each entry, as far as anybody measured."""
    scores: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if entry["score"] is not None:
            scores[entry["hash"]] = entry["score"]
    for entry in entries:
        entry["score_before"] = scores.get(entry["parent"])
        entry["score_after"] = scores.get(entry["hash"])


def _identity(entry: dict[str, Any]) -> tuple[str, int, str]:
    return entry["operation"], entry["step"], entry["hash"]


def _verified(policy_hash: str, own: str, kept: dict[str, list[Path]]) -> str:
    from heredity.policies.files import load_policy

    if policy_hash == own:
        return "verified"
    if policy_hash not in kept:
        return "not kept"
    for place in kept[policy_hash]:
        try:
            *_, found = load_policy(place)
        except HeredityError as error:
            _tell(error)
            return "altered"
        if found != policy_hash:
            return "altered"
    return "verified"


def _check_parents(place: Path, entries: list[dict[str, Any]]) -> None:
    """Every entry but the first names a parent, and none names the future of its own run.

    Adds ``parent_verified``: ``recorded`` when an entry with that hash is not after it, and
    ``not kept`` when no entry has it.
    """
    # The earliest step at which a run had weights of that hash; another run counts anew.
    first: dict[tuple[str, str], int] = {}
    for entry in entries:
        weights = entry["run"], entry["hash"]
        first[weights] = min(entry["step"], first.get(weights, entry["step"]))
    known = {entry["hash"] for entry in entries}
    for index, entry in enumerate(entries):
        parent = entry["parent"]
        if parent is None and index > 0:
            raise RefusedError(
                place / "lineage.json",
                f"entry {index} ({entry['operation']}) has parent {parent!r}",
                "The lineage was not written by heredity",
            )
        if parent is None:
            entry["parent_verified"] = None
            continue
        step = first.get((entry["run"], parent), 0)
        if step > entry["step"]:
            raise RefusedError(
                place / "lineage.json",
                f"entry {index} ({entry['operation']}, step {entry['step']:,}) has the parent "
                f"{parent[:12]}…, weights of step {step:,}",
                "The lineage was not written by heredity",
            )
        entry["parent_verified"] = "recorded" if parent in known else "not kept"


def _verdict(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """How a verification ended, and how many weights were checked, or could not be.

    ``whole``, ``broken`` (weights are not the recorded ones), or ``incomplete``: weights of another
    run were not found. Those that the run itself pruned leave it whole: their hashes are recorded.
    """
    by_outcome: dict[str, set[str]] = {}
    for entry in entries:
        by_outcome.setdefault(entry["verified"], set()).add(entry["hash"])
        if entry["parent_verified"] == "not kept":
            by_outcome.setdefault("not kept", set()).add(entry["parent"])
    altered = by_outcome.get("altered", set())
    missing = by_outcome.get("not kept", set())
    own = {entry["hash"] for entry in entries if entry["run"] == entries[-1]["run"]}
    others = {entry["hash"] for entry in entries} - own
    weights = {
        "checked": len(by_outcome.get("verified", set()) | altered),
        "altered": len(altered),
        "pruned": len(missing - others),
        "not_found": len(missing & others),
    }
    verdict = "broken" if altered else "incomplete" if weights["not_found"] else "whole"
    return {"verdict": verdict, "weights": weights}


def _verdict_in_words(verdict: str, weights: dict[str, int]) -> str:
    told = f"{counted(weights['checked'], 'policy')} checked"
    if weights["pruned"]:
        told += f", {weights['pruned']} no longer kept (pruned)"
    if weights["not_found"]:
        told += f", {weights['not_found']} of other runs not found (--search DIR looks for them)"
    if weights["altered"]:
        told += f", {weights['altered']} altered"
    colour = {"whole": "green", "broken": "red", "incomplete": "yellow"}[verdict]
    return f"[{colour}]chain {verdict}[/]: {told}"


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
            words.append(f"return {_told(score, short)}")
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
            node = branch = tree.add(line)
        else:
            node = branch.add(line)
        for told in _operation(entry, short):
            node.add(f"[dim]{escape(told)}[/]")
    return tree


def _told(score: dict[str, Any], short: bool) -> str:
    mean, deviation = score["mean_return"], score["std_return"]
    digits = 0 if short and abs(mean) >= 1000 else 1
    return f"{mean:,.{digits}f} ± {deviation:,.{digits}f}"


def _operation(entry: dict[str, Any], short: bool) -> list[str]:
    """What an operation did to the weights, and what they scored before and after it."""
    from heredity.weights import WeightReport

    arguments = entry.get("arguments", {})
    lines = []
    if entry["operation"] == "import":
        told = (arguments.get("library"), arguments.get("file"), arguments.get("sha256"))
        lines.append("from " + ", ".join(str(each) for each in told if each))
    settings = arguments.get("settings")
    for name in ("freeze", "unfreeze"):
        patterns = settings.get(name) if isinstance(settings, dict) else None
        if isinstance(patterns, list) and patterns:
            lines.append(f"{name} {' '.join(map(str, patterns))}")
    report = arguments.get("report")
    if not report:
        return lines
    lines.append(WeightReport.from_json(report, "lineage.json").summary())
    scores = [
        f"{_told(score, short)} {when}"
        for when in ("before", "after")
        if (score := entry.get(f"score_{when}"))
    ]
    return [*lines, f"return {', '.join(scores)}"] if scores else lines


_COLOR = {"verified": "green", "not kept": "dim", "altered": "red"}
_MARK = {"verified": "✓", "not kept": "–", "altered": "altered"}
