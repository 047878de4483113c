"""What every test stands on: JAX on the CPU, threads shared fairly, our own code held strictly."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator

# Before jax is imported, and inherited by every process that a test starts. The kill tests and the
# comparisons with other libraries hold on a CPU; a device may sum in another order.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("WANDB_MODE", "offline")
# Commands that a test starts keep compiled programs for each other, and not in the person's home.
if "HEREDITY_COMPILATION_CACHE" not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="heredity-compiled-")
    os.environ["HEREDITY_COMPILATION_CACHE"] = _compiled.name
# Several workers on few cores would each start a thread per core, and wait for one another.
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _workers > 1:
    _threads = str(max(1, (os.cpu_count() or 1) // _workers))
    for _name in ("PJRT_NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(_name, _threads)

import hypothesis
import jax
import pytest

# Compiling takes seconds the first time, and a failure must come back the same on the next run.
hypothesis.settings.register_profile("heredity", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("heredity")

_STOP_SIGNALS = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


@pytest.fixture(autouse=True)
def _signals_of_nobody() -> None:
    """A command that ran in this process, as no person runs two, has left its handlers behind."""
    for number, handler in _STOP_SIGNALS.items():
        signal.signal(number, handler)


@pytest.fixture
def key() -> jax.Array:
    """A random key, the same one in every test."""
    return jax.random.key(0)


@pytest.fixture
def strict_numerics() -> Iterator[None]:
    """No silent conversions: mixing dtypes or ranks raises while the test runs.

    For our own pure functions. Other people's environments and optimisers do both freely.
    """
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
