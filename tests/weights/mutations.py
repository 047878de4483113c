"""Ways to damage a file, or to make a hostile one of it. What each may lead to is part of it."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from tests.weights.hostile import (
    archive,
    chunk_bombs,
    greedy_pickles,
    hostile_archives,
    hostile_pickles,
)

Draw = np.random.Generator
Mutation = Callable[[bytes, Draw], bytes]


@dataclasses.dataclass(frozen=True)
class Damaged:
    """A damaged copy.

    Args:
        how: What was done, in words.
        must_refuse: Whether nothing that loads may come of it.
        says_other: Whether it may say other numbers, because it was made anew with checksums that
            fit, so that no reader can know.
        only_lost: Whether something is gone and nothing was changed: an array that is found all the
            same has to be whole.
    """

    how: str
    must_refuse: bool = False
    says_other: bool = False
    only_lost: bool = False


# --- bytes --------------------------------------------------------------------------------------


def _truncated(data: bytes, draw: Draw) -> bytes:
    return data[: int(draw.integers(0, len(data)))] if data else data


def _flipped(data: bytes, draw: Draw) -> bytes:
    changed = bytearray(data)
    for _ in range(int(draw.integers(1, 4))):
        if changed:
            changed[int(draw.integers(0, len(changed)))] ^= 1 << int(draw.integers(0, 8))
    return bytes(changed)


def _overwritten(data: bytes, draw: Draw) -> bytes:
    start, length = int(draw.integers(0, len(data) + 1)), int(draw.integers(1, 65))
    end = min(start + length, len(data))
    return data[:start] + draw.bytes(end - start) + data[end:]


def _inserted(data: bytes, draw: Draw) -> bytes:
    start = int(draw.integers(0, len(data) + 1))
    return data[:start] + draw.bytes(int(draw.integers(1, 65))) + data[start:]


def _cut_out(data: bytes, draw: Draw) -> bytes:
    start = int(draw.integers(0, len(data) + 1))
    return data[:start] + data[start + int(draw.integers(1, 65)) :]


def _repeated(data: bytes, draw: Draw) -> bytes:
    start = int(draw.integers(0, len(data) + 1))
    end = start + int(draw.integers(1, 257))
    return data[:end] + data[start:end] + data[end:]


def _emptied(data: bytes, draw: Draw) -> bytes:
    del data, draw
    return b""


def _random(data: bytes, draw: Draw) -> bytes:
    return draw.bytes(int(draw.integers(1, len(data) + 2)))


BYTES: Mapping[str, Mutation] = {
    "truncated": _truncated,
    "bits flipped": _flipped,
    "overwritten": _overwritten,
    "inserted": _inserted,
    "cut out": _cut_out,
    "repeated": _repeated,
    "emptied": _emptied,
    "random bytes": _random,
}


# --- archives -----------------------------------------------------------------------------------


def members_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def damaged_archive(data: bytes, draw: Draw, canary: Path) -> tuple[bytes, Damaged]:
    """An archive with whole checksums whose members are not what they were."""
    members = members_of(data)
    names = list(members)
    name = names[int(draw.integers(0, len(names)))]
    choice = int(draw.integers(0, 8))
    match choice:
        case 0:
            renamed = {(f"{n}_" if n == name else n): part for n, part in members.items()}
            return archive(renamed), Damaged(f"{name} renamed")
        case 1:
            left = {n: part for n, part in members.items() if n != name}
            return archive(left), Damaged(f"{name} left out")
        case 2:
            larger = {**members, name: members[name] + draw.bytes(int(draw.integers(1, 65)))}
            return archive(larger), Damaged(f"{name} longer", says_other=True)
        case 3:
            hostile = _archives(data)
            told, found = hostile[int(draw.integers(0, len(hostile)))]
            return found, Damaged(told, must_refuse=True)
        case 4:
            nested = [n for n in names if n.endswith((".pkl", ".pth", "data"))]
            target = nested[int(draw.integers(0, len(nested)))]
            told, found = _hostile(draw, canary)
            if target.endswith(".pth"):
                inner = members_of(members[target])
                pickled = next(n for n in inner if n.endswith("data.pkl"))
                found = archive({**inner, pickled: found})
            elif target.endswith("data"):
                found = _hostile_json(members[target], found, draw)
            return archive({**members, target: found}), Damaged(f"{told} in {target}")
        case 5:
            nested = [n for n in names if n.endswith((".pkl", ".pth"))]
            target = nested[int(draw.integers(0, len(nested)))]
            how = list(BYTES)[int(draw.integers(0, len(BYTES)))]
            found = BYTES[how](members[target], draw)
            # A pickle alone has no checksum; a torch file within the archive has its own.
            other = target.endswith(".pkl")
            return archive({**members, target: found}), Damaged(f"{target} {how}", says_other=other)
        case 6:
            deflated = archive(members, zipfile.ZIP_DEFLATED)
            return deflated, Damaged("compressed, and as good as before")
    added = {**members, f"added_{int(draw.integers(0, 99))}": draw.bytes(16)}
    return archive(added), Damaged("a member more")


def _hostile(draw: Draw, canary: Path) -> tuple[str, bytes]:
    pickles = _pickles(canary)
    return pickles[int(draw.integers(0, len(pickles)))]


# Making all of them takes longer than reading one.
@functools.lru_cache
def _pickles(canary: Path) -> list[tuple[str, bytes]]:
    return [*hostile_pickles(canary), *greedy_pickles()]


@functools.lru_cache
def _archives(data: bytes) -> list[tuple[str, bytes]]:
    return list(hostile_archives(members_of(data)))


def _hostile_json(content: bytes, pickled: bytes, draw: Draw) -> bytes:
    """The ``data`` of Stable-Baselines3 with a hostile pickle in one of its entries."""
    import base64

    data = json.loads(content)
    entries = [name for name, value in data.items() if isinstance(value, dict)]
    name = entries[int(draw.integers(0, len(entries)))]
    data[name] = {":type:": "x", ":serialized:": base64.b64encode(pickled).decode()}
    return json.dumps(data).encode()


# --- pickles ------------------------------------------------------------------------------------


def damaged_pickle(data: bytes, draw: Draw, canary: Path) -> tuple[bytes, Damaged]:
    """A hostile pickle; alone, or put into a good one."""
    told, hostile = _hostile(draw, canary)
    # What the two greedy ones without other harm hold is None, which is no policy.
    if draw.random() < 0.5:
        return hostile, Damaged(told, must_refuse=True)
    # Without its end, in front of the good one or somewhere within it.
    start = 0 if draw.random() < 0.3 else int(draw.integers(0, len(data)))
    return data[:start] + hostile[:-1] + data[start:], Damaged(f"{told}, put in", says_other=True)


# --- folders ------------------------------------------------------------------------------------


def damage_folder(folder: Path, draw: Draw, canary: Path) -> Damaged:
    """Damage one file of a folder, or what is there in its place."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = files[int(draw.integers(0, len(files)))]
    name = path.relative_to(folder).as_posix()
    match int(draw.integers(0, 9)):
        case 0:
            path.unlink()
            return Damaged(f"{name} left out", only_lost=True)
        case 1:
            path.rename(path.with_name(f"{path.name}_"))
            return Damaged(f"{name} renamed", only_lost=True)
        case 2:
            path.unlink()
            path.symlink_to("/etc/hostname")
            return Damaged(f"{name} a link")
        case 3:
            path.unlink()
            os.mkfifo(path)
            return Damaged(f"{name} a pipe")
        case 4:
            with open(path, "r+b") as stream:
                stream.truncate(2**38)  # takes no room: it is a hole
            return Damaged(f"{name} of 256 GiB", must_refuse=True)
        case 5:
            other = files[int(draw.integers(0, len(files)))]
            ours, theirs = path.read_bytes(), other.read_bytes()
            path.write_bytes(theirs)
            other.write_bytes(ours)
            return Damaged(f"{name} and another exchanged", says_other=True)
        case 6:
            text = (folder / "_METADATA").read_text()
            told = ["../outside", "/etc", "..", "", "a/b", "x" * 5000]
            changed = text.replace("hidden_0", told[int(draw.integers(0, len(told)))])
            (folder / "_METADATA").write_text(changed)
            return Damaged("names in the tree changed")
        case 7 if (folder / "hidden_0" / "zarr.json").exists():
            for name, content in dict(chunk_bombs())["zarr3"].items():
                (folder / "hidden_0" / name).write_bytes(content)
            return Damaged("a piece that is a bomb", must_refuse=True)
    del canary
    how = list(BYTES)[int(draw.integers(0, len(BYTES)))]
    path.write_bytes(BYTES[how](path.read_bytes(), draw))
    return Damaged(f"{name} {how}")
