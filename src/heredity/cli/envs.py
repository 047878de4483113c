"""``heredity envs``: what can be made here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from heredity.cli.output import console, only_json, print_json
from heredity.cli.parsing import parse


@dataclasses.dataclass(frozen=True)
class Envs:
    """List the environments that are available here, and what the others need.

    Args:
        json: Print one JSON object.
    """

    json: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run ``heredity envs``."""
    given = parse(Envs, arguments, "heredity envs")
    with only_json(given.json):
        from heredity.environments import list_environments

        listings = list_environments()
    if given.json:
        print_json({listing.name: dataclasses.asdict(listing) for listing in listings})
        return 0
    from rich.columns import Columns
    from rich.markup import escape
    from rich.padding import Padding

    out = console()
    for listing in listings:
        summary = listing.summary.removeprefix(f"{listing.name}: ")
        out.print(f"[bold]{escape(listing.name)}[/]  [dim]{escape(summary)}[/]")
        if listing.missing:
            told: Any = f"[yellow]{escape(listing.missing)}[/]"
        else:
            ids = [escape(f"{listing.name}/{name}") for name in listing.names]
            told = Columns(ids, padding=(0, 2), column_first=True)
        out.print(Padding(told, (0, 0, 1, 2)))
        for why, names in listing.lacking.items():
            ids = ", ".join(f"{listing.name}/{name}" for name in names)
            out.print(Padding(f"[yellow]{escape(why)}[/]  {escape(ids)}", (0, 0, 1, 2)))
    return 0
