"""Files that were made to do harm, for the tests and the fuzzing of the readers."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any


class Calls:
    """An object whose pickle calls a function when it is read by Python's unpickler."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._called = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self._called


def hostile_pickles(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Pickles that would write a file if they were run, by what they do it with."""
    import builtins
    import os
    import subprocess

    path = str(canary)
    code = f"open({path!r}, 'w').close()"
    for protocol in (0, 1, 2, 3, 4, 5):
        for name, value in (
            ("os.system", Calls(os.system, f"touch {path}")),
            ("subprocess.run", Calls(subprocess.run, ["touch", path])),
            ("exec", Calls(builtins.exec, code)),
            ("eval", Calls(builtins.eval, f"open({path!r}, 'w')")),
            ("open", Calls(builtins.open, path, "w")),
            ("getattr", Calls(builtins.getattr, os, "system")),
        ):
            for place in (value, {"params": value}, [value] * 2, ({"mean": 1}, value)):
                try:
                    yield f"{name}, protocol {protocol}", pickle.dumps(place, protocol)
                except (pickle.PicklingError, TypeError):  # a module cannot be pickled
                    continue
    touched = f"touch {path}".encode()
    # Written by hand: instructions that pickle.dumps does not write any more.
    yield "INST", b"(S'" + touched + b"'\nios\nsystem\n."
    yield "OBJ", b"(cos\nsystem\nS'" + touched + b"'\no."
    yield "GLOBAL", b"cos\nsystem\n(S'" + touched + b"'\ntR."
    yield "NEWOBJ_EX", b"\x80\x04cos\nsystem\n)}\x92."
    yield "PERSID", b"Pos.system\n."
    yield "EXT1", b"\x80\x02\x82\x01."
    yield "a name in dots", b"\x80\x04\x8c\x05numpy\x8c\x0bcore.os.sys\x93."
    yield "BUILD of a name", b"\x80\x02cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb."
    yield "a call of a class of arguments", b"\x80\x02cnumpy\nndarray\n)R."


def greedy_pickles() -> Iterator[tuple[str, bytes]]:
    """Small pickles that would take all memory, or for ever."""
    yield "a memo of 4 billion entries", b"\x80\x02Nr\xff\xff\xff\xff."
    yield "bytes without end", b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x."
    yield "text without end", b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x."
    yield "a frame without end", b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N."
    yield "an array of bytes without end", b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"x."
    yield "a number without end", b"\x80\x02\x8b\xff\xff\xff\x7fx."
    yield "digits without end", b"I" + b"9" * 100_000 + b"\n."
    yield "lists of lists", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    doubled = b"".join(b"2\x86" for _ in range(200))
    yield "a tree of 2**200 leaves", b"\x80\x02K\x01" + doubled + b"."
    yield "such a tree as a key", b"\x80\x02}K\x01" + doubled + b"K\x01s."
    yield "such a tree as a name", b"\x80\x04K\x01" + doubled + b"\x8c\x01x\x93."
    yield "such a tree as a dtype", b"\x80\x02cnumpy\ndtype\nK\x01" + doubled + b"\x85R."
    yield "a list within itself", b"\x80\x02]q\x00h\x00a."
    reconstruct = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R"
    state = b"(K\x01J\xff\xff\xff\x7f\x85" + dtype + b"\x89C\x04abcdtb"
    yield "an array larger than its bytes", b"\x80\x03" + reconstruct + state + b"."
    array = reconstruct + b"(K\x01K\x01\x85" + dtype + b"\x89C\x04abcdtb"
    yield "one array 100,000 times", b"\x80\x03" + array + b"q\x000](" + b"h\x00" * 200_000 + b"e."
    # One large value, and calls that make another of it again and again.
    count = 300
    text = b"\x80\x02X" + struct.pack("<I", 2**20) + b"a" * 2**20 + b"q\x000"
    encoded = b"c_codecs\nencode\nq\x010](" + b"h\x01h\x00X\x06\x00\x00\x00latin1\x86R" * count
    yield "one text encoded 300 times", text + encoded + b"e."
    items = b"\x80\x02](" + b"K\x01" * 2**17 + b"eq\x000"
    called = b"](" + b"ccollections\ndeque\nh\x00\x85R" * count + b"e."
    yield "one list copied 300 times", items + called
    pairs = b"\x80\x02](" + b"".join(
        b"J" + struct.pack("<i", number) + b"N\x86" for number in range(2**13)
    )
    called = b"](" + b"ccollections\nOrderedDict\nh\x00\x85R" * count + b"e."
    yield "one dict made 300 times", pairs + b"eq\x000" + called
    turned = dtype + b"(K\x03X\x01\x00\x00\x00>NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tbq\x010"
    content = b"\x80\x03B" + struct.pack("<I", 2**20) + bytes(2**20) + b"q\x000"
    built = reconstruct + b"(K\x01J" + struct.pack("<i", 2**18) + b"\x85h\x01\x89h\x00tb"
    yield "one array turned 300 times", content + turned + b"](" + built * count + b"e."


def archive(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """The bytes of a zip archive."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return written.getvalue()


def hostile_archives(members: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Archives that are refused for what they are, whatever else is in them.

    Args:
        members: Of a good archive.
    """
    first, content = next(iter(members.items()))
    for name in ("../outside", "/absolute", "a/../../b", "..", "back\\slash", "C:/windows"):
        yield f"member {name}", archive({**members, name: b"x"})
    bomb = archive({**members, "bomb": bytes(64 * 2**20)}, zipfile.ZIP_DEFLATED)
    yield "a zip bomb", bomb
    swollen = {**members, first: content + bytes(64 * 2**20)}
    yield "a member that is a zip bomb", archive(swollen, zipfile.ZIP_DEFLATED)
    yield "another compression", archive(members, zipfile.ZIP_LZMA)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as file:
        for name, part in members.items():
            file.writestr(name, part)
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    yield "a link", written.getvalue()
    twice = archive({**members, "same_name_": b"x", "same_name2": b"y"})
    yield "a name twice", twice.replace(b"same_name2", b"same_name_")
    whole = archive(members)
    yield "members on top of each other", _overlapping(whole)
    yield "a member that is encrypted", _with_flag(whole)


def _overlapping(whole: bytes) -> bytes:
    """The same archive, where all entries of the directory lead to the first member."""
    data = bytearray(whole)
    place = _directory(whole)
    while place != -1:
        data[place + 42 : place + 46] = bytes(4)
        place = data.find(b"PK\x01\x02", place + 4)
    return bytes(data)


def _with_flag(whole: bytes) -> bytes:
    data = bytearray(whole)
    data[_directory(whole) + 8] |= 1
    return bytes(data)


def _directory(whole: bytes) -> int:
    """Where the directory of an archive begins; archives among its members have their own."""
    return int.from_bytes(whole[-6:-2], "little")


def chunk_bombs() -> Iterator[tuple[str, dict[str, bytes]]]:
    """The files of an array of one number whose only piece unpacks to 256 MiB, by its driver."""
    count = 2**26
    # A frame of zstd in which each block of 128 KiB is one byte, repeated.
    blocks = count * 4 // 2**17
    frame = b"\x28\xb5\x2f\xfd\x00\x38" + b"".join(
        (2**17 << 3 | 1 << 1 | (number == blocks - 1)).to_bytes(3, "little") + b"\0"
        for number in range(blocks)
    )
    older = {
        "zarr_format": 2,
        "shape": [1],
        "chunks": [count],
        "dtype": "<f4",
        "compressor": {"id": "zstd", "level": 1},
        "fill_value": None,
        "filters": None,
        "order": "C",
    }
    yield "zarr", {".zarray": json.dumps(older).encode(), "0": frame}
    newer = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [1],
        "data_type": "float32",
        "fill_value": 0.0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [count]}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "zstd", "configuration": {"level": 1, "checksum": False}},
        ],
    }
    yield "zarr3", {"zarr.json": json.dumps(newer).encode(), "c/0": frame}
