"""Recorded returns: seeds are kept as they finish, what is missing is known, tables follow."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.algorithms.dreamer.presets import preset_config as dreamer_preset_config
from heredity.algorithms.dreamer.presets import presets as dreamer_presets
from heredity.algorithms.ppo import PPOConfig
from heredity.algorithms.ppo.presets import preset_config, presets

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
NAMES = (
    "cells", "comparisons", "problems", "processes", "return_problems", "source", "returns_tables",
    "returns",
)  # fmt: skip


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
        "settings": {"rate": 1.0},
        "steps": 1024,
        "seconds": 20.0,
        "cpu_seconds": 10.0,
        "returns": list(returns),
        "curve": [[512, returns[0] / 2], [1024, returns[0]]],
    }
    return told | changed


def test_examples_of_the_tables_hold(harness: SimpleNamespace):
    found = doctest.testmod(harness.returns_tables)
    assert found.attempted > 2 and not found.failed


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


def test_again_is_what_other_code_trained(
    harness: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    returns = harness.returns
    now = {"commit": "b" * 40, "clean": True, "package": "2" * 40}
    hopper = harness.return_problems.RETURN_PROBLEMS["gym-hopper"]
    sources = [
        None,  # before commits were recorded
        {"commit": "a" * 40, "clean": True, "package": "1" * 40},
        {"commit": "a" * 40, "clean": True, "package": "2" * 40},  # another commit, same package
        {"commit": "b" * 40, "clean": False, "package": "2" * 40},
    ]
    seeds = [
        ran(seed, 1.0, **({} if code is None else {"source": code}))
        for seed, code in enumerate(sources)
    ]
    returns.record(hopper, "ours", seeds)
    assert returns.missing([hopper], ["ours"], 4) == []
    left = returns.missing([hopper], ["ours"], 4, now)
    assert [seed for _, _, seed in left] == [0, 1, 3]
    assert returns.missing([hopper], ["ours"], 4, now | {"clean": False}) != []
    returns.record(hopper, "ours", [ran(1, 9.0, source=now)], again=True)
    kept = returns.recorded(hopper)["runs"]["ours"]
    assert [run["returns"][0] for run in kept] == [1.0, 9.0, 1.0, 1.0]
    told = harness.returns_tables.trained_by(kept)
    assert told == "— (1), bbbbbbb (1), aaaaaaa (1), bbbbbbb with changes (1)"

    trained = []
    monkeypatch.setattr(returns, "source", lambda: now)
    monkeypatch.setattr(returns, "train", lambda *given, again=False: trained.append(given[1:]))
    monkeypatch.setattr(returns.returns_tables, "render", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["returns.py", "gym-hopper", "--again", "--seeds", "4"])
    monkeypatch.setattr(returns, "PEERS", "")
    returns.main()
    assert trained == [("ours", 0), ("ours", 3)]


def test_the_commit_is_that_of_the_code_and_results_do_not_count(
    harness: SimpleNamespace, tmp_path: Path
):
    source = harness.source.source
    assert source(tmp_path) == {"commit": None, "clean": False, "package": None}

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    code, results = tmp_path / "src" / "heredity", tmp_path / "benchmarks" / "results"
    for folder in (code, results):
        folder.mkdir(parents=True)
    (code / "a.py").write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    found = source(tmp_path)
    assert (found["commit"], found["clean"]) == (git("rev-parse", "HEAD"), True)
    (results / "more.json").write_text("{}")
    assert source(tmp_path) == found
    (code / "a.py").write_text("2")
    assert source(tmp_path) == {**found, "clean": False}
    (code / "a.py").write_text("1")
    git("commit", "-q", "--allow-empty", "-m", "two")
    later = source(tmp_path)
    assert later["commit"] != found["commit"]
    assert later["package"] == found["package"]


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
    uncommitted = {"commit": "a", "clean": False, "package": "b"}
    monkeypatch.setattr(harness.returns, "source", lambda: uncommitted)
    problem = harness.return_problems.RETURN_PROBLEMS["gym-hopper"]
    monkeypatch.setattr(type(problem), "scripts", {"ours": "fake.py"})
    harness.returns.train(problem, "ours", 3)
    (kept,) = harness.returns.recorded(problem)["runs"]["ours"]
    assert kept["returns"] == [1.0, 2.0]
    assert {"machine", "when"} <= set(kept)
    assert kept["source"] == uncommitted
    assert kept["settings_hash"] == harness.source.settings_hash({"rate": 1.0})


def test_a_seed_that_was_stopped_is_kept_by_its_code_and_goes_when_it_is_finished(
    harness: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    told = json.dumps([ran(3, 1.0, 2.0)])
    (tmp_path / "fake.py").write_text(
        "import pathlib, sys\n"
        "kept = pathlib.Path(sys.argv[sys.argv.index('--directory') + 1])\n"
        "stopped = not kept.exists()\n"
        "kept.mkdir(parents=True, exist_ok=True)\n"
        "kept.with_suffix('.json').write_text('{}')\n"
        f"sys.exit('stopped') if stopped else print({told!r})"
    )
    monkeypatch.setattr(harness.returns, "HERE", tmp_path)
    committed = {"commit": "a", "clean": True, "package": "b" * 40}
    monkeypatch.setattr(harness.returns, "source", lambda: committed)
    problem = harness.return_problems.RETURN_PROBLEMS["gym-hopper"]
    monkeypatch.setattr(type(problem), "scripts", {"ours": "fake.py"})
    with pytest.raises(subprocess.CalledProcessError):
        harness.returns.train(problem, "ours", 3)
    unfinished = harness.returns.RESULTS / "unfinished"
    names = {path.name for path in unfinished.iterdir()}
    assert names == {"gym-hopper-3-bbbbbbbbbbbb", "gym-hopper-3-bbbbbbbbbbbb.json"}
    assert not harness.returns.recorded(problem)["runs"]
    harness.returns.train(problem, "ours", 3)
    (kept,) = harness.returns.recorded(problem)["runs"]["ours"]
    assert kept["source"] == committed
    assert not list(unfinished.iterdir())


def test_a_run_that_goes_on_has_the_whole_curve_and_counts_all_its_seconds(tmp_path: Path):
    kept = tmp_path / "run"
    arguments = ["gym-hopper", "--steps", "20000", "--directory", kept]
    command = [sys.executable, FOLDER / "returns_ours.py", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as stopped:
        assert stopped.stderr is not None
        for line in stopped.stderr:
            told = re.match(r"gym-hopper: ([\d,]+) of 20,000 steps", line)
            if told and int(told[1].replace(",", "")) >= 8_000:
                stopped.send_signal(signal.SIGINT)
                break
        stopped.stderr.read()
    assert stopped.returncode != 0
    before = json.loads(kept.with_suffix(".json").read_text())
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    (found,) = json.loads(done.stdout)
    steps = [step for step, _ in found["curve"]]
    assert steps == list(range(2_048, 20_481, 2_048))
    assert found["curve"][:3] == before["curve"][:3]
    assert found["cpu_seconds"] > before["cpu_seconds"] > 0


def test_the_page_is_rendered_from_what_is_recorded(harness: SimpleNamespace, tmp_path: Path):
    returns = harness.returns
    problem = harness.return_problems.RETURN_PROBLEMS["gym-hopper"]
    ours = [ran(seed, value) for seed, value in enumerate((3000.0, 3100.0, 3200.0))]
    peer = [ran(seed, value, library="sb3 2") for seed, value in enumerate((2000.0, 2100.0))]
    returns.record(problem, "ours", ours)
    returns.record(problem, "sb3", peer)
    walker = harness.return_problems.RETURN_PROBLEMS["gym-walker2d"]
    returns.record(walker, "ours", [])  # seeds were taken out, to be trained anew
    page = tmp_path / "returns.md"
    page.write_text("before\n<!-- returns -->\nold\n<!-- /returns -->\nafter\n")
    harness.returns_tables.render(returns.RESULTS, page)
    text = page.read_text()
    assert "old" not in text and "Walker2d" not in text
    assert text.startswith("before\n") and text.endswith("after\n")
    row = (
        "| heredity 0, 1,024 steps | 3,100 (3,000 to 3,200) | 3 | 3,000, 3,100, 3,200 | 10 s | — |"
    )
    assert row in text
    assert text.count("— under *trained by*: before commits were recorded.") == 1
    assert "95 % interval" not in text  # the peer has two seeds
    picture = ElementTree.parse(tmp_path / "pictures" / "returns-gym-hopper.svg")
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}polyline"))) == 5


def test_an_interval_stands_where_there_are_seeds_enough(harness: SimpleNamespace, tmp_path: Path):
    returns = harness.returns
    problem = harness.return_problems.RETURN_PROBLEMS["gym-hopper"]
    code = {"commit": "a" * 40, "clean": True, "package": "1" * 40}
    ours = [ran(seed, 3000.0 + 100 * seed, source=code) for seed in range(4)]
    peer = [ran(seed, 2000.0 + 100 * seed, library="sb3 2") for seed in range(4)]
    returns.record(problem, "ours", ours)
    returns.record(problem, "sb3", peer)
    page = tmp_path / "returns.md"
    page.write_text("<!-- returns -->\n<!-- /returns -->\n")
    harness.returns_tables.render(returns.RESULTS, page)
    text = page.read_text()
    # scipy.stats.t.interval and scipy.stats.ttest_ind(equal_var=False) of these.
    assert "| 3,150 ± 205 | 4 | 3,000, 3,100, 3,200, 3,300 | 10 s | aaaaaaa |" in text
    assert "heredity less the peer: +1,000, 95 % interval +777 to +1,223: better." in text
    assert "stand beside the mean" not in text and "trained by*:" not in text


def test_the_difference_of_two_means_is_welchs(harness: SimpleNamespace):
    # Reference: scipy.stats.ttest_ind([1, 2, 4], [2, 2, 3, 5], equal_var=False), 95 % interval.
    difference, low, high = harness.comparisons.welch([1.0, 2.0, 4.0], [2.0, 2.0, 3.0, 5.0])
    assert difference == pytest.approx(-2 / 3)
    assert (low, high) == pytest.approx((-3.73842, 2.40509), abs=1e-4)
    words = harness.returns_tables.verdict({"ours": [ran(0, 1.0), ran(1, 2.0)], "sb3": []})
    assert words == ""


def test_what_is_recorded_is_what_the_preset_trains(harness: SimpleNamespace):
    for problem in harness.return_problems.RETURN_PROBLEMS.values():
        if not problem.settings:
            known = {"PPO": presets, "Dreamer": dreamer_presets}[problem.algorithm]()
            assert known[problem.environment].total_timesteps == problem.steps, problem.name


def test_what_is_recorded_was_trained_with_the_settings_as_they_are(harness: SimpleNamespace):
    # Whoever changes a preset takes its old seeds out, or tables would mix both. A setting that
    # did not exist yet had the value that is now its default.
    for path in sorted((FOLDER / "results" / "returns").glob("*.json")):
        known = json.loads(path.read_text())
        problem = harness.return_problems.RETURN_PROBLEMS[path.stem]
        if problem.settings:
            config = PPOConfig(**problem.settings)
            theirs = known["runs"].get("brax", [])
        else:
            of_preset = {"PPO": preset_config, "Dreamer": dreamer_preset_config}
            preset = of_preset[problem.algorithm]("auto", known["environment"])
            config = dataclasses.replace(preset, **problem.changed)
            theirs = []
        for run in [*known["runs"].get("ours", []), *theirs]:
            ran = type(config)(**run["settings"])
            assert as_json(ran) == as_json(config), path.name


def as_json(config: PPOConfig | DreamerConfig) -> str:
    """Settings without the difference between a list and a tuple."""
    return json.dumps(dataclasses.asdict(config))


def test_a_run_of_the_benchmark_of_speed_is_a_seed(
    harness: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    run = ran(3, 7.0) | {"versions": {}, "final_return": {"mean": 7.0, "deviation": 1.0}}
    run |= {"curve": [[512, 1.5, 3.0], [1024, 2.5, 7.0]]}
    (tmp_path / "ppo_ours.py").write_text(f"print({json.dumps(run)!r})")
    monkeypatch.setattr(harness.returns, "HERE", tmp_path)
    ant = harness.return_problems.RETURN_PROBLEMS["brax-ant"]
    assert [who for _, who, _ in harness.returns.missing([ant], ("ours", "sb3", "brax"), 1)] == [
        "ours",
        "brax",
    ]
    harness.returns.train(ant, "ours", 3)
    (kept,) = harness.returns.recorded(ant)["runs"]["ours"]
    assert (kept["seed"], kept["returns"]) == (3, [7.0])
    assert kept["curve"] == [[512, 3.0], [1024, 7.0]]
    assert kept["settings"] == json.loads(json.dumps(ant.settings))
