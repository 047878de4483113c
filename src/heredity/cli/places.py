"""What a path given by a person is, and where a run goes when nobody says."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Literal, TypeAlias

from heredity.common.errors import RefusedError, StorageError, UsageError
from heredity.common.files import check_name
from heredity.common.group_folder import GroupFolder, is_group
from heredity.common.run_folder import RunFolder, step_name

Kind: TypeAlias = Literal["group", "run", "checkpoint", "snapshot", "policy"]


def kind_of(path: Path) -> Kind:
    """Which kind of folder a path is; a run of several seeds is a ``group``.

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
        return "group" if is_group(path) else "run"
    raise RefusedError(
        path,
        "is not a policy, checkpoint, snapshot or run folder",
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
        UsageError: when it is a run of several seeds, each of which has one.
    """
    return _chosen(path)[0]


def choice_told(path: Path) -> str:
    """Which checkpoint of a run `policy_folder` takes, in words; empty where there is no choice.

    Raises:
        RefusedError: as `policy_folder`.
    """
    return _chosen(path)[1] if kind_of(path) not in ("policy", "snapshot", "checkpoint") else ""


def _chosen(path: Path) -> tuple[Path, str]:
    match kind_of(path):
        case "policy":
            return path, ""
        case "snapshot":
            return path / "policy", ""
        case "checkpoint":
            from heredity.training.checkpoints import verify_checkpoint

            verify_checkpoint(path)
            return path / "policy", ""
        case "run":
            folder = RunFolder(path)
            for name in ("best", "last"):
                place = folder.checkpoints / name
                if place.exists():
                    step = place.resolve().name
                    told = f"{name} checkpoint of {path}"
                    if step.isdigit():
                        told += f", step {int(step):,}"
                    return policy_folder(place), told
            if steps := folder.checkpoint_steps():  # the links are gone or broken
                told = f"newest checkpoint of {path}, step {steps[-1]:,}"
                return policy_folder(folder.checkpoint(steps[-1])), told
            raise RefusedError(path, "has no checkpoint yet")
        case "group":
            seeds = GroupFolder(path).members(GroupFolder(path).read_config())
            raise UsageError(
                f"{path} holds a run of {len(seeds)} seeds, each with a policy of its own: give "
                f"one of them, such as {GroupFolder(path).member(seeds[0]).root}"
            )


def check_new_folder(path: Path, flag: str) -> None:
    """See that a folder can be made where a person says: nothing is there, no file above it.

    Args:
        path: Where it is to be.
        flag: The option that gave it.

    Raises:
        UsageError: when something is there already, or the name is none for a folder.

    Example:
        >>> check_new_folder(Path("/dev/null/policy"), "--out")
        Traceback (most recent call last):
        heredity.common.errors.UsageError: --out /dev/null/policy: /dev/null is a file: name ...
    """
    check_name(path, flag)
    if path.exists() or path.is_symlink():
        raise UsageError(f"{flag} {path} is there already: name a new folder")
    above = next((place for place in path.parents if place.exists()), None)
    if above is not None and not above.is_dir():
        raise UsageError(f"{flag} {path}: {above} is a file: name a folder that is not below it")


def claim_directory(environment_id: str, root: Path = Path("runs")) -> Path:
    """A folder for a run that nobody gave one: made here, so that no other run takes it as well.

    Args:
        environment_id: Such as ``gymnax/CartPole-v1``.
        root: Where the folders of runs are.

    Returns:
        ``runs/gymnax-CartPole-v1``, or that with the first free number: ``…-2``, ``…-3``.

    Raises:
        StorageError: when the disk refuses.
    """
    name = re.sub(r"[^\w.-]+", "-", environment_id).strip("-.") or "run"
    for number in itertools.count(1):
        folder = root / (name if number == 1 else f"{name}-{number}")
        try:
            root.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            if not root.is_dir():
                raise StorageError(root, NotADirectoryError(20, "is a file")) from None
            continue
        except OSError as error:
            raise StorageError(folder, error) from error
        return folder
    raise AssertionError("there is always a next number")
