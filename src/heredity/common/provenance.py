"""What a result was made with: versions, machine, and the settings that change numbers."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import platform
from pathlib import Path
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
    "mujoco-mjx",
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
        "processor": processor(),
        "processors": str(_usable_processors()),
        "prng_implementation": str(config.jax_default_prng_impl),
        "threefry_partitionable": str(config.jax_threefry_partitionable),
        "enable_x64": str(config.jax_enable_x64),
        "matmul_precision": str(config.jax_default_matmul_precision),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "device": jax.devices()[0].device_kind,
    }


@functools.cache
def processor() -> str:
    """The model of the processor, whose vector units decide the order of sums."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # only Linux has it
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _usable_processors() -> int:
    """How many processors this process may use: XLA divides its work among them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def now() -> str:
    """The time in UTC, to the second, in ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
