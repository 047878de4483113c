"""A command that is run elsewhere, in all the processes of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from heredity.common.errors import UsageError
from heredity.training.ray_launcher import launch


@dataclasses.dataclass(frozen=True)
class Launched:
    """Who starts the processes.

    Args:
        launcher: none: whoever types the command. ray: a Ray cluster, see --ray.*.
    """

    launcher: Literal["none", "ray"] = "none"


def is_launched(given: Any, words: Sequence[str]) -> bool:
    """Whether a launcher is to start the processes.

    Args:
        given: The command line, parsed.
        words: The same as it was written.

    Raises:
        UsageError: when it is said how the launcher does it, but not that it should.
    """
    if given.launched.launcher != "none":
        return True
    for word in words:
        if word.startswith("--ray."):
            raise UsageError(f"{word.partition('=')[0]} is for Ray: add --launcher ray")
    return False


def check_launched(given: Any, environment_id: str | None, seeds: int, on_divergence: str) -> None:
    """Refuse what the processes would refuse, before a cluster is started for them.

    Args:
        given: The command line, parsed.
        environment_id: Of the environment, if it is known.
        seeds: Of the run.
        on_divergence: Of the run.

    Raises:
        UsageError: when several processes cannot do it.
    """
    workers = given.ray.workers
    if workers > 1:
        from heredity.environments import is_on_host
        from heredity.training.processes import check_divided

        on_host = environment_id if environment_id and is_on_host(environment_id) else None
        where = f"{workers} processes (--ray.workers)"
        check_divided(where, workers, on_host, seeds, on_divergence)


def launched_by(
    given: Any, words: Sequence[str], directory: Path, trust: Sequence[str], resume: str
) -> int:
    """Have the processes of a run started, and started again after a loss.

    Args:
        given: The command line, parsed.
        words: The same as it was written, with the name of the command.
        directory: Of the run.
        trust: What the person vouches for.
        resume: The command that goes on with the run.

    Returns:
        The exit code.

    Raises:
        UsageError: when it is said which process this is as well.
    """
    if given.distributed.coordinator is not None:
        raise UsageError("--distributed.* beside --launcher: the launcher numbers the processes")
    place = str(directory.resolve())
    kept = without(words, "--launcher", "--ray.", "--directory")
    told = ["--distributed.resume-with", resume]
    if words[0] == "train":
        begin = [*kept, "--directory", place]
        shown = [word for word in ("--no-progress", "--no-report") if word in kept]
        trusted = ["--trust", *trust] if trust else []
        go_on = ["resume", place, *trusted, *only(kept, "--wandb"), *shown, "--after-loss"]
    else:
        begin = kept
        go_on = [*kept, "--after-loss"]
    return launch([*begin, *told], [*go_on, *told], directory, given.ray)


def without(words: Sequence[str], *options: str) -> list[str]:
    """A command line without some options, each of which takes one value.

    Args:
        words: Of the command line.
        options: Their names; of a group, its name with the dot.

    Example:
        >>> without(
        ...     ["train", "--ray.workers", "2", "--seed=1", "--launcher=ray"],
        ...     "--ray.",
        ...     "--launcher",
        ... )
        ['train', '--seed=1']
    """
    return _divided(words, options)[1]


def only(words: Sequence[str], *options: str) -> list[str]:
    """Of a command line, some options alone; see `without`.

    Example:
        >>> only(["train", "--ray.workers", "2", "--seed=1", "--launcher=ray"], "--ray.")
        ['--ray.workers', '2']
    """
    return _divided(words, options)[0]


def _divided(words: Sequence[str], options: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of these options, and the others."""
    found: list[str] = []
    others: list[str] = []
    is_value = False
    for word in words:
        name, equals, _ = word.partition("=")
        if is_value:
            is_value = False
            found.append(word)
        elif any(name == one or (one.endswith(".") and name.startswith(one)) for one in options):
            is_value = not equals
            found.append(word)
        else:
            others.append(word)
    return found, others
