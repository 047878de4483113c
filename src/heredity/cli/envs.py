"""``heredity envs``: what can be made here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from heredity.cli.output import console, only_json, print_json
from heredity.cli.parsing import parse


@dataclasses.dataclass(frozen=True)
class Envs:
    """List the environments that can be made here, and what is missing for the others.

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
    from rich.table import Table

    table = Table("adapter", "environments", box=None, padding=(0, 2, 1, 0))
    for listing in listings:
        if listing.missing:
            told = f"[yellow]{listing.missing}[/]"
        else:
            told = ", ".join(f"{listing.name}/{name}" for name in listing.names)
        table.add_row(f"[bold]{listing.name}[/]\n[dim]{listing.summary}[/]", told)
    console().print(table)
    return 0
