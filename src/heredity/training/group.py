"""The policies of a run and where they lie: one in the run's folder, several in folders inside."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from heredity.common.errors import RefusedError, UsageError
from heredity.common.files import FolderLock
from heredity.common.group_folder import GroupFolder
from heredity.common.run_folder import RunFolder
from heredity.policies import Policy
from heredity.training.checkpoints import Checkpoint, newest_whole_checkpoint, read_checkpoint
from heredity.training.record import member_record, read_settings
from heredity.training.settings import RunSettings

log = logging.getLogger("heredity")


@dataclasses.dataclass(frozen=True)
class Seat:
    """The place of one policy in a run.

    Args:
        seed: Of the policy.
        folder: Where everything of it lies; None when nothing is kept.
        record: What it is started with, as ``config.json`` in that folder holds it.
    """

    seed: int
    folder: RunFolder | None
    record: dict[str, Any]

    @property
    def run_id(self) -> str:
        """Of the policy's run."""
        return self.record["run_id"]


def seats_of(record: dict[str, Any], settings: RunSettings, folder: RunFolder | None) -> list[Seat]:
    """The places of the policies of a run, in the order of their seeds.

    Args:
        record: Of the whole run.
        settings: Of the whole run.
        folder: Of the whole run; None when nothing is kept.
    """
    if settings.seeds == 1:
        return [Seat(settings.seed, folder, record)]
    return [
        Seat(
            seed,
            None if folder is None else GroupFolder(folder.root).member(seed),
            member_record(record, settings, seed),
        )
        for seed in settings.all_seeds
    ]


def lock_members(seats: Sequence[Seat], folder: RunFolder, held: contextlib.ExitStack) -> None:
    """Lock the folders of the seeds, beside that of the whole run, which is locked already.

    Raises:
        UsageError: when somebody goes on with a seed alone.
    """
    for seat in seats:
        if seat.folder is not None and seat.folder.root != folder.root:
            held.callback(FolderLock(seat.folder.root).close)


def check_members(seats: Sequence[Seat], folder: RunFolder, record: Mapping[str, Any]) -> None:
    """See that what each seed was started with is what the whole run says, before it is written.

    A file that is missing can be written again; one that was altered is somebody's to look at.

    Args:
        seats: Of the policies.
        folder: Of the whole run.
        record: ``config.json`` of the whole run.

    Raises:
        RefusedError: naming the member that was altered, is of another run, or is missing.
    """
    group = GroupFolder(folder.root)
    folders = {seat.seed: seat.folder for seat in seats if seat.folder is not None}
    # A run may be killed before all seeds have what the first one has.
    begun = any(len(one.checkpoint_steps()) > 1 for one in folders.values())
    for seed, one in folders.items():
        if one.root == folder.root:
            continue
        if not one.config.exists() and not (begun and not one.root.exists()):
            if one.checkpoint_steps():
                log.warning("%s is missing, and written again", one.config)
            continue
        own = group.read_member(seed, record, sealed=True)
        if own.get("settings") != record.get("settings"):
            raise RefusedError(
                one.config,
                "has other settings than the config.json of the whole run",
                "Without it, it is written again from there",
            )


def newest_common_checkpoint(
    seats: Sequence[Seat],
) -> tuple[list[Checkpoint], list[RefusedError]]:
    """The newest checkpoints of the same step that can be read for every policy.

    Args:
        seats: Of the policies; they have folders.

    Returns:
        Those checkpoints, none where there is nothing to go on from; and why others were refused.

    Raises:
        RefusedError: when some have several checkpoints, and none of a step that all have.
    """
    folders = [seat.folder for seat in seats if seat.folder is not None]
    if len(seats) == 1:
        one, refused = newest_whole_checkpoint(folders[0], seats[0].run_id)
        return ([] if one is None else [one]), refused
    kept = [set(folder.checkpoint_steps()) for folder in folders]
    refused: list[RefusedError] = []
    for step in sorted(set.intersection(*kept), reverse=True):
        found: list[Checkpoint] = []
        for seat, folder in zip(seats, folders, strict=True):
            place = folder.checkpoint(step)
            try:
                checkpoint = read_checkpoint(place)
                if (checkpoint.step, checkpoint.run) != (step, seat.run_id):
                    raise RefusedError(
                        place,
                        f"holds step {checkpoint.step:,} of the run {checkpoint.run}, step "
                        f"{step:,} of {seat.run_id} was expected",
                    )
                found.append(checkpoint)
            except RefusedError as error:
                refused.append(error)
                break
        if len(found) == len(seats):
            return found, refused
    if len(set.union(*kept)) > 1:
        # More than the first one, amid whose writing a run may be killed: nothing is thrown away.
        raise _nothing_common(folders, refused)
    return [], refused


def saved_policies(folder: RunFolder) -> dict[int, Policy]:
    """The policy of each seed of a run, from the newest checkpoint that is whole for all.

    Args:
        folder: Of the whole run.

    Raises:
        UsageError: when there is no such checkpoint yet.
    """
    record = folder.read_config(sealed=True)
    seats = seats_of(record, read_settings(folder, record)[1], folder)
    checkpoints, refused = newest_common_checkpoint(seats)
    if not checkpoints:
        told = "; ".join(str(error) for error in refused)
        raise UsageError(
            f"{folder.root} has no whole checkpoint yet: call learn() or run() first"
            + (f" ({told})" if told else "")
        )
    places = [seat.folder.checkpoint(checkpoints[0].step) for seat in seats if seat.folder]
    return {
        seat.seed: Policy.from_pretrained(place / "policy")
        for seat, place in zip(seats, places, strict=True)
    }


def _nothing_common(folders: Sequence[RunFolder], refused: Sequence[RefusedError]) -> RefusedError:
    told = [
        f"{folder.root.name} has "
        + (", ".join(f"{step:,}" for step in folder.checkpoint_steps()) or "none")
        for folder in folders
    ]
    because = "".join(f"; {error}" for error in refused)
    return RefusedError(
        folders[0].root.parent,
        f"has no step with a whole checkpoint of every seed ({'; '.join(told)}){because}",
        "Seeds can be gone on with alone: heredity resume on the folder of each",
    )
