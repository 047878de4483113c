"""Damage files of every format that is imported, and see that reading them does no harm.

``make fuzz``, or ``python -m tests.weights.fuzzing --files 100 --formats sb3``. Every damaged file
has to load the same values, or be refused by an error of ours; and while it is read nothing may
be run, written or connected to, and memory has to stay bounded.

A format with checksums (the zip archives) has to notice every damaged byte. safetensors, pickles
and the arrays of Orbax have none: a flipped bit of a number is another number, which no reader can
know. Such files are counted as ``other``, and allowed for damage of single bytes alone.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tests.policies.foreign import BY_NAME
from tests.weights.checkpoints import write_checkpoint
from tests.weights.mutations import (
    BYTES,
    Damaged,
    damage_folder,
    damaged_archive,
    damaged_pickle,
)

from heredity.common.errors import HeredityError, RefusedError
from heredity.common.tensors import read_tensors
from heredity.policies.importers import import_policy
from heredity.policies.importers.brax import CONFIG, _read_folder, _read_pickled
from heredity.policies.importers.dreamerv3 import read_dreamerv3
from heredity.policies.importers.sb3_file import read_sb3, read_vec_normalize
from heredity.spaces import space_to_json
from heredity.weights.reading import arrays_by_path, read_orbax, read_torch

FOREIGN = Path(__file__).parents[1] / "fixtures" / "foreign"
MOST_MEMORY = 128 * 2**20  # bytes by which reading one damaged file may let the process grow
MOST_ADDRESSES = 4 * 2**30  # bytes of addresses that it may ask for, at most, at any moment
MOST_SECONDS = 10.0  # for one file

Values = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Format:
    """A kind of file.

    Args:
        source: A good one: a file, or a folder; the name of what `make` writes.
        load: Reads one, as plain values and arrays by name.
        has_checksums: Whether every damaged byte has to be noticed.
        kind: Of the damage that knows the format: archive, pickle, folder, or "" for bytes alone.
        become: Makes a policy of one; tried where a damaged file says other numbers.
        make: Writes a good one, where there is none among the fixtures.
    """

    source: Path
    load: Callable[[Path], Values]
    has_checksums: bool
    kind: str
    become: Callable[[Path], Any] | None = None
    make: Callable[[Path], None] | None = None


def _sb3(path: Path) -> Values:
    file = read_sb3(path)
    spaces = (file.observation_space, file.action_space)
    told = {"kind": file.kind, "settings": dict(file.settings), "order": file.order}
    return {**file.arrays, **told, "spaces": [space_to_json(space) for space in spaces]}


def _torch(path: Path) -> Values:
    value = read_torch(path)
    if not isinstance(value, dict):
        raise RefusedError(path, "is no dict")
    return arrays_by_path(value)


def _brax(path: Path) -> Values:
    content = _read_folder(path)
    return {**content.arrays, CONFIG: content.config}


def _policy(name: str, **changes: Any) -> Callable[[Path], Any]:
    """Imports a file as a case of the tests does."""
    case = BY_NAME[name]
    return lambda path: import_policy(
        path, case.format, dataclasses.replace(case.options, **changes)
    )


def _with_normalizer(path: Path) -> Any:
    case = BY_NAME["sb3_ppo_box"]
    return _policy(case.name, normalizer=str(path))(case.path)


def _safetensors(path: Path) -> Values:
    return read_tensors(path)[0]


_SMALL = {
    f"hidden_{number}": np.random.default_rng(number).normal(size=20).astype(np.float32)
    for number in range(6)
}


def _make_safetensors(path: Path) -> None:
    from safetensors.numpy import save

    path.write_bytes(save(_SMALL))


def _make_orbax3(path: Path) -> None:
    write_checkpoint(path, _SMALL, 10)


FORMATS: Mapping[str, Format] = {
    "sb3": Format(
        FOREIGN / "sb3_ppo_box" / "model.zip", _sb3, True, "archive", _policy("sb3_ppo_box")
    ),
    "rsl_rl": Format(
        FOREIGN / "rsl_rl_5_normalized" / "model.pt",
        _torch,
        True,
        "archive",
        _policy("rsl_rl_5_normalized"),
    ),
    "cleanrl": Format(
        FOREIGN / "cleanrl_ppo_continuous" / "agent.cleanrl_model",
        _torch,
        True,
        "archive",
        _policy("cleanrl_ppo_continuous"),
    ),
    "vecnormalize": Format(
        FOREIGN / "sb3_ppo_box" / "vecnormalize.pkl",
        lambda path: arrays_by_path(dict(read_vec_normalize(path))),
        False,
        "pickle",
        _with_normalizer,
    ),
    "brax": Format(
        FOREIGN / "brax_ppo" / "checkpoint" / "000000000100",
        _brax,
        False,
        "folder",
        _policy("brax_ppo"),
    ),
    "brax-pickle": Format(
        FOREIGN / "brax_ppo_pickle" / "params.pkl",
        lambda path: _read_pickled(path).arrays,
        False,
        "pickle",
        _policy("brax_ppo_pickle"),
    ),
    "dreamerv3": Format(
        next((FOREIGN / "dreamerv3" / "ckpt").glob("2*/agent.pkl")),
        lambda path: read_dreamerv3(path).arrays,
        False,
        "pickle",
    ),
    "orbax3": Format(Path("000000000100"), read_orbax, False, "folder", make=_make_orbax3),
    "safetensors": Format(
        Path("weights.safetensors"), _safetensors, False, "", make=_make_safetensors
    ),
}


class HarmError(AssertionError):
    """A damaged file was not read as it has to be."""


# --- what happens while a file is read ------------------------------------------------------------

_FORBIDDEN = (
    "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.remove", "os.rename", "os.mkdir",
    "subprocess.Popen", "pickle.find_class", "socket.connect", "shutil.rmtree", "ctypes.dlopen",
)  # fmt: skip
_watching: list[str] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Python tells its audit hooks of everything that leaves the process."""
    if _watching is None:
        return
    is_writing = (
        event == "open" and isinstance(arguments[1], str) and set("wax+") & set(arguments[1])
    )
    if event in _FORBIDDEN or is_writing:
        _watching.append(f"{event} {arguments!r}"[:200])


def watched(load: Callable[[], Any]) -> Any:
    """What a function gives.

    Raises:
        HarmError: when it ran, wrote or connected to something, or took too long.
    """
    global _watching
    _watching = seen = []
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        return load()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _watching = None
        if seen:
            raise HarmError(f"while it was read: {seen}")


def _too_long(*_: Any) -> None:
    raise HarmError(f"took more than {MOST_SECONDS} seconds")


# --- one format -----------------------------------------------------------------------------------


@dataclasses.dataclass
class Found:
    """What became of the damaged files of one format."""

    outcomes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    slowest: float = 0.0  # seconds
    grown: int = 0  # bytes, for one file


def damaged(source: Path, target: Path, form: Format, draw: np.random.Generator) -> Damaged:
    """A damaged copy of a good file or folder."""
    canary = target.parent / "canary"
    if form.kind == "folder":
        shutil.copytree(source, target)
        return damage_folder(target, draw, canary)
    data = source.read_bytes()
    if form.kind and draw.random() < 0.5:
        make = damaged_archive if form.kind == "archive" else damaged_pickle
        content, how = make(data, draw, canary)
    else:
        name = list(BYTES)[int(draw.integers(0, len(BYTES)))]
        content, how = BYTES[name](data, draw), Damaged(name)
    target.write_bytes(content)
    return how


def same(one: Values, other: Values) -> bool:
    """Whether two files say the same."""
    if set(one) != set(other):
        return False
    for name, value in one.items():
        if isinstance(value, np.ndarray):
            found = other[name]
            if not isinstance(found, np.ndarray) or found.dtype != value.dtype:
                return False
            if found.shape != value.shape or found.tobytes() != value.tobytes():
                return False
        elif json.dumps(value, default=str) != json.dumps(other[name], default=str):
            return False
    return True


def fuzz(
    name: str, files: int, seed: int = 0, told: Callable[[int], None] = lambda done: None
) -> Found:
    """Damage a format's file many times.

    Args:
        name: Of the format.
        files: How many damaged ones to read.
        seed: Decides them.
        told: Is called with the number that are done.

    Raises:
        HarmError: naming the first file that is not read as it has to be, and how to make it again.
    """
    form = FORMATS[name]
    found = Found()
    kept = signal.signal(signal.SIGALRM, _too_long)
    try:
        with tempfile.TemporaryDirectory() as place:
            source = _source(form, Path(place))
            good = form.load(source)
            if form.become is not None:
                form.become(source)  # what it imports and compiles is no growth by a damaged file
            for number in range(files):
                draw = np.random.default_rng([seed, number])
                folder = Path(place, "damaged")
                folder.mkdir()
                target = folder / source.name
                how = damaged(source, target, form, draw)
                began, held = time.perf_counter(), _forget_peak()
                try:
                    outcome = _outcome(form, target, good, how)
                    grown = _memory("VmHWM") - held
                    if grown > MOST_MEMORY:
                        raise HarmError(f"the process grew by {grown / 2**20:,.0f} MiB")
                except BaseException as error:
                    raise HarmError(
                        f"{name}, seed {seed}, file {number} ({how.how}): {error!r}"
                    ) from error
                if (folder / "canary").exists():
                    raise HarmError(f"{name}, file {number} ({how.how}): something was run")
                found.outcomes[outcome] += 1
                found.slowest = max(found.slowest, time.perf_counter() - began)
                found.grown = max(found.grown, grown)
                shutil.rmtree(folder)
                told(number + 1)
    finally:
        signal.signal(signal.SIGALRM, kept)
    return found


def _memory(what: str) -> int:
    """Bytes of this process: ``VmRSS`` now, ``VmHWM`` at most since `_forget_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status says no {what}")


def _forget_peak() -> int:
    """Let the peak of memory begin anew; the bytes that are held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _source(form: Format, place: Path) -> Path:
    if form.make is None:
        return form.source
    path = place / form.source
    form.make(path)
    return path


def _outcome(form: Format, target: Path, good: Values, how: Damaged) -> str:
    try:
        found = watched(lambda: form.load(target))
    except RefusedError:
        return "refused"
    except HeredityError as error:
        raise HarmError(f"no error of a file: {error!r}") from error
    if how.must_refuse:
        raise HarmError("it was loaded")
    if same(good, found):
        return "same"
    arrays = {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
    if how.only_lost and not same(arrays, {n: v for n, v in good.items() if n in arrays}):
        raise HarmError("what was lost was made up")
    is_byte = how.how.rpartition(" ")[2] != "truncated" and not how.must_refuse
    if how.says_other or (not form.has_checksums and is_byte):
        if form.become is not None:
            try:
                watched(lambda: form.become(target))  # pyright: ignore[reportOptionalCall]
            except HeredityError:
                return "other"
        return "other"
    raise HarmError("it was loaded with other values")


def main() -> int:
    """Fuzz the formats that are named, with a bar for each."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000, help="of each format")
    parser.add_argument("--formats", nargs="*", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    _limit_addresses()
    columns = (TextColumn("{task.description:<13}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn()) as progress:
        for name in given.formats:
            task = progress.add_task(name, total=given.files)
            found = fuzz(
                name,
                given.files,
                given.seed,
                lambda done, task=task: progress.update(task, completed=done),
            )
            told = ", ".join(f"{count:,} {what}" for what, count in sorted(found.outcomes.items()))
            progress.console.print(
                f"{name}: {told}; slowest {found.slowest * 1000:.0f} ms, "
                f"memory grew by {found.grown / 2**20:.0f} MiB at most",
                soft_wrap=True,
            )
    print("Nothing was run, every damaged file was refused or explained.")
    return 0


def _limit_addresses() -> None:
    """No more addresses than now and `MOST_ADDRESSES`: what asks for more fails."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MOST_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


sys.addaudithook(_audit)

if __name__ == "__main__":
    sys.exit(main())
