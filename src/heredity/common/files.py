"""Files that are either whole or absent: hashed, flushed, and renamed into place."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heredity.common.errors import LostFolderError, RefusedError, StorageError, UsageError
from heredity.common.reading import ANOTHER_COPY

SEAL_KEY = "sha256"
_BLANK = "0" * 64
TEMPORARY_PREFIX = ".writing-"
REPLACED_PREFIX = ".replaced-"
LOCK = ".lock"


def sha256_bytes(data: bytes | memoryview) -> str:
    """The SHA-256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def without_links(folder: Path) -> Path:
    """The folder itself, as links lead to it now.

    ``checkpoints/last`` may come to point elsewhere while the files in it are read one by one.
    """
    real = Path(os.path.realpath(folder))
    return folder if real == Path(os.path.abspath(folder)) else real


def dump_json(value: Any) -> str:
    """JSON as heredity writes it: sorted keys, two spaces, one newline at the end.

    Non-finite numbers are refused, because JSON has none; encode them as strings.
    """
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def seal_json(value: dict[str, Any]) -> str:
    """JSON text that carries the SHA-256 of itself, so that one flipped byte is seen.

    The digest is taken over the text with the digest's own place filled with zeros.

    Example:
        >>> text = seal_json({"answer": 42})
        >>> check_seal(text, "an example")["answer"]
        42
    """
    text = dump_json({**value, SEAL_KEY: _BLANK})
    return text.replace(_sealed_with(_BLANK), _sealed_with(sha256_bytes(text.encode())), 1)


def _sealed_with(digest: str) -> str:
    """The line of the seal; a text cannot hold it anywhere else, because JSON escapes newlines."""
    return f'\n  "{SEAL_KEY}": "{digest}"'


def check_seal(text: str, path: Path | str) -> dict[str, Any]:
    """Parse text made by `seal_json`.

    Raises:
        RefusedError: when it is not JSON or any byte of it was changed.
    """
    value = parse_json(text, path)
    digest = value.get(SEAL_KEY)
    if not isinstance(digest, str) or len(digest) != 64:
        raise RefusedError(path, "has no seal (sha256): it is not whole or not written by heredity")
    blank = text.replace(_sealed_with(digest), _sealed_with(_BLANK), 1)
    found = sha256_bytes(blank.encode())
    if found != digest:
        raise RefusedError(
            path,
            f"was altered: its seal says {digest[:12]}…, its bytes give {found[:12]}…",
            ANOTHER_COPY,
        )
    del value[SEAL_KEY]
    return value


def parse_json(text: str, path: Path | str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        RefusedError: when it is none, or holds a number that is not finite or half a character.
    """
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_finite)
        if "\\u" in text:
            # An escape may be half of a character, which no text that is written can hold.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise RefusedError(path, f"is not valid JSON ({error})", "The file is torn") from None
    if not isinstance(value, dict):
        raise RefusedError(path, f"holds a JSON {type(value).__name__}, an object was expected")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folders(folder: Path) -> None:
    """Make a folder and those it lies in; each new name is on the disk before anything in it."""
    if not folder.is_dir():
        if folder in _held.values():  # it was there when it was locked
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        _make_folders(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush(folder.parent)


def _discard(path: Path) -> None:
    """Remove what may be a folder, a file or a link; what cannot be removed is left."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _temporary_beside(path: Path) -> Path:
    return path.parent / f"{TEMPORARY_PREFIX}{path.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file so that, at any moment, the old or the new content is there whole.

    Raises:
        StorageError: when the disk refuses; what was there before is untouched.
        LostFolderError: see `check_in_place`.
    """
    check_in_place(path)
    content = data.encode() if isinstance(data, str) else data
    temporary = _temporary_beside(path)
    try:
        _make_folders(path.parent)
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        _discard(temporary)  # after a failure or an interruption: else it is gone already


def check_name(path: Path, what: str) -> Path:
    """The path, if there can be a file or folder of that name.

    Args:
        path: As a person gave it.
        what: What it is, for the error.

    Raises:
        UsageError: for a name with a zero byte in it, or one that is too long.

    Example:
        >>> check_name(Path("n" * 400), "--out")
        Traceback (most recent call last):
        heredity.common.errors.UsageError: --out nnn...: no name of a folder (File name too long)
    """
    told = str(path) if len(str(path)) <= 60 else f"{str(path)[:60]}…"
    if "\0" in str(path):
        raise UsageError(f"{what} {told!r}: no name of a folder (it has a zero byte)")
    try:
        path.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(f"{what} {told}: no name of a folder ({error.strerror})") from None
    return path


@contextlib.contextmanager
def folder_appearing_whole(path: Path) -> Iterator[Path]:
    """Give a folder to fill; when the block ends it is flushed and renamed to `path`.

    An existing `path` is replaced. If the block raises, nothing appears. A process killed amid the
    replacing leaves the old folder under another name, which `sweep_temporaries` gives back.

    Raises:
        StorageError: when the disk refuses; what was there before is untouched.
        LostFolderError: see `check_in_place`.
    """
    check_in_place(path)
    temporary = _temporary_beside(path)
    try:
        _make_folders(path.parent)
        temporary.mkdir()
        yield temporary
        for file in sorted(temporary.rglob("*"), reverse=True):
            _flush(file)
        _flush(temporary)
        if path.exists():
            # A folder cannot be renamed over another; the old one steps aside first, under a name
            # that says whose copy it is, because for a moment it is the only one.
            aside = path.with_name(REPLACED_PREFIX + path.name)
            _discard(aside)
            path.rename(aside)
            try:
                temporary.rename(path)
            except OSError:
                aside.rename(path)
                raise
            # The new name is on the disk before the old copy goes.
            _flush(path.parent)
            _discard(aside)
        else:
            temporary.rename(path)
            _flush(path.parent)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def point_symlink(link: Path, target: str) -> None:
    """Make `link` point to `target` (relative), replacing an older link in one step."""
    temporary = _temporary_beside(link)
    try:
        temporary.symlink_to(target)
        temporary.replace(link)
        _flush(link.parent)
    except OSError as error:
        raise _not_written(link, error) from error
    finally:
        _discard(temporary)


def remove_symlink(link: Path) -> None:
    """Remove `link` if it is there; what it points to stays.

    Raises:
        StorageError: when the disk refuses.
    """
    if not link.is_symlink():
        return
    try:
        link.unlink()
        _flush(link.parent)
    except OSError as error:
        raise _not_written(link, error) from error


def set_aside(path: Path) -> Path:
    """Rename what was refused, so that its name is free and nobody takes it for whole.

    Returns:
        Where it lies now.

    Raises:
        StorageError: when the disk refuses.
    """
    aside = path.with_name(f"{path.name}.refused-{uuid.uuid4().hex[:6]}")
    try:
        path.rename(aside)
    except OSError as error:
        raise _not_written(path, error) from error
    return aside


def remove_folder(path: Path) -> None:
    """Remove a folder so that, at any moment, it is there whole or not at all.

    Raises:
        StorageError: when the disk refuses.
    """
    aside = _temporary_beside(path)
    try:
        path.rename(aside)
        _flush(path.parent)
        shutil.rmtree(aside)
    except OSError as error:
        raise _not_written(path, error) from error


def remove_tree(folder: Path) -> None:
    """Remove a folder that nobody misses, as far as that can be done.

    Where a run was moved away, what is in its place now is another's.
    """
    with contextlib.suppress(LostFolderError):
        check_in_place(folder)
        shutil.rmtree(folder, ignore_errors=True)


def sweep_temporaries(folder: Path) -> None:
    """Remove what a killed writer left half done, and give back what it was about to replace."""
    if not folder.is_dir():
        return
    for path in folder.glob(f"{REPLACED_PREFIX}*"):
        place = path.with_name(path.name.removeprefix(REPLACED_PREFIX))
        if place.exists():
            _discard(path)
        else:
            path.rename(place)
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        _discard(path)


_held: dict[int, Path] = {}  # folders by the descriptor of their lock


def _forget_in_child() -> None:
    """A forked worker that outlives its parent must not keep the parent's locks."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)


def _release(descriptor: int) -> None:
    if descriptor in _held:
        del _held[descriptor]
        os.ftruncate(descriptor, 0)
        os.close(descriptor)


def check_in_place(path: Path) -> None:
    """See that a folder which this process has locked is still there, before `path` is written.

    Without this, writing would make the folder anew where it was moved away from, and what is
    saved there is nobody's run.

    Args:
        path: Of what is to be written. Outside of every locked folder nothing is checked.

    Raises:
        LostFolderError: when the lock at the folder's path is not the one that is held.
    """
    for descriptor, folder in list(_held.items()):
        # Both as they were given: a program that changes its directory has lost relative ones.
        if not path.is_relative_to(folder):
            continue
        try:
            found = os.stat(folder / LOCK, follow_symlinks=False)
        except OSError:
            found = None
        if found is None or not os.path.samestat(found, os.fstat(descriptor)):
            raise LostFolderError(
                folder,
                "was moved, removed or replaced while it was in use (or the program changed its "
                "current directory)",
            )


def _not_written(path: Path, error: OSError) -> StorageError:
    check_in_place(path)  # that the folder is gone says more than that a file in it is
    return StorageError(path, error)


class FolderLock:
    """One owner for a folder: until `close`, nobody else gets this lock, in any process.

    The kernel lets go of it when the process ends, however it ends, so that no lock is ever stale.

    Args:
        folder: Made if it is not there.

    Raises:
        UsageError: when somebody holds it, naming the process.
        StorageError: when the disk refuses.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Not through a link: what it led to, in a folder that came from elsewhere, would be
            # emptied.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise StorageError(path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace") or "unknown"
            os.close(descriptor)
            raise UsageError(
                f"{folder} is in use by process {holder}: wait until it is done or stop it, "
                "or choose another directory"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise StorageError(path, error) from error
        _held[descriptor] = folder
        # Also for an owner that is dropped without being closed.
        self._release = weakref.finalize(self, _release, descriptor)

    def close(self) -> None:
        """Let go; more than once is the same as once."""
        self._release()
