"""Checkpoints: everything that a resume needs, whole or not there at all."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heredity.common.errors import LostFolderError, RefusedError
from heredity.common.files import (
    check_in_place,
    folder_appearing_whole,
    point_symlink,
    remove_folder,
    remove_symlink,
    seal_json,
    sha256_bytes,
    without_links,
)
from heredity.common.formats import CHECKPOINT, TRAINING_STATE
from heredity.common.provenance import numerics, versions
from heredity.common.reading import check_hash
from heredity.common.run_folder import RunFolder, step_name
from heredity.common.shared_files import SharedFile
from heredity.common.tensors import read_tensors, tensor_bytes
from heredity.policies.elsewhere import Elsewhere
from heredity.policies.files import load_policy, policy_files, read_elsewhere, read_lineage
from heredity.policies.lineage import Lineage
from heredity.policies.policy import Policy, built_policy, trust_networks
from heredity.policies.specification import PolicySpec

# Of the manifest, and of what stands in it.
_MANIFEST_KINDS: dict[str, dict[str, Any]] = {
    "": {
        "best": dict | None,
        "elapsed": float | int,
        "exactness": dict,
        "files": dict,
        "frozen": dict,
        "numerics": dict,
        "owed": dict | None,
        "parent": str | None,
        "run": str,
        "shared": dict,
        "step": int,
        "versions": dict,
    },
    "best": {"step": int, "mean": float | int},
    "exactness": {"exact": bool, "reason": str},
    "owed": dict.fromkeys(("log", "evaluation", "snapshot", "checkpoint"), bool),
}
_SHARED = "training_state"  # the folder of files that other checkpoints have as well
STATE = "training_state/state.safetensors"
MANIFEST = "training_state/manifest.json"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A moment of a run, in memory.

    Args:
        step: Environment steps.
        run: Id of the run.
        spec: Of the policy.
        policy: Weights by path.
        state: The rest of the training state by path.
        lineage: Of the policy.
        notes: What the loop remembers: ``best``, ``elapsed``, ``parent``, ``frozen``,
            ``exactness``, ``owed``; once read, also ``versions`` and ``numerics``.
        shared: Files beside it that other checkpoints have as well, by name.
        elsewhere: Weights that are not written, because they are in a file of their own.
    """

    step: int
    run: str
    spec: PolicySpec
    policy: dict[str, np.ndarray]
    state: dict[str, np.ndarray]
    lineage: Lineage
    notes: dict[str, Any]
    shared: Mapping[str, SharedFile] = dataclasses.field(default_factory=dict)
    elsewhere: Elsewhere | None = None

    def to_policy(self, trust: Sequence[str] = ()) -> Policy:
        """The policy of that moment, to act with; made once.

        Args:
            trust: Networks that it may have although they are not built in.

        Raises:
            RefusedError: when specification and weights do not fit each other.
            UntrustedError: when it has a network that is not part of heredity, nor trusted.
        """
        trust_networks(self.spec, trust)
        return self._policy

    @functools.cached_property
    def _policy(self) -> Policy:
        return built_policy(self.spec, self.policy, self.lineage, Path("policy"))


def write_checkpoint(folder: RunFolder, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside its place, flush it, rename it in, and point the links.

    Raises:
        StorageError: when the disk refuses; earlier checkpoints are untouched.
        LostFolderError: when the run is not there any more, so that nobody could resume it.
    """
    check_in_place(folder.root)  # before its config.json is missed
    if not folder.config.is_file():
        raise LostFolderError(folder.root, "has lost its config.json while it was in use")
    write_checkpoint_folder(folder.checkpoint(checkpoint.step), checkpoint)
    point_links(folder, checkpoint.step, checkpoint.notes.get("best"))


def write_checkpoint_folder(place: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside its place, flush it, and rename it in.

    Raises:
        StorageError: when the disk refuses.
    """
    with folder_appearing_whole(place) as temporary:
        (temporary / "policy").mkdir()
        (temporary / "training_state").mkdir()
        policy = policy_files(
            checkpoint.spec, checkpoint.policy, checkpoint.lineage, checkpoint.elsewhere
        )
        files = {f"policy/{name}": content for name, content in policy.items()}
        files[STATE] = tensor_bytes(checkpoint.state, TRAINING_STATE.header)
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        for name, file in checkpoint.shared.items():
            path = temporary / _SHARED / name
            path.parent.mkdir(exist_ok=True)
            file.put(path)
        manifest = {
            "schema_version": CHECKPOINT.newest,
            "step": checkpoint.step,
            "run": checkpoint.run,
            "files": {name: sha256_bytes(content) for name, content in files.items()},
            "shared": {name: file.sha256 for name, file in checkpoint.shared.items()},
            "versions": versions(),
            "numerics": numerics(),
            **checkpoint.notes,
        }
        (temporary / MANIFEST).write_text(seal_json(manifest), encoding="utf-8")


def point_links(folder: RunFolder, last: int | None, best: dict[str, Any] | None) -> None:
    """Point ``last`` and ``best``; a link whose checkpoint is not there is removed.

    Args:
        folder: Of the run.
        last: Step of the newest checkpoint.
        best: What the loop remembers of the best one: its ``step``.

    Raises:
        StorageError: when the disk refuses.
    """
    for name, step in (("last", last), ("best", None if best is None else best["step"])):
        link = folder.checkpoints / name
        if step is None or not folder.checkpoint(step).is_dir():
            remove_symlink(link)
        elif not link.is_symlink() or os.readlink(link) != step_name(step):
            point_symlink(link, step_name(step))


def read_manifest(place: Path) -> dict[str, Any]:
    """The manifest of a checkpoint, its seal and schema checked; files are not read."""
    path = place / MANIFEST
    manifest = CHECKPOINT.read(path, sealed=True)
    for where, kinds in _MANIFEST_KINDS.items():
        part = manifest[where] if where else manifest
        if part is None:
            continue
        for name, kind in kinds.items():
            told = f"{where} {name}".strip()
            if name not in part:
                raise RefusedError(path, f"does not say {told}: it is no checkpoint's")
            if not isinstance(part[name], kind):
                raise RefusedError(path, f"has {told} {part[name]!r}: it is no checkpoint's")
    return manifest


def verify_checkpoint(place: Path, *, shared: bool = False) -> dict[str, Any]:
    """Check the files against the manifest, and return the manifest.

    Args:
        place: The checkpoint.
        shared: Whether to check those as well that other checkpoints have, too, without which a
            resume goes on.

    Raises:
        RefusedError: naming the file that is missing, torn or altered.
    """
    manifest = read_manifest(place)
    if STATE not in manifest["files"]:
        raise RefusedError(place / MANIFEST, f"does not name the hash of {STATE}")
    for name in (*manifest["files"], *manifest["shared"]):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise RefusedError(place / MANIFEST, f"names a file outside of it: {name!r}")
    others = {f"{_SHARED}/{name}": told for name, told in manifest["shared"].items()}
    for name, expected in {**manifest["files"], **(others if shared else {})}.items():
        check_hash(place / name, expected, "the manifest")
    return manifest


def read_checkpoint(place: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises:
        RefusedError: naming the file that is missing, torn, altered or from the future. Those that
            it shares with others are checked by whoever needs them.
    """
    place = without_links(place)
    manifest = verify_checkpoint(place)
    spec, policy, lineage, _ = load_policy(place / "policy")
    state, header = read_tensors(place / STATE)
    version = TRAINING_STATE.check_header(header, place / STATE)
    state = TRAINING_STATE.migrate(state, version, place / STATE)
    own = ("schema_version", "step", "run", "files", "shared")
    notes = {name: value for name, value in manifest.items() if name not in own}
    told = manifest["shared"]
    shared = {name: SharedFile(place / _SHARED / name, sha256) for name, sha256 in told.items()}
    step, run = manifest["step"], manifest["run"]
    elsewhere = read_elsewhere(read_lineage(place / "policy")[1], place / "policy")
    return Checkpoint(step, run, spec, policy, state, lineage, notes, shared, elsewhere)


def newest_whole_checkpoint(
    folder: RunFolder, run_id: str | None = None
) -> tuple[Checkpoint | None, list[RefusedError]]:
    """The newest checkpoint that can be read, and why the newer ones could not.

    Args:
        folder: Of the run.
        run_id: Of the run; a checkpoint of another run is refused.
    """
    refused: list[RefusedError] = []
    for step in reversed(folder.checkpoint_steps()):
        place = folder.checkpoint(step)
        try:
            checkpoint = read_checkpoint(place)
            if checkpoint.step != step:
                raise RefusedError(place, f"holds the checkpoint of step {checkpoint.step:,}")
            if run_id is not None and checkpoint.run != run_id:
                raise RefusedError(
                    place, f"belongs to the run {checkpoint.run}, this folder holds {run_id}"
                )
            return checkpoint, refused
        except RefusedError as error:
            refused.append(error)
    return None, refused


def retire_checkpoints(
    folder: RunFolder, keep_last: int, best: int | None, keep_every: int | None
) -> None:
    """Remove checkpoints that nobody asked to keep.

    Args:
        folder: Of the run.
        keep_last: How many of the newest stay.
        best: Step of the best one, which stays.
        keep_every: The first checkpoint at or after each multiple of this stays as well.
    """
    steps = folder.checkpoint_steps()
    kept = set(steps[-keep_last:])
    if best is not None:
        kept.add(best)
    if keep_every:
        first: dict[int, int] = {}
        for step in steps:
            first.setdefault(step // keep_every, step)
        kept |= set(first.values())
    for step in steps:
        if step not in kept:
            remove_folder(folder.checkpoint(step))
