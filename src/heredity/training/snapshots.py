"""Snapshots: a policy with its score and a recorded rollout, kept to be looked at."""

from __future__ import annotations

from typing import Any

import numpy as np

from heredity.common.files import dump_json, folder_appearing_whole, remove_folder
from heredity.common.formats import EVALUATION
from heredity.common.run_folder import RunFolder
from heredity.policies.elsewhere import Elsewhere
from heredity.policies.files import policy_files, write_policy_files
from heredity.policies.lineage import Lineage
from heredity.policies.specification import PolicySpec
from heredity.training.evaluation import Evaluation


def evaluation_json(evaluation: Evaluation, step: int, policy_hash: str) -> dict[str, Any]:
    """An evaluation as a JSON object."""
    return {
        "schema_version": EVALUATION.newest,
        "step": step,
        "policy_hash": policy_hash,
        "mean_return": evaluation.mean,
        "std_return": evaluation.std,
        "episodes": evaluation.episodes,
        "returns": evaluation.returns.tolist(),
        "lengths": evaluation.lengths.tolist(),
        "deterministic": evaluation.deterministic,
        "cut": evaluation.cut,
        "units": {
            layer: {"dead": dead, "units": units}
            for layer, (dead, units) in evaluation.units.items()
        },
    }


def write_snapshot(
    folder: RunFolder,
    step: int,
    spec: PolicySpec,
    leaves: dict[str, np.ndarray],
    lineage: Lineage,
    evaluation: Evaluation | None,
    keep: int | None,
    elsewhere: Elsewhere | None = None,
) -> None:
    """Write one snapshot whole, and retire the oldest if only some are kept.

    Later ones, of a moment that the run was taken back from, neither count nor go: it comes to them
    again.

    Raises:
        StorageError: when the disk refuses; earlier snapshots are untouched.
    """
    with folder_appearing_whole(folder.snapshot(step)) as temporary:
        (temporary / "policy").mkdir()
        files = policy_files(spec, leaves, lineage, elsewhere)
        write_policy_files(temporary / "policy", files)
        if evaluation is not None and evaluation.is_finite:
            record = evaluation_json(evaluation, step, str(lineage.head))
            (temporary / "evaluation.json").write_text(dump_json(record), encoding="utf-8")
        if evaluation is not None and evaluation.recording is not None:
            (temporary / "rollout").mkdir()
            evaluation.recording.save(temporary / "rollout")
        if evaluation is not None and evaluation.imagined is not None:
            (temporary / "imagined").mkdir()
            evaluation.imagined.save(temporary / "imagined")
    if keep is not None:
        for old in [one for one in folder.snapshot_steps() if one <= step][:-keep]:
            remove_folder(folder.snapshot(old))
