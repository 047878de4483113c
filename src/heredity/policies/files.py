"""A policy as a folder: written whole, sealed, and checked when it is read.

``config.json`` and ``lineage.json`` carry a seal (the hash of their own bytes); ``lineage.json``
names the content hash of the weights and the hash of every other file that decides how the policy
acts. So one flipped byte anywhere but in the model card is refused by name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from heredity.common import formats
from heredity.common.errors import RefusedError, StorageError, UsageError
from heredity.common.files import seal_json, sha256_bytes, without_links, write_atomically
from heredity.common.reading import check_hash
from heredity.common.run_folder import RunFolder
from heredity.common.tensors import read_tensors, tensor_bytes
from heredity.policies.card import model_card
from heredity.policies.elsewhere import Elsewhere
from heredity.policies.lineage import Lineage
from heredity.policies.specification import PolicySpec
from heredity.weights import content_hash, count, unflatten

CONFIG, WEIGHTS, LINEAGE, CARD = "config.json", "model.safetensors", "lineage.json", "README.md"


def policy_files(
    spec: PolicySpec,
    leaves: dict[str, np.ndarray],
    lineage: Lineage,
    elsewhere: Elsewhere | None = None,
) -> dict[str, bytes]:
    """The content of every file of a policy folder, by name.

    Weights that are elsewhere are left out, as long as they have not moved.

    Equal weights give equal bytes of ``model.safetensors``: its header holds nothing else. Weights
    that are not those the lineage ends with get an entry ``edit`` (see `Lineage.up_to`).
    """
    config = seal_json(spec.to_json()).encode()
    left_out = frozenset() if elsewhere is None else elsewhere.left_out(leaves)
    kept = {path: leaf for path, leaf in leaves.items() if path not in left_out}
    weights = tensor_bytes(kept, formats.WEIGHTS.header)
    params = unflatten(leaves)
    policy_hash = content_hash(params)
    lineage = lineage.up_to(policy_hash)
    record = lineage.to_json()
    record["policy_hash"] = policy_hash
    if elsewhere is not None and left_out:
        record["elsewhere"] = elsewhere.to_json()
    record["files"] = {CONFIG: sha256_bytes(config), WEIGHTS: sha256_bytes(weights)}
    return {
        CONFIG: config,
        WEIGHTS: weights,
        LINEAGE: seal_json(record).encode(),
        CARD: model_card(spec, lineage, policy_hash, count(params)).encode(),
    }


def write_policy_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files of `policy_files` into an existing folder."""
    for name, content in files.items():
        (folder / name).write_bytes(content)


def save_policy(
    folder: Path, spec: PolicySpec, leaves: dict[str, np.ndarray], lineage: Lineage
) -> None:
    """Write a policy folder where there is none yet, or replace the policy that is there.

    Other files of an existing folder stay.

    Raises:
        StorageError: when the disk refuses.
    """
    if folder.exists() and not folder.is_dir():
        raise StorageError(folder, NotADirectoryError(20, "a file of that name is in the way"))
    # The lineage, which names the hashes of the others, goes last: a folder torn in between is
    # refused rather than half believed.
    files = policy_files(spec, leaves, lineage)
    for name in (WEIGHTS, CONFIG, CARD, LINEAGE):
        write_atomically(folder / name, files[name])


def read_lineage(folder: Path) -> tuple[Lineage, dict[str, Any]]:
    """The lineage of a policy folder, and the whole record it stands in (with the hashes)."""
    path = folder / LINEAGE
    record = formats.LINEAGE.read(path, sealed=True)
    return Lineage.from_json(record, str(path)), record


def read_elsewhere(record: dict[str, Any], folder: Path) -> Elsewhere | None:
    """Where the weights are that a policy folder leaves out; None if it has all of them.

    Args:
        record: See `read_lineage`.
        folder: Of the policy.

    Raises:
        RefusedError: when it cannot be understood.
    """
    told = record.get("elsewhere")
    return None if told is None else Elsewhere.from_json(told, folder / LINEAGE)


def read_config(folder: Path) -> PolicySpec:
    """The specification of a policy folder."""
    path = folder / CONFIG
    value = formats.POLICY.read(path, sealed=True)
    return PolicySpec.from_json(value, str(path))


def _refuse_run(folder: Path) -> None:
    """A run folder has a config.json too: say which policy of it was probably meant.

    Raises:
        RefusedError: for a run folder.
    """
    run = RunFolder(folder)
    if (folder / WEIGHTS).exists() or not (run.config.exists() and run.checkpoints.is_dir()):
        return
    for name in ("best", "last"):
        policy = run.checkpoints / name / "policy"
        if policy.exists():
            raise RefusedError(folder, "is a run folder", f"Did you mean {policy}?")
    raise RefusedError(folder, "is a run folder without a checkpoint")


def load_policy(folder: Path) -> tuple[PolicySpec, dict[str, np.ndarray], Lineage, str]:
    """Read and verify a policy folder.

    Returns:
        Specification, leaves by path, lineage, and the content hash of the weights.

    Raises:
        RefusedError: naming the file that is missing, torn, altered, or from the future.
    """
    if not os.path.isdir(folder):  # also of a name that there cannot be
        what = "it is a file" if os.path.isfile(folder) else "no such folder"
        raise RefusedError(
            folder,
            f"is not a policy folder ({what})",
            "Give a folder with a config.json; heredity import makes one of another library's file",
        )
    if not (folder / CONFIG).exists() and (folder / "policy" / CONFIG).exists():
        raise RefusedError(folder, "is a checkpoint or snapshot", f"Did you mean {folder}/policy?")
    _refuse_run(folder)
    folder = without_links(folder)
    spec = read_config(folder)
    lineage, record = read_lineage(folder)
    hashes = record.get("files")
    if not isinstance(hashes, dict) or set(hashes) != {CONFIG, WEIGHTS}:
        raise RefusedError(folder / LINEAGE, f"does not name the hashes of {CONFIG} and {WEIGHTS}")
    for name, expected in hashes.items():
        check_hash(folder / name, expected, LINEAGE)
    leaves, metadata = read_tensors(folder / WEIGHTS)
    version = formats.WEIGHTS.check_header(metadata, folder / WEIGHTS)
    if (elsewhere := read_elsewhere(record, folder)) is not None:
        leaves = dict(sorted({**leaves, **elsewhere.read(folder)}.items()))
    try:
        found = content_hash(unflatten(leaves))
    except UsageError as error:
        raise RefusedError(folder / WEIGHTS, f"does not hold weights ({error})") from None
    if found != record.get("policy_hash"):
        raise RefusedError(
            folder / WEIGHTS,
            f"holds weights {found[:12]}…, "
            f"{LINEAGE} speaks of {str(record.get('policy_hash'))[:12]}…",
        )
    for path, leaf in leaves.items():
        if leaf.dtype.kind == "f" and np.isnan(leaf).any():
            raise RefusedError(
                folder / WEIGHTS,
                f"has NaN in {path}",
                "No action comes of that: use a checkpoint from before it diverged",
            )
    if lineage.head not in (None, found):
        raise RefusedError(
            folder / LINEAGE,
            f"ends with weights {str(lineage.head)[:12]}…, the policy holds {found[:12]}…",
            "Its history is that of other weights: use another copy or an earlier checkpoint",
        )
    if version < formats.WEIGHTS.newest:
        # Written otherwise, they have another hash than the lineage ends with.
        leaves = formats.WEIGHTS.migrate(leaves, version, folder / WEIGHTS)
        found = content_hash(unflatten(leaves))
        lineage = lineage.up_to(found)
    return spec, leaves, lineage, found
