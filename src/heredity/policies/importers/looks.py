"""Which formats a file looks like, from its first bytes or its members' names: for errors alone."""

from __future__ import annotations

from pathlib import Path

from heredity.common.errors import RefusedError
from heredity.common.reading import open_regular
from heredity.weights.reading.torch_files import OLD_TORCH
from heredity.weights.reading.zips import open_zip

_ORBAX = ("_METADATA", "manifest.ocdbt", "ppo_network_config.json")
_DREAMER = ("agent.pkl", "latest")
_PICKLE = b"\x80"
_HEAD = 32  # bytes that are looked at


def looks_like(path: Path) -> tuple[str, ...]:
    """The formats that a file or folder may be of; () where nothing says it.

    Example:
        >>> looks_like(Path("/dev/null"))
        ()
    """
    if path.is_dir():
        if any((path / name).exists() for name in _ORBAX):
            return ("brax",)
        return ("dreamerv3",) if any((path / name).exists() for name in _DREAMER) else ()
    try:
        with open_regular(path) as stream:
            head, size = stream.read(_HEAD), stream.seek(0, 2)
        if head.startswith(b"PK"):
            with open_zip(path) as archive:
                names = archive.names
            if "policy.pth" in names:
                return ("sb3",)
            is_torch = any(name.endswith("/data.pkl") for name in names)
            return ("cleanrl", "rsl_rl") if is_torch else ()
    except RefusedError:
        return ()
    if head.startswith(_PICKLE):
        return () if OLD_TORCH in head else ("brax", "dreamerv3")
    is_table = head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size
    return ("safetensors",) if is_table else ()
