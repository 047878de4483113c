"""Recorded returns: seeds are kept as they finish, what is missing is known, tables follow."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from heredity.algorithms.ppo.presets import preset_config, presets

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
NAMES = ("return_problems", "returns_tables", "returns")


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The modules of benchmarks/, which import each other by their bare names."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    monkeypatch.setattr(found.returns, "RESULTS", tmp_path / "returns")
    yield found
    for name in NAMES:
        sys.modules.pop(name, None)


def ran(seed: int, *returns: float, library: str = "heredity 0", **changed: Any) -> dict[str, Any]:
    """What a script reports of one seed."""
    told = {
        "seed": seed,
        "library": library,
        "steps": 1024,
        "seconds": 20.0,
        "cpu_seconds": 10.0,
        "returns": list(returns),
        "curve": [[512, returns[0] / 2], [1024, returns[0]]],
    }
    return told | changed


def test_what_is_recorded_is_not_trained_again_and_not_replaced(harness: SimpleNamespace):
    returns = harness.returns
    hopper = harness.return_problems.RETURN_PROBLEMS["gym-hopper"]
    everyone = ("ours", "sb3")
    assert [(who, seed) for _, who, seed in returns.missing([hopper], everyone, 2)] == [
        ("ours", 0),
        ("sb3", 0),
        ("ours", 1),
        ("sb3", 1),
    ]
    returns.record(hopper, "sb3", [ran(1, 5.0)])
    returns.record(hopper, "sb3", [ran(0, 4.0), ran(1, 9.0)])
    kept = returns.recorded(hopper)["runs"]["sb3"]
    assert [(run["seed"], run["returns"]) for run in kept] == [(0, [4.0]), (1, [5.0])]
    lines = (returns.RESULTS / "gym-hopper.json").read_text().splitlines()
    assert sum('"seed"' in line for line in lines) == 2
    assert [(who, seed) for _, who, seed in returns.missing([hopper], everyone, 2)] == [
        ("ours", 0),
        ("ours", 1),
    ]


def test_seeds_that_are_trained_together_are_begun_once(harness: SimpleNamespace):
    problem = harness.return_problems.RETURN_PROBLEMS["playground-cartpole"]
    left = harness.returns.missing([problem], ("ours", "sb3"), 10)
    assert [(who, seed) for _, who, seed in left] == [("ours", 0), ("ours", 5)]


def test_a_seed_is_trained_in_a_process_and_kept_with_its_machine(
    harness: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    told = json.dumps([ran(3, 1.0, 2.0)])
    (tmp_path / "fake.py").write_text(
        f"import sys; print('noise'); assert '3' in sys.argv\nprint({told!r})"
    )
    monkeypatch.setattr(harness.returns, "HERE", tmp_path)
    monkeypatch.setattr(harness.returns, "SCRIPTS", {"ours": "fake.py"})
    problem = harness.return_problems.RETURN_PROBLEMS["gym-hopper"]
    harness.returns.train(problem, "ours", 3)
    (kept,) = harness.returns.recorded(problem)["runs"]["ours"]
    assert kept["returns"] == [1.0, 2.0]
    assert {"machine", "when"} <= set(kept)


def test_the_page_is_rendered_from_what_is_recorded(harness: SimpleNamespace, tmp_path: Path):
    returns = harness.returns
    problem = harness.return_problems.RETURN_PROBLEMS["gym-hopper"]
    ours = [ran(seed, value) for seed, value in enumerate((3000.0, 3100.0, 3200.0))]
    peer = [ran(seed, value, library="sb3 2") for seed, value in enumerate((2000.0, 2100.0))]
    returns.record(problem, "ours", ours)
    returns.record(problem, "sb3", peer)
    page = tmp_path / "returns.md"
    page.write_text("before\n<!-- returns -->\nold\n<!-- /returns -->\nafter\n")
    harness.returns_tables.render(returns.RESULTS, page)
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before\n") and text.endswith("after\n")
    assert "| heredity 0, 1,024 steps | 3,100 ± 248 | 3 | 3,000, 3,100, 3,200 | 10 s |" in text
    assert "+1,050" in text and ": better." in text
    picture = ElementTree.parse(tmp_path / "pictures" / "returns-gym-hopper.svg")
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}polyline"))) == 5


def test_the_difference_of_two_means_is_welchs(harness: SimpleNamespace):
    # Reference: scipy.stats.ttest_ind([1, 2, 4], [2, 2, 3, 5], equal_var=False), 95 % interval.
    difference, low, high = harness.returns_tables.welch([1.0, 2.0, 4.0], [2.0, 2.0, 3.0, 5.0])
    assert difference == pytest.approx(-2 / 3)
    assert (low, high) == pytest.approx((-3.73842, 2.40509), abs=1e-4)
    words = harness.returns_tables.verdict({"ours": [ran(0, 1.0), ran(1, 2.0)], "sb3": []})
    assert words == ""


def test_what_is_recorded_is_what_the_preset_trains(harness: SimpleNamespace):
    for problem in harness.return_problems.RETURN_PROBLEMS.values():
        assert presets()[problem.environment].total_timesteps == problem.steps, problem.name


def test_what_is_recorded_was_trained_with_the_preset_as_it_is():
    # Whoever changes a preset takes its old seeds out, or tables would mix both.
    for path in sorted((FOLDER / "results" / "returns").glob("*.json")):
        known = json.loads(path.read_text())
        config = dataclasses.asdict(preset_config("auto", known["environment"]))
        for run in known["runs"].get("ours", []):
            assert run["settings"] == json.loads(json.dumps(config)), path.name
