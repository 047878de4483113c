"""Compiled programs: how many a run needs and how long they take, and a cache that keeps them.

Importing this loads no numerical library.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import sys
import zlib
from collections.abc import MutableMapping
from pathlib import Path

from heredity.common.provenance import processor
from heredity.common.words import counted

log = logging.getLogger("heredity")

# Where compiled programs are kept, or "off".
VARIABLE = "HEREDITY_COMPILATION_CACHE"
_OFF = ("off", "no", "none", "0", "false")
# JAX's own variables. Who sets the first one keeps programs in a place of his own.
_FOLDER = "JAX_COMPILATION_CACHE_DIR"
_LEAST_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
MOST_BYTES = 2**30
_ENTRY, _LAST_LOOKED = "*-cache", ".heredity-looked-through"

_COMPILED = "/jax/core/compile/backend_compile_duration"
_FROM_CACHE = "/jax/compilation_cache/cache_hits"


def keep_compiled(environ: MutableMapping[str, str] = os.environ) -> Path | None:
    """Have JAX keep compiled programs in a folder of the user, for later processes.

    It sets variables that JAX reads when it is imported, and comes too late afterwards. The folder
    is ``~/.cache/heredity/compiled`` (or below ``XDG_CACHE_HOME``), and one of its own in there for
    each kind of processor, because a home may be shared by several machines. The variable
    ``HEREDITY_COMPILATION_CACHE`` names another one, or switches it off (``off``).

    Args:
        environ: Of this process.

    Returns:
        The folder; None when nothing is kept, or elsewhere.
    """
    given = environ.get(VARIABLE, "")
    if given.lower() in _OFF or environ.get(_FOLDER) or "jax" in sys.modules:
        return None
    root = Path(given).expanduser() if given else _cache_home(environ) / "heredity" / "compiled"
    machine = f"{platform.machine()} {processor()}"
    folder = root / hashlib.sha256(machine.encode()).hexdigest()[:12]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tidy(folder)
    except OSError as error:
        log.warning("compiled programs are not kept: %s; see %s", error, VARIABLE)
        return None
    environ[_FOLDER] = str(folder)
    # JAX leaves out what compiles within a second. A run has some forty programs of a few kilobytes
    # each, which are quicker found than made.
    environ.setdefault(_LEAST_SECONDS, "0")
    return folder


def _cache_home(environ: MutableMapping[str, str]) -> Path:
    named = environ.get("XDG_CACHE_HOME", "")
    return Path(named) if named else Path.home() / ".cache"


def tidy(folder: Path, most: int = MOST_BYTES) -> None:
    """Take out programs that were cut short when their process died, and of too many the idlest.

    JAX writes an entry in place, and complains of a torn one for ever, because it never writes one
    that is there. When it read one last, the file system knows, most of them to the day; where it
    does not (noatime), those that were written first go.

    Args:
        folder: Of the cache.
        most: Bytes that are kept.

    Raises:
        OSError: when the disk refuses.
    """
    mark = folder / _LAST_LOOKED
    since = mark.stat().st_mtime if mark.exists() else 0.0
    mark.touch()
    entries = []
    for path in folder.glob(_ENTRY):
        with contextlib.suppress(FileNotFoundError):  # somebody else tidies as well
            state = path.stat()
            if state.st_mtime >= since and _is_torn(path):
                path.unlink()
            else:
                used = max(state.st_mtime, state.st_atime)
                entries.append((used, state.st_size, path))
    entries.sort(reverse=True)
    kept = 0
    for _, size, path in entries:
        kept += size
        if kept > most:
            path.unlink(missing_ok=True)


def _is_torn(path: Path) -> bool:
    """Whether an entry ends before it should; JAX packs them with zstandard, or else with zlib."""
    data = path.read_bytes()
    if data[:4] == b"\x28\xb5\x2f\xfd":
        try:
            import zstandard
        except ImportError:
            return False  # nor can JAX read it here
        unpacking = zstandard.ZstdDecompressor().decompressobj()
        failure: type[Exception] = zstandard.ZstdError
    else:
        unpacking, failure = zlib.decompressobj(), zlib.error
    try:
        unpacking.decompress(data)
    except failure:
        return True
    return not unpacking.eof


class Compilations:
    """Counts the programs that are compiled in this process from now on.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> counted = Compilations()
        >>> jax.jit(lambda x: x * 2.5 + 1.25)(1.0).item()
        3.75
        >>> counted.compiled + counted.from_cache >= 1, counted.seconds > 0.0
        (True, True)
    """

    def __init__(self) -> None:
        _listen()
        self._before = dict(_total)

    def _since(self, name: str) -> float:
        return _total[name] - self._before[name]

    @property
    def compiled(self) -> int:
        """Programs that were compiled."""
        return int(self._since("programs") - self._since("cached"))

    @property
    def from_cache(self) -> int:
        """Programs that were found compiled."""
        return int(self._since("cached"))

    @property
    def seconds(self) -> float:
        """What compiling and finding took, without tracing."""
        return self._since("seconds")

    def row(self) -> dict[str, float]:
        """As columns of metrics."""
        return {
            "time/compilations": float(self.compiled),
            "time/compilations_from_cache": float(self.from_cache),
            "time/compile_seconds": self.seconds,
        }

    def __str__(self) -> str:
        kept = f"{self.from_cache} taken from the cache"
        if not self.compiled and self.from_cache:
            return f"no programs compiled, {kept}, in {self.seconds:.1f} s"
        also = f", {kept}," if self.from_cache else ""
        return f"{counted(self.compiled, 'program')} compiled{also} in {self.seconds:.1f} s"


_total = {"programs": 0.0, "cached": 0.0, "seconds": 0.0}
_listening = False


def _listen() -> None:
    global _listening
    if _listening:
        return
    _listening = True
    import jax

    jax.monitoring.register_event_duration_secs_listener(_note_duration)
    jax.monitoring.register_event_listener(_note_event)


def _note_duration(event: str, duration_secs: float, **_: str | int) -> None:
    if event == _COMPILED:
        _total["programs"] += 1
        _total["seconds"] += duration_secs


def _note_event(event: str, **_: str | int) -> None:
    if event == _FROM_CACHE:
        _total["cached"] += 1
