"""Zip archives that anybody may have made: read within limits, and never unpacked to a disk."""

from __future__ import annotations

import contextlib
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from heredity.common.errors import RefusedError
from heredity.common.reading import open_regular
from heredity.weights.reading.limits import MOST_ENTRIES, MOST_FILE, MOST_RATIO, SMALL

_BROKEN = (
    EOFError,
    IndexError,
    NotImplementedError,  # a compression or an encryption that Python does not have
    OSError,
    OverflowError,
    RuntimeError,  # a password is wanted
    ValueError,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
)
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_IS_ENCRYPTED = 0x1


class SafeZip:
    """Members of a zip archive by name. All of it is checked when it is opened.

    Args:
        stream: The archive; it has to stay open.
        path: What errors call it.

    Raises:
        RefusedError: when it is no zip archive; when a member is named twice, absolute or outside
            (``../``), a link, encrypted, in an unusual compression, or would fill memory.

    Example:
        >>> import io
        >>> written = io.BytesIO()
        >>> with zipfile.ZipFile(written, "w") as archive:
        ...     archive.writestr("../outside", "")
        >>> SafeZip(written, Path("model.zip"))
        Traceback (most recent call last):
        heredity.common.errors.RefusedError: model.zip: member '../outside' would lie outside ...
    """

    def __init__(self, stream: IO[bytes], path: Path | str) -> None:
        self.path = Path(path)
        with self._refusing("is not a whole zip archive"):
            self._archive = zipfile.ZipFile(stream)
            size = stream.seek(0, 2)
        members = self._archive.infolist()
        if len(members) > MOST_ENTRIES:
            raise RefusedError(path, f"has {len(members):,} members, at most {MOST_ENTRIES:,}")
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in members:
            problem = self._problem(member)
            if problem:
                raise RefusedError(path, f"member {member.filename!r} {problem}")
            self._members[member.filename] = member
        # What lies in one place twice unpacks to many times the size of the archive.
        end = 0
        for member in sorted(members, key=lambda member: member.header_offset):
            if member.header_offset < end:
                raise RefusedError(path, f"member {member.filename!r} lies on top of another")
            end = member.header_offset + member.compress_size
        if end > size:
            raise RefusedError(path, f"holds {size:,} bytes, its members speak of {end:,}")

    def _problem(self, member: zipfile.ZipInfo) -> str:
        """Why a member is refused; empty when it is not."""
        # zipfile cuts names at a zero byte, and turns the backslashes of some systems into slashes.
        name = member.orig_filename
        if name in self._members or member.filename in self._members:
            return "is there twice"
        if name != member.filename or "\\" in name or not name.isprintable():
            return "has a name that is read differently on different systems"
        if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
            return "would lie outside of the folder it is unpacked to"
        if stat.S_ISLNK(member.external_attr >> 16):
            return "is a link"
        if member.flag_bits & _IS_ENCRYPTED:
            return "is encrypted"
        if member.compress_type not in _METHODS:
            return f"is compressed by method {member.compress_type}, stored or deflated expected"
        size, packed = member.file_size, member.compress_size
        if size > MOST_FILE:
            return f"holds {size:,} bytes, at most {MOST_FILE:,} were expected"
        if size > max(SMALL, packed * MOST_RATIO):
            return f"would grow from {packed:,} to {size:,} bytes, as nothing but zip bombs do"
        return ""

    @contextlib.contextmanager
    def _refusing(self, problem: str) -> Iterator[None]:
        try:
            yield
        except _BROKEN as error:
            raise RefusedError(self.path, f"{problem} ({error})") from None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all members."""
        return tuple(self._members)

    def size(self, name: str) -> int:
        """Bytes of a member.

        Raises:
            RefusedError: when it is not there.
        """
        if name not in self._members:
            raise RefusedError(self.path, f"has no member {name!r}")
        return self._members[name].file_size

    def read(self, name: str, most: int = MOST_FILE) -> bytes:
        """The bytes of a member, whose checksum is compared.

        Args:
            name: Of the member.
            most: Bytes that it may hold.

        Raises:
            RefusedError: when it is not there, larger, or torn.
        """
        size = self.size(name)
        if size > most:
            raise RefusedError(
                self.path, f"member {name!r} holds {size:,} bytes, at most {most:,} were expected"
            )
        torn = self._refusing(f"member {name!r} cannot be read")
        with torn, self._archive.open(self._members[name]) as stream:
            # One byte more than it may hold, so that more is noticed before it is unpacked.
            content = stream.read(size + 1)
        if len(content) != size:
            raise RefusedError(
                self.path, f"member {name!r} holds {len(content):,} bytes, its entry says {size:,}"
            )
        return content


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[SafeZip]:
    """Open a file as a `SafeZip`.

    Raises:
        RefusedError: when it is missing, no regular file, or refused by `SafeZip`.
    """
    with open_regular(path, most=MOST_FILE) as stream:
        yield SafeZip(stream, path)
