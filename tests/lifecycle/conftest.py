"""Programs that are compiled once and found again: each cell trains, and resumes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

# The helpers beside this file are found however pytest imports the tests.
sys.path.insert(0, str(Path(__file__).parent))

SETTINGS = {"jax_compilation_cache_dir": None, "jax_persistent_cache_min_compile_time_secs": 0}


@pytest.fixture(scope="module", autouse=True)
def _kept_programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    folder = str(tmp_path_factory.mktemp("compiled"))
    for name, value in {**SETTINGS, "jax_compilation_cache_dir": folder}.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
