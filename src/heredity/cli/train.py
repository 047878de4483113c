"""``heredity train``: from an environment's id to a trained policy in a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from heredity.algorithms.contract import AlgorithmConfig, OfKinds
from heredity.algorithms.presets import preset_of
from heredity.algorithms.registry import ALGORITHMS, Registered, algorithm_of
from heredity.cli.distributed import Distributed
from heredity.cli.going_on import resume_command, untrusted
from heredity.cli.launching import Launched, check_launched, is_launched, launched_by
from heredity.cli.output import SHORT_HASH
from heredity.cli.parsing import (
    arguments_like,
    environment_fields,
    options_given,
    otherwise,
    parse,
    peek,
    require,
)
from heredity.cli.places import choice_told, claim_directory, kind_of, policy_folder
from heredity.common.errors import UnknownNameError, UsageError
from heredity.common.files import LOCK, check_name
from heredity.common.own_code import own_line
from heredity.training.ray_launcher import RayCluster
from heredity.training.settings import RunSettings

FREQUENCIES = (
    "Every frequency counts environment steps, and is met at the end of the first iteration that "
    "reaches or passes a multiple of it."
)

_LISTED = "\n".join(
    f"  {one.name:<{max(map(len, ALGORITHMS))}}   {one.told}" for one in ALGORITHMS.values()
)
USAGE = f"""usage: heredity train ALGORITHM --env ID --total-timesteps N [OPTIONS]

algorithms:
{_LISTED}

heredity train ppo --help                   its settings
heredity train ppo --env brax/ant --help    the same, with the options and the preset of brax/ant
heredity envs                               the ids of environments
"""

log = logging.getLogger("heredity")

_UNSET = "default: none"  # of a setting that has no value where nothing is said of it


@dataclasses.dataclass(frozen=True)
class _Output:
    """Where it goes, what it starts from, and what is shown.

    Args:
        directory: Where everything is written.
        start: Policy to start from, or a checkpoint, whose optimiser goes on as well; of a run, the
            best checkpoint's policy.
        preset: auto (the tuned settings for this environment, if there are any), none, or the id
            of an environment whose settings to use; of dreamer also a size, such as size1m.
        wandb: Project on Weights & Biases to send metrics to.
        progress: Show the progress bar and a line for each evaluation.
        report: Write report.html at the end if there are snapshots.
    """

    directory: Annotated[
        Path | None, otherwise("default: a new folder such as runs/gymnax-CartPole-v1")
    ] = None
    start: Annotated[
        Path | None, tyro.conf.arg(name="from", help_behavior_hint="(default: fresh weights)")
    ] = None
    preset: Annotated[str, tyro.conf.arg(metavar="NAME")] = "auto"
    wandb: Annotated[str | None, tyro.conf.arg(metavar="PROJECT")] = None
    progress: bool = True
    report: bool = True


def main(arguments: Sequence[str]) -> int:
    """Run ``heredity train``."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    named, *rest = arguments
    if named not in ALGORITHMS:
        if named.startswith("-"):
            raise UsageError("the algorithm comes first: heredity train ppo --env ID")
        raise UnknownNameError("algorithm", named, ALGORITHMS)
    algorithm = ALGORITHMS[named]
    given = _parse(algorithm, rest)
    require(given.env, "--env", "which environment; heredity envs lists them")
    groups = {
        group: type(default)(**options_given(getattr(given, group)))
        for group, default in _groups(algorithm.config()).items()
    }
    config = algorithm.config(**options_given(getattr(given, named)), **groups)
    settings = RunSettings(**options_given(given.run))

    name, own = str(given.env), given.output.directory
    trust = untrusted(name, config.own_networks)
    if is_launched(given, rest):
        check_launched(given, name, settings.seeds, settings.on_divergence)
        with _place(own, name) as directory:
            told = resume_command(directory, rest, trust)
            return launched_by(given, ["train", *arguments], directory, trust, told)
    writes = given.distributed.join()
    with given.distributed.at_work():
        from heredity.environments import make

        start = _start(given.output.start, config.own_networks)
        environment = make(name, num_envs=config.num_envs, **options_given(given.options))
        told = given.distributed.resume_with
        if not writes:
            told = told or (own and resume_command(own, rest, trust))
            place = own or Path("runs")
            return _train(environment, config, settings, place, told, None, start)
        with _place(own, name) as directory:
            told = told or resume_command(directory, rest, trust)
            output = given.output
            return _train(environment, config, settings, directory, told, output, start)


@contextlib.contextmanager
def _place(directory: Path | None, environment_id: str) -> Iterator[Path]:
    """Where a run goes: one that was refused leaves no folder behind that nobody asked for."""
    if directory is not None:
        yield check_name(directory, "--directory")
        return
    claimed = claim_directory(environment_id)
    try:
        yield claimed
    finally:
        if {left.name for left in claimed.iterdir()} <= {LOCK}:
            (claimed / LOCK).unlink(missing_ok=True)
            claimed.rmdir()


def _train(
    environment: Any,
    config: AlgorithmConfig,
    settings: RunSettings,
    directory: Path,
    resume: str | None,
    output: _Output | None,
    start: Any,
) -> int:
    """Train; where something is to be shown, show progress and say what to look at."""
    from heredity.training.session import begin_run

    callbacks = [] if output is None else shown_callbacks(output.progress, output.wandb)
    try:
        events = begin_run(
            config,
            environment,
            settings,
            directory,
            callbacks,
            resume_command=resume,
            start=start,
        )
        if output is not None:
            print(f"run      {directory}", file=sys.stderr)
            preset = _told_preset(algorithm_of(config), output.preset, environment.spec.id)
            print(f"preset   {preset}", file=sys.stderr)
        for _ in events:
            pass
    finally:
        if hasattr(environment, "close"):
            _close(environment)
    if output is not None:
        conclude(directory, output.report)
    return 0


def _start(given: Path | None, networks: Sequence[str]) -> Any:
    """What the first weights are: of a policy or a checkpoint, or fresh ones.

    Args:
        given: Folder of one, or of a run.
        networks: Of a person's own, that are asked for and so vouched for.
    """
    from heredity.training.start import FRESH, Start

    if given is None:
        return FRESH
    # Of a checkpoint the whole, of everything else the policy.
    whole = kind_of(given) == "checkpoint"
    place = given if whole else policy_folder(given)
    start = Start.given(place, trust=networks)
    assert start.policy is not None
    told = str(place) if whole else choice_told(given) or str(place)
    log.info("starting from %s, sha256:%s", told, start.policy.policy_hash[:SHORT_HASH])
    return start


def _close(environment: Any) -> None:
    """Close environments; of one that cannot be closed is told, but nothing is lost by it."""
    try:
        environment.close()
    except Exception as error:  # of any kind: it is a person's own code
        told = f"{type(error).__name__}: {error}{own_line(error)}"
        print(f"heredity: an environment could not be closed ({told})", file=sys.stderr)


def _groups(config: AlgorithmConfig) -> dict[str, Any]:
    """Settings that are a group of their own, by name."""
    return {n: one for n, one in options_given(config).items() if dataclasses.is_dataclass(one)}


def _parse(algorithm: Registered, arguments: Sequence[str]) -> Any:
    environment_id = peek(arguments, "--env")
    preset = peek(arguments, "--preset") or "auto"
    config = algorithm.preset_config(preset, environment_id or "")
    known = preset_of(algorithm.presets(), preset, environment_id or "")
    notes = []
    if known:
        reached = f". Seen to reach: {known.reached}" if known.reached else ""
        notes.append(f"Preset of {known.environment}: {known.source}{reached}")
    if environment_id is None:
        notes.append(
            "The options of an environment (--env.*), and its preset as defaults:\n"
            f"  heredity train {algorithm.name} --env brax/ant --help"
        )
    wide = tyro.conf.OmitArgPrefixes
    run = arguments_like(RunSettings, "optional")
    told = run.__doc__ or ""
    run.__doc__ = f"How the run is kept. {FREQUENCIES}\n\n{told[told.index('Args:') :]}"
    groups = _groups(config)
    plain = arguments_like(algorithm.config, _UNSET, without=set(groups))
    told_unset = {
        one.name: one.metadata.get("unset", _UNSET) for one in dataclasses.fields(algorithm.config)
    }
    own = {n: value for n, value in options_given(config).items() if n not in groups}
    fields: list[Any] = [
        *environment_fields(
            environment_id, "Such as gymnax/CartPole-v1; heredity envs lists all.", "required"
        ),
        # The names stand above the groups of --help.
        # A person has to say how long where no preset does.
        ("run", wide[run], *([run(**known.run)] if known and known.total_timesteps else [])),
        ("output", wide[_Output], _Output()),
        ("distributed", Distributed, Distributed()),
        ("launched", wide[Launched], Launched()),
        ("ray", RayCluster, RayCluster()),
        (algorithm.name, wide[plain], plain(**own)),
    ]
    for name, group in groups.items():
        like = arguments_like(type(group), told_unset[name])
        fields.append((name, like, like(**_defaults(name, group, arguments))))
    fields.sort(key=len)  # those without a default come first
    kind = dataclasses.make_dataclass("Train", fields, frozen=True)
    kind.__doc__ = "\n".join([f"Train a policy with {algorithm.label}.\n", *notes])
    return parse(kind, arguments, f"heredity train {algorithm.name}")


def _told_preset(algorithm: Registered, name: str, environment_id: str) -> str:
    """Which preset a run began with; where there is none, those of the same family."""
    known = algorithm.presets()
    chosen = environment_id if name == "auto" else name
    if chosen in known:
        return chosen
    family = f"{environment_id.partition('/')[0]}/"
    others = [f"--preset {other}" for other in known if other.startswith(family)]
    none = f"none: settings are {algorithm.label}'s own"
    return f"{none}; of {family}: {', '.join(others)}" if name == "auto" and others else none


def _defaults(name: str, group: Any, arguments: Sequence[str]) -> dict[str, Any]:
    """The preset's settings of a group, without those that the kind asked for does not have."""
    if isinstance(group, OfKinds):
        return group.as_kind(peek(arguments, f"--{name}.kind") or group.kind)
    return options_given(group)


def shown_callbacks(progress: bool, wandb: str | None) -> list[Any]:
    """The callbacks that a command line asks for."""
    from heredity.training.callbacks import WandbCallback
    from heredity.training.progress import ProgressBarCallback

    callbacks: list[Any] = [ProgressBarCallback()] if progress else []
    return [*callbacks, WandbCallback(wandb)] if wandb else callbacks


def conclude(directory: Path, report: bool) -> None:
    """Write the report if there is something to show, and say what to look at."""
    from heredity.common.group_folder import is_group, runs_in

    several = is_group(directory)
    runs = runs_in(directory)
    best = all((folder.checkpoints / "best").exists() for folder in runs)
    place = directory / "seed-*" if several else directory
    policy = place / "checkpoints" / ("best" if best else "last") / "policy"
    lines = [f"run      {directory}", f"policy   {policy}"]
    lines.append(f"look     heredity view {shlex.quote(str(directory))}")
    if report and (several or runs[0].snapshot_steps()):
        from heredity.common.errors import MissingExtraError
        from heredity.viewer import write_report

        try:
            lines.append(f"report   {write_report(directory)}")
        except MissingExtraError as error:
            lines.append(f"report   not written: {error}")
    elif report:
        lines.append("report   none: no snapshots were kept, see --snapshot-every")
    print("\n".join(lines), file=sys.stderr)
