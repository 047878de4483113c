"""Measure ours beside its peers, keep the numbers as JSON, and render the tables from them.

``make bench`` runs everything; ``make bench ROWS="gymnax brax-ant"``, or
``python benchmarks/run.py gymnax brax-ant``, families or single rows. ``--quick`` only sees that
everything runs, and keeps nothing; ``--rounds`` says how often ours and the peers take turns;
``--patience 3`` gives scripts three times as long before they are ended, for a busy machine;
``--tables`` measures nothing and renders again.

Peers are those that ``make peers`` installed into ``.peers``, or those of the Python that
``HEREDITY_PEERS`` names; the official DreamerV3 is where ``HEREDITY_DREAMERV3`` says, and runs with
``HEREDITY_DREAMERV3_PYTHON`` (conformance/README.md). Without them only our own side is measured. A
record that has peers is never replaced by one that has none: that one goes into ``results/alone``,
and the tables stay. Numbers are written after every row. A row that fails leaves the numbers it had
before, the others go on, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tables
from compete import CONTESTANTS, compete
from heredity.common.provenance import now, versions
from problems import PROBLEMS
from processes import HERE, PEERS, Failed, machine
from single import SINGLE, STARTS
from source import source

RESULTS = HERE / "results"
ORDER = (
    *("predict", "imported", "vit-load", "features", "dreamer", "start", "seeds"),
    *("gymnax", "brax", "gym", "snapshots", "replay", "profile", "changes"),
)
GUESS = 150.0  # seconds of a row that was never measured


def wanted(names: list[str]) -> list[str]:
    """The rows that names stand for: a family stands for all of it.

    Raises:
        SystemExit: for a name that means nothing.
    """
    chosen: list[str] = []
    for name in names:
        family = [p.name for p in PROBLEMS.values() if p.name.startswith(f"{name}-")]
        if name not in (*SINGLE, *PROBLEMS) and not family:
            known = ", ".join([*SINGLE, *CONTESTANTS, *PROBLEMS])
            sys.exit(f"unknown row {name!r}: some of {known} were expected")
        chosen += [name] if name in (*SINGLE, *PROBLEMS) else family
    return list(dict.fromkeys(chosen))


def seconds_before(name: str) -> float:
    """How long a row took the last time."""
    path = RESULTS / f"{name}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    return float(known.get("took_seconds", GUESS))


def measure(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """One row."""

    def say(line: str) -> None:
        print(f"    {line}", flush=True)

    problem = PROBLEMS.get(name)
    if problem is None:
        rounds = 1 if given.quick else given.rounds or 3
        return SINGLE[name](rounds, given.quick, given.patience, say)
    rounds = 1 if given.quick else given.rounds or problem.rounds
    return compete(problem, rounds, given.quick, given.patience, say)


def peers_in(record: Mapping[str, Any]) -> set[str]:
    """Whom a record of any row has beside ours."""
    contestants = set(record.get("contestants", {})) - {"ours"}
    of_predict = {"predict"} if record.get("peer") else set()
    of_imported = {"imported"} if "1" in record.get("libraries", {}) else set()
    dreamt = [case.get("update", {}) for case in record.get("cases", {}).values()]
    of_dreamer = {"official"} if any("peer" in update for update in dreamt) else set[str]()
    of_start = {name for name, (of_peers, _) in STARTS.items() if of_peers}
    contestants |= of_predict | of_imported | of_dreamer
    return contestants | of_start & set(record.get("seconds", {}))


def keep(name: str, record: dict[str, Any]) -> str:
    """Write what was measured, without losing peers that were measured before; gives what to say.

    Args:
        name: Of the row.
        record: Of it.
    """
    path, said = RESULTS / f"{name}.json", ""
    known = json.loads(path.read_text()) if path.exists() else {}
    if peers_in(known) and not peers_in(record):
        said = f"{path.name} has peers and stays, as do the tables; ours alone: "
        path = RESULTS / "alone" / path.name
        said += f"{path.relative_to(RESULTS.parent)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")
    return said


def run(rows: list[str], given: argparse.Namespace) -> list[str]:
    """Measure rows one after another; gives what failed, a line each."""
    expected = [seconds_before(name) for name in rows]
    began, failures = time.monotonic(), []
    for number, name in enumerate(rows):
        passed, left = time.monotonic() - began, sum(expected[number:])
        times = "" if given.quick else f", about {left / 60:.0f} more"
        print(f"[{number + 1}/{len(rows)}] {name} ({passed / 60:.1f} minutes so far{times})")
        where, code, row_began = machine(), source(), time.monotonic()
        try:
            found = measure(name, given)
        except Failed as error:
            print(f"    FAILED: {error}", flush=True)
            failures.append(f"{name}: {str(error).partition(chr(10))[0]}")
            continue
        failures += [
            f"{name}, {peer}: {why.partition(chr(10))[0]}"
            for peer, why in found.get("failed", {}).items()
        ]
        if given.quick:
            continue
        taken = {"took_seconds": time.monotonic() - row_began}
        made = {"measured": now(), "machine": where, "versions": versions(), "source": code}
        record = {**made, **taken, **found}
        if said := keep(name, record):
            print(f"    {said}", flush=True)
        tables.render(RESULTS, HERE.parent)
    print(f"Measured in {(time.monotonic() - began) / 60:.1f} minutes.")
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rows", nargs="*", help="families, problems; all when none is given")
    parser.add_argument("--rounds", type=int, help="turns (default: what each row needs)")
    parser.add_argument("--quick", action="store_true", help="see that it runs; keep nothing")
    parser.add_argument("--patience", type=float, default=1.0, help="times longer than usual")
    parser.add_argument("--tables", action="store_true", help="only render the tables again")
    given = parser.parse_args()
    failures: list[str] = []
    if not given.tables:
        if PEERS and not Path(PEERS).exists():
            sys.exit(f"{PEERS}: no such file; the peers' Python was expected (HEREDITY_PEERS)")
        if not PEERS:
            print("No peers, see `make peers`: only our own side is measured.")
        failures = run(wanted(given.rows or list(ORDER)), given)
    if not given.quick:
        for path in tables.render(RESULTS, HERE.parent):
            print(f"Rendered: {path.relative_to(HERE.parent)}")
    if failures:
        sys.exit("\n".join(["Failed:", *(f"  {line}" for line in failures)]))


if __name__ == "__main__":
    main()
