"""What is recorded of transferred policies supports what docs/transfer.md says of them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/transfer.py; it trains nothing before somebody calls its `main`."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("source", "transfer"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("transfer")


def test_the_page_and_the_pictures_are_of_what_is_recorded(module: ModuleType):
    known = module.recorded()
    assert set(known) == {change.name for change in module.CHANGES}
    assert module.table(known) in module.PAGE.read_text("utf-8"), "run it with --pictures"
    for name, found in known.items():
        picture = (module.PICTURES / f"transfer-{name}.svg").read_text("utf-8")
        assert picture == module.drawn(found)
        lines = ElementTree.fromstring(picture).findall("{http://www.w3.org/2000/svg}polyline")
        assert len(lines) == 2 * len(found["runs"])


def test_going_on_recovers_faster_than_fresh_weights(module: ModuleType):
    for found in module.recorded().values():
        assert [run["seed"] for run in found["runs"]] == list(range(5))
        # Seed for seed, on all of the way and on half of it: five of five are 1 in 32 by chance.
        for run in found["runs"]:
            ahead, behind = run["transferred"], run["fresh"]
            assert module.area(ahead) > module.area(behind)
            half = len(ahead) // 2
            assert module.area(ahead[:half]) > module.area(behind[:half])
