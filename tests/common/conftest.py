"""Writing files is tested here as it is."""

import os
from collections.abc import Callable

import pytest


@pytest.fixture(autouse=True)
def _waits_for_the_disk(_fsync: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", _fsync)
