"""What a result was made with: versions, machine, and the settings that change numbers."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import platform
from typing import Any

LIBRARIES = (
    "heredity",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "safetensors",
    "gymnasium",
    "gymnax",
    "brax",
    "mujoco",
)


def versions() -> dict[str, str]:
    """Versions of Python and of those libraries that are installed."""
    return dict(_versions())


@functools.cache  # every snapshot asks, and looking them up reads files
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def numerics() -> dict[str, str]:
    """What decides the bits of a result besides the code: backend, PRNG, flags, processor."""
    import jax

    config: Any = jax.config  # it has its attributes only while it runs
    return {
        "backend": jax.default_backend(),
        "machine": platform.machine(),
        "prng_implementation": str(config.jax_default_prng_impl),
        "threefry_partitionable": str(config.jax_threefry_partitionable),
        "enable_x64": str(config.jax_enable_x64),
        "matmul_precision": str(config.jax_default_matmul_precision),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "device": jax.devices()[0].device_kind,
    }


def now() -> str:
    """The time in UTC, to the second, in ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
