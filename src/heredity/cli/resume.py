"""``heredity resume``: go on with a run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from heredity.algorithms.registry import ALGORITHMS
from heredity.cli.distributed import Distributed
from heredity.cli.going_on import resume_command, untrusted
from heredity.cli.launching import Launched, check_launched, is_launched, launched_by
from heredity.cli.parsing import (
    arguments_like,
    environment_fields,
    options_told,
    parse,
    peek,
)
from heredity.cli.train import FREQUENCIES, conclude, shown_callbacks
from heredity.common.errors import RefusedError
from heredity.common.run_folder import RunFolder
from heredity.training.ray_launcher import RayCluster
from heredity.training.settings import RunSettings

# What a run cannot have changed and still be the same run.
FIXED = ("seed", "seeds", "schedule_timesteps")


@dataclasses.dataclass(frozen=True)
class _Resume:
    """Which run, and what is shown.

    Args:
        directory: Folder of the run; several seeds go on together.
        trust: Ids of environments, and networks, that the run may name although they are not
            built in.
        wandb: Project on Weights & Biases to send metrics to.
        progress: Show the progress bar and a line for each evaluation.
        report: Write report.html at the end if there are snapshots.
        after_loss: Say that a process was lost, which is recorded; a launcher gives it.
    """

    directory: Annotated[Path, tyro.conf.Positional]
    trust: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[ID ...]")] = ()
    wandb: Annotated[str | None, tyro.conf.arg(metavar="PROJECT")] = None
    progress: bool = True
    report: bool = True
    after_loss: bool = False


def _changes() -> type:
    """The settings of a run that a resume may change, each optional: None is as it was."""
    kind = arguments_like(RunSettings, "default: as it was", without=FIXED, each_optional=True)
    # What a new run does without a setting is not what a resume does.
    told = re.sub(r"[;,]?\s*[Dd]efault: [^.]*", "", kind.__doc__ or "")
    kind.__doc__ = (
        "What is not given stays as it was; schedules keep their length. "
        f"{FREQUENCIES}\n\n{told[told.index('Args:') :]}"
    )
    return kind


def _fixed() -> dict[str, str]:
    """What a resume cannot change, and why, by the option that it has in training."""
    configs = [one.config for one in ALGORITHMS.values()]
    of_learning = [field.name for config in configs for field in dataclasses.fields(config)]
    return {
        f"--{name.replace('_', '-')}": "cannot be changed by a resume: it stays as it was"
        for name in (*FIXED, *of_learning)
    }


def main(arguments: Sequence[str]) -> int:
    """Run ``heredity resume``."""
    wide = tyro.conf.OmitArgPrefixes
    changes = _changes()
    told = "Another environment; with it, --help lists that environment's options."
    fields: list[Any] = [
        ("resume", wide[_Resume]),
        *environment_fields(peek(arguments, "--env"), told, "default: the one of the run"),
        ("run", wide[changes], changes()),
        ("distributed", Distributed, Distributed()),
        ("launched", wide[Launched], Launched()),
        ("ray", RayCluster, RayCluster()),
    ]
    kind = dataclasses.make_dataclass("Resume", fields, frozen=True)
    kind.__doc__ = "Continue a run from its newest whole checkpoint, bit for bit."
    given: Any = parse(kind, arguments, "heredity resume", _fixed())
    own = given.resume
    trust = [*own.trust, *untrusted(given.env)]
    told = resume_command(own.directory, arguments, trust)
    if is_launched(given, arguments):
        _check_launched(given)
        return launched_by(given, ["resume", *arguments], own.directory, trust, told)
    writes = given.distributed.join()
    with given.distributed.at_work():
        return _go_on(given, arguments, writes, given.distributed.resume_with or told)


def _check_launched(given: Any) -> None:
    """Refuse what several processes cannot do with the run of the folder; see `check_launched`."""
    from heredity.training.record import read_settings

    folder = RunFolder(given.resume.directory)
    record = folder.read_config(sealed=True)
    settings, named = read_settings(folder, record)[1], record.get("environment")
    environment_id = given.env or (named.get("id") if isinstance(named, dict) else None)
    asked = given.run.on_divergence or settings.on_divergence
    check_launched(given, environment_id, settings.seeds, asked)


def _go_on(given: Any, arguments: Sequence[str], writes: bool, told: str) -> int:
    from heredity.training.session import resume_run

    own = given.resume
    environment = None
    if given.env is not None:
        from heredity.environments import make

        record = RunFolder(own.directory).read_config()
        copies = _num_envs(RunFolder(own.directory), record)
        options = options_told(given.options, arguments, given.env, record.get("environment"))
        environment = make(given.env, num_envs=copies, **options)
    changed = {n: v for n, v in dataclasses.asdict(given.run).items() if v is not None}
    callbacks = shown_callbacks(own.progress, own.wandb) if writes else []
    events = resume_run(
        own.directory,
        changed,
        callbacks,
        environment,
        own.trust,
        after_loss=own.after_loss,
        resume_command=told,
    )
    for _ in events:
        pass
    if writes:
        conclude(own.directory, own.report)
    return 0


def _num_envs(folder: RunFolder, record: dict[str, Any]) -> int:
    settings = record.get("settings")
    copies = settings.get("num_envs") if isinstance(settings, dict) else None
    if not isinstance(copies, int) or isinstance(copies, bool) or copies < 1:
        raise RefusedError(folder.config, f"does not describe a run (num_envs {copies!r})")
    return copies
