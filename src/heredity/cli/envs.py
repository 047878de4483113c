"""``heredity envs``: what can be made here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from heredity.cli.output import console, only_json, print_json
from heredity.cli.parsing import parse
from heredity.common.errors import UnknownNameError

if TYPE_CHECKING:
    from heredity.environments import AdapterListing

# An adapter with more names than MANY is told by the first few.
MANY = 30
FEW = 6


@dataclasses.dataclass(frozen=True)
class Envs:
    """List the environments that are available here, and what the others need.

    Args:
        what: An adapter, such as atari, to list all of it; or a part of an id, such as cheetah.
        json: Print one JSON object.
    """

    what: Annotated[
        str | None,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[WHAT]", help_behavior_hint="(default: the first few of each)"),
    ] = None
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run ``heredity envs``."""
    given = parse(Envs, arguments, "heredity envs")
    with only_json(given.json):
        listings = _listings(given.what)
    if given.json:
        print_json({listing.name: dataclasses.asdict(listing) for listing in listings})
        return 0
    from rich.markup import escape

    out = console()
    for listing in listings:
        summary = listing.summary.removeprefix(f"{listing.name}: ")
        out.print(f"[bold]{escape(listing.name)}[/]  [dim]{escape(summary)}[/]")
        for told in _told(listing, in_full=given.what is not None):
            out.print(told)
    return 0


def _listings(what: str | None) -> Sequence[AdapterListing]:
    """The adapters that were asked for, with the names that were asked for."""
    from heredity.environments import adapter_names, list_environments

    head, slash, _ = (what or "").partition("/")
    if what is None or head in adapter_names():
        listings = list_environments(*([head] if head else []))
        if not slash:
            return listings
    else:
        listings = list_environments()
    part = (what or "").lower()
    found = [listing for listing in (_matching(row, part) for row in listings) if listing]
    if not found:
        ids = [f"{row.name}/{name}" for row in listings for name in row.names]
        raise UnknownNameError("environment", what, ids, "heredity envs lists all", brief=True)
    return found


def _matching(listing: AdapterListing, part: str) -> AdapterListing | None:
    """The listing with the names alone whose id contains `part`; None when there is none."""

    def chosen(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if part in f"{listing.name}/{name}".lower())

    names = chosen(listing.names)
    lacking = {why: chosen(some) for why, some in listing.lacking.items() if chosen(some)}
    return dataclasses.replace(listing, names=names, lacking=lacking) if names or lacking else None


def _told(listing: AdapterListing, in_full: bool) -> list[Any]:
    """What is printed below the name of an adapter."""
    from rich.columns import Columns
    from rich.markup import escape
    from rich.padding import Padding

    def below(told: Any, bottom: int = 1) -> Padding:
        return Padding(told, (0, 0, bottom, 2))

    if listing.missing:
        return [below(f"[yellow]{escape(listing.missing)}[/]")]
    told = []
    names = listing.names
    few = names if in_full or len(names) <= MANY else names[:FEW]
    if names:
        ids = [escape(f"{listing.name}/{name}") for name in few]
        cut = len(few) < len(names)
        told.append(below(Columns(ids, padding=(0, 2), column_first=True), 0 if cut else 1))
        if cut:
            more = f"and {len(names) - len(few)} more: heredity envs {listing.name}"
            told.append(below(f"[dim]{escape(more)}[/]"))
    for why, some in listing.lacking.items():
        few = some if in_full else some[:FEW]
        ids = ", ".join(f"{listing.name}/{name}" for name in few)
        if len(few) < len(some):
            ids += f" and {len(some) - len(few)} more"
        told.append(below(f"[yellow]{escape(why)}[/]  {escape(ids)}"))
    return told
