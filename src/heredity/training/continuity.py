"""What is other in a resume than in the run it goes on with: refused, recorded, or told."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from heredity.common.errors import MismatchError
from heredity.common.provenance import numerics, versions
from heredity.policies import PolicySpec
from heredity.spaces import space_difference
from heredity.training.settings import RunSettings


def check_policy(saved: PolicySpec, now: PolicySpec, place: Path | str) -> None:
    """See that the policy of a checkpoint is the one that the run would make now.

    Args:
        saved: Of the checkpoint.
        now: From config.json and the environment.
        place: The checkpoint's folder, for the error.

    Raises:
        MismatchError: naming what differs.
    """
    for what, own, other in (
        ("observations", saved.observation_space, now.observation_space),
        ("actions", saved.action_space, now.action_space),
    ):
        difference = space_difference(own, other)
        if difference:
            raise MismatchError(
                f"the environment's {what} are not those of the run: {difference}",
                "Go on in the environment that it began in, or one with the same spaces",
                place,
            )
    # The person may give another environment with the same spaces; nothing else may differ.
    nameless = [dataclasses.replace(one, environment=None) for one in (saved, now)]
    if nameless[0].to_json() != nameless[1].to_json():
        raise MismatchError(
            "the checkpoint's policy is another than config.json describes",
            "Settings of the networks, and the bounds of spaces, cannot change within a run",
            place,
        )


def changed_settings(
    before: dict[str, Any], now: dict[str, Any], recorded: RunSettings, settings: RunSettings
) -> dict[str, Any]:
    """What a resume was told to do otherwise from now on, by name."""
    old, new = dataclasses.asdict(recorded), dataclasses.asdict(settings)
    changed = {name: value for name, value in new.items() if value != old[name]}
    if now["environment"] != before["environment"]:
        changed["environment"] = now["environment"]
    return changed


def other_company(before: int, now: int) -> list[str]:
    """Why a resume with another number of seeds in the program is not exact; empty if it is.

    Sums are then made in another order.

    Args:
        before: With how many seeds the checkpoint was trained together, itself among them.
        now: With how many it will be.
    """
    if before == now:
        return []
    words = [
        "alone" if count == 1 else f"in one program of {count} seeds" for count in (before, now)
    ]
    return [f"it was trained {words[0]} and goes on {words[1]}"]


def other_devices(before: tuple[int, int], now: tuple[int, int]) -> list[str]:
    """Why a resume on other devices is not exact; empty if they are as many.

    Sums over environments are then made in another order.

    Args:
        before: How many devices, and of how many processes, the checkpoint was trained on.
        now: The same from now on.
    """
    if before == now:
        return []
    words = [
        f"{devices} device{'s' * (devices > 1)}"
        + (f" of {processes} processes" if processes > 1 else "")
        for devices, processes in (before, now)
    ]
    return [f"it was trained on {words[0]} and goes on on {words[1]}"]


def numeric_differences(notes: dict[str, Any]) -> list[str]:
    """What is other than when the checkpoint was written and may change bits."""
    differences = []
    for kind, current in (("numerics", numerics()), ("versions", versions())):
        for name, saved in notes.get(kind, {}).items():
            now_is = current.get(name)
            if name != "safetensors" and saved != now_is:  # its files are compared by bytes
                differences.append(f"{name} was {saved or 'unset'}, is {now_is or 'unset'}")
    return differences
