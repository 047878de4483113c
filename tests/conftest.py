"""What every test stands on: JAX on the CPU, threads shared fairly, our own code held strictly."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

# Before jax is imported, and inherited by every process that a test starts. The kill tests and the
# comparisons with other libraries hold on a CPU; a device may sum in another order.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("WANDB_MODE", "offline")
# Most of the time of the tests goes into compiling programs that run once: they are compiled as
# fast as can be, and run as they come. What learns asks for `well_compiled`.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
# Of the rest: its older way to write loops takes a third less time than the one by default.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false"
)
# Many compile the same programs. Each worker keeps them in a folder of its own, because JAX writes
# entries in place, and nobody may read half of one; `_programs_of_all` shares what is whole.
_compiled = Path(tempfile.mkdtemp(prefix="heredity-tests-compiled-"))
atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
_shared = Path(os.environ.setdefault("HEREDITY_TESTS_COMPILED", str(_compiled)))
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_compiled)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
# Caches of GPUs would put the name of the folder into the key of every program.
os.environ["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"
# Several workers on few cores would each start a thread per core, and wait for one another.
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _workers > 1:
    _threads = str(max(1, (os.cpu_count() or 1) // _workers))
    for _name in ("PJRT_NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(_name, _threads)

import hypothesis
import jax
import pytest

# For the tests of several devices; all others use the first one.
jax.config.update("jax_num_cpu_devices", 2)

# What is imported stays; the collector of garbage need not look at it again and again.
gc.collect()
gc.freeze()
gc.set_threshold(20_000, 10, 10)

# Compiling takes seconds the first time, and a failure must come back the same on the next run.
hypothesis.settings.register_profile("heredity", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("heredity")


@pytest.fixture(autouse=True, scope="session")
def _fsync() -> Iterator[Callable[[int], None]]:
    """Nobody pulls the plug: a test does not wait until what it wrote is on the disk.

    Gives what does wait, for `tests/common`, where writing itself is tested. Processes that a test
    starts wait as well.
    """
    real, patch = os.fsync, pytest.MonkeyPatch()
    patch.setattr(os, "fsync", lambda descriptor: None)
    yield real
    patch.undo()


@pytest.fixture(autouse=True, scope="module")
def _programs_of_all() -> None:
    """What this worker has compiled becomes everybody's, and the other way round.

    Between modules nobody writes to the worker's own folder, so that entries are whole.
    """
    if _shared == _compiled or not _shared.is_dir():
        return
    mine, all = ({entry.name for entry in os.scandir(place)} for place in (_compiled, _shared))
    for name in mine - all:
        # The other worker may have made the same program meanwhile.
        with contextlib.suppress(FileExistsError):
            os.link(_compiled / name, _shared / name)
    for name in all - mine:
        os.link(_shared / name, _compiled / name)


@pytest.fixture(scope="module")
def well_compiled() -> Iterator[None]:
    """For modules that learn: their programs run for longer than they take to compile."""
    jax.config.update("jax_disable_most_optimizations", False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
        yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True)
def _signals_as_in_a_terminal() -> None:
    """Whatever commands before have left behind, or a shell in the background has ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


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
