"""What a path given by a person is: a run, a checkpoint, a snapshot, or a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from heredity.common.errors import RefusedError
from heredity.common.run_folder import RunFolder, step_name

Kind: TypeAlias = Literal["run", "checkpoint", "snapshot", "policy"]


def kind_of(path: Path) -> Kind:
    """Which kind of folder a path is.

    Raises:
        RefusedError: when it is none of them.
    """
    if not path.exists():
        raise RefusedError(path, "is missing (no such file or folder)", "Check the path")
    if not path.is_dir():
        raise RefusedError(path, "is a file", "Give the folder of a policy, checkpoint or run")
    # A torn folder is still known by what is left of it, or by its place in the run.
    if (path / "training_state").exists() or _is_a_step_of_a_run(path.resolve()):
        return "checkpoint"
    if (path / "model.safetensors").exists() or (path / "lineage.json").exists():
        return "policy"
    if (path / "policy").exists():
        return "snapshot"
    if (path / "config.json").exists() and not (path / "README.md").exists():
        return "run"
    raise RefusedError(
        path,
        "is no policy, checkpoint, snapshot or run folder",
        "A policy has config.json, model.safetensors and lineage.json",
    )


def _is_a_step_of_a_run(path: Path) -> bool:
    """Whether this is where a run puts the checkpoint of a step: ``checkpoints/000000500000``."""
    name = path.name
    return (
        path.parent.name == "checkpoints"
        and name.isascii()
        and name.isdigit()
        and name == step_name(int(name))
    )


def policy_folder(path: Path) -> Path:
    """The policy that a path means: of a run, its best checkpoint, or else its last.

    Raises:
        RefusedError: when there is none, or the checkpoint around it is not whole.
    """
    match kind_of(path):
        case "policy":
            return path
        case "snapshot":
            return path / "policy"
        case "checkpoint":
            from heredity.training.checkpoints import verify_checkpoint

            verify_checkpoint(path)
            return path / "policy"
        case "run":
            checkpoints = RunFolder(path).checkpoints
            for name in ("best", "last"):
                if (checkpoints / name).exists():
                    return policy_folder(checkpoints / name)
            raise RefusedError(path, "has no checkpoint yet")
