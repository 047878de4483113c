"""The harness of the benchmarks: what it makes of numbers, and what it does when a script fails."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
NAMES = (
    "cells",
    "comparisons",
    "compete",
    "measure",
    "problems",
    "processes",
    "profile_checks",
    "run",
    "single",
    "summary",
    "dreamer_tables",
    "tables",
    "timing",
)


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch):
    """The modules of benchmarks/, which import each other by their bare names."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    yield found
    for name in NAMES:
        sys.modules.pop(name, None)


def ran(**changed: Any) -> dict[str, Any]:
    """What a script reports."""
    return {
        "library": "heredity 0",
        "versions": {},
        "differences": [],
        "steps": 1000,
        "seconds": 20.0,
        "cpu_seconds": 20.0,
        "startup_seconds": 1.0,
        "compile_seconds": 4.0,
        "steps_per_second": 300.0,
        "steps_per_cpu_second": 200.0,
        "seconds_to_return": 5.0,
        "peak_mib": 1000.0,
        "programs": 7,
        "final_return": {"mean": 450.0, "deviation": 1.0},
        **changed,
    }


def competed(harness: SimpleNamespace, name: str, peer: str, **changed: Any) -> dict[str, Any]:
    """A record of two rounds: ours as it is, the peer half as fast and a third as fast."""
    ours = [ran(), ran()]
    slow = {"library": f"{peer} 9", **changed}
    theirs = [
        ran(steps_per_second=150.0, seconds=40.0, **slow),
        ran(steps_per_second=100.0, seconds=60.0, **slow),
    ]
    compete = harness.compete
    return {
        "measured": "2026-01-02T03:04:05+00:00",
        "machine": {"processor": "P", "cores": 2, "system": "Linux", "load_before": 0.25},
        "rounds": 2,
        "failed": {},
        "contestants": {"ours": compete.summary(ours), peer: compete.summary(theirs)},
        "ours_with_kept_programs": None,
        "ratios": {peer: compete.ratios(ours, theirs)},
        "problem": {"settings": as_json(harness.problems.PROBLEMS[name].settings)},
        "runs": {"ours": ours, peer: theirs},
    }


def as_json(value: Any) -> Any:
    """As it is read back from a file."""
    return json.loads(json.dumps(value))


def test_examples_of_the_modules_hold(harness: SimpleNamespace):
    found = [doctest.testmod(module) for module in vars(harness).values()]
    assert sum(one.attempted for one in found) > 5
    assert not any(one.failed for one in found)


def test_ratios_are_taken_within_a_round_and_told_with_their_spread(harness: SimpleNamespace):
    found = competed(harness, "brax-ant", "brax", seconds_to_return=None)["ratios"]["brax"]
    assert found["steps_per_second"] == {"median": 2.5, "low": 2.0, "high": 3.0}
    assert "seconds_to_return" not in found  # the peer never reached it


def test_a_summary_is_of_medians_and_empty_where_a_round_has_nothing(harness: SimpleNamespace):
    runs = [ran(seconds=s, seconds_to_return=r) for s, r in ((1.0, 2.0), (9.0, 3.0), (2.0, None))]
    found = harness.compete.summary(runs)
    assert found["seconds"] == 2.0
    assert found["seconds_to_return"] is None
    assert found["final_returns"] == [450.0] * 3


def test_speed_is_the_steady_rate_for_jax_and_everything_for_the_host(harness: SimpleNamespace):
    record = competed(harness, "brax-ant", "brax")
    rows = harness.tables.beside_peers({"brax-ant": record}).splitlines()
    assert len(rows) == 3
    assert "| 300/s, return 450 (2 runs) | brax 9: 125/s, return 450 (2 runs) |" in rows[2]
    assert "| 2.50x its speed (2.00–3.00) |" in rows[2]
    rows = harness.summary.overview({"brax-ant": record}).splitlines()
    assert rows[2] == "| brax ant | 300/s | brax | 125/s | **2.50×** (2.00–3.00) | – |"
    record = competed(harness, "gym-cartpole", "sb3", steps=501_760)
    record["contestants"]["ours"]["steps"] = 501_760
    row = harness.tables.beside_peers({"gym-cartpole": record}).splitlines()[2]
    assert (
        "| 20 s, return 450 (2 runs) | sb3 9: 50 s, return 450 (2 runs) | 2.40x its speed "
        "(2.00–3.00) | ≥ 2.0x |" in row
    )
    row = harness.summary.overview({"gym-cartpole": record}).splitlines()[2]
    assert row.startswith("| Gymnasium CartPole, 0.5 M steps | 20 s | sb3 | 50 s | **2.40×**")


def test_what_a_row_of_the_readme_shares_with_the_one_above_is_not_said_again(
    harness: SimpleNamespace,
):
    record = competed(harness, "gymnax-cartpole", "rejax")
    other = competed(harness, "gymnax-cartpole", "purejax")
    record["contestants"] |= {"purejax": other["contestants"]["purejax"]}
    record["ratios"] |= other["ratios"]
    rows = harness.summary.overview({"gymnax-cartpole": record}).splitlines()
    assert rows[2].startswith("| gymnax CartPole | 300/s | rejax | 125/s |")
    assert rows[3].startswith("| | | purejax | 125/s |")
    assert not rows[4]


def test_the_readme_says_whether_more_was_learnt_as_far_as_the_runs_tell(
    harness: SimpleNamespace,
):
    def learnt(**changed: Any) -> str:
        record = competed(harness, "brax-ant", "brax") | changed
        return harness.summary.overview({"brax-ant": record}).splitlines()[2].split(" | ")[-1]

    assert learnt() == "– |"
    near = {"ours": [1.0, 2.0, 3.0], "brax": [1.5, 2.5, 2.0, 1.0]}
    assert learnt(over_seeds=near) == "no difference seen (3) |"
    assert learnt(over_seeds=near | {"ours": [7.0, 8.0, 9.0, 8.0]}) == "more (4) |"
    assert learnt(over_seeds=near | {"ours": [-7.0, -8.0, -9.0]}) == "less (3) |"
    # Seeds of one of them alone say nothing of the other.
    assert learnt(over_seeds={"ours": near["ours"]}) == "– |"


def test_the_readme_tells_an_aim_where_it_is_missed_alone(harness: SimpleNamespace):
    record = competed(harness, "brax-ant", "brax")
    assert "short of" not in harness.summary.overview({"brax-ant": record})
    record["ratios"]["brax"]["steps_per_second"]["median"] = 1.29
    assert "| **1.29×** (2.00–3.00), short of 1.3× |" in harness.summary.overview(
        {"brax-ant": record}
    )
    found: dict[str, Any] = {
        "predict": {
            "ours": {"microseconds": 8.0},
            "peer": {"library": "sb3 2", "microseconds": 80.0},
            "ratio": 0.1,
        },
        "snapshots": {"cost_share": 0.007, "evaluation_seconds": 1.0, "wall_seconds": 4.0},
    }
    where = {"measured": "2026-01-02T03:04:05+00:00", "machine": record["machine"]}
    found = {name: one | where for name, one in found.items()}
    text = harness.summary.overview(found)
    assert "takes 8 µs (10× as fast as sb3 2, 80 µs)." in text
    assert "0.70 % of the time; scoring each, over 10 episodes, took 25 % of it." in text
    assert text.endswith("Measured on 2 cores of P, Linux, no accelerator, 2026-01-02.\n")
    found["predict"]["ratio"], found["snapshots"]["cost_share"] = 0.5, 0.02
    text = harness.summary.overview(found)
    assert "2× as fast as sb3 2, 80 µs, short of 5×)" in text
    assert "2.00 % of the time, more than the 1 % aimed at; scoring" in text
    found["predict"] |= {"peer": None, "ratio": None}
    assert "takes 8 µs (not measured)." in harness.summary.overview(found)


def test_dreamer_stands_beside_the_official_code(harness: SimpleNamespace):
    times = {
        "update": {"ours": {"median_ms": 300.0, "dtype": "float32"}},
        "acting": {"ours": {"median_ms": 1.25, "dtype": "float32"}},
    }
    alone = {"dreamer": {"cases": {"walker-size1m": {"told": "size1m, numbers", **times}}}}
    text = harness.tables.beside_peers(alone)
    assert "| DreamerV3 size1m, numbers: a gradient step, 16 x 64 | 300 ms (float32) |" in text
    for what, ratio in (("update", 0.75), ("acting", 0.25)):
        peer = times[what]["ours"]["median_ms"] / ratio
        times[what] |= {"peer": {"median_ms": peer, "dtype": "bfloat16"}, "ratio": ratio}
    both = {"dreamer": {"cases": {"walker-size1m": {"told": "size1m, numbers", **times}}}}
    text = harness.tables.beside_peers(both)
    assert "| the official code: 400 ms (bfloat16) | 0.75x its time | ≤ 0.7x, missed |" in text
    assert "| 1.2 ms (float32) | the official code: 5.0 ms (bfloat16) | 0.25x its time | ≤" in text
    where = {"measured": "2026-01-02T03:04:05+00:00"}
    where |= {"machine": competed(harness, "brax-ant", "brax")["machine"]}
    text = harness.summary.overview({"dreamer": both["dreamer"] | where})
    slower = "(float32, 0.75× the official code's time in bfloat16, short of 0.7×)."
    assert slower in text
    assert "Acting with it takes 1.2 ms at size1m, numbers (float32, 0.25× the official" in text


def test_each_precision_is_compared_with_the_same(harness: SimpleNamespace):
    def run(dtype: str, update: float, acting: float, megabytes: int) -> dict[str, Any]:
        times = {"update": {"median_ms": update}, "acting": {"median_ms": acting}}
        return {"dtype": dtype, **times, "largest_megabytes": megabytes}

    ours = [run("float32", 300.0, 1.0, 2048), run("float32", 100.0, 3.0, 1024)]
    peer = [run("float32", 400.0, 4.0, 512), run("bfloat16", 800.0, 5.0, 256)]
    case = {"told": "size1m, numbers", "runs": {"ours": ours, "peer": peer}}
    text = harness.dreamer_tables.by_precision({"dreamer": {"cases": {"one": case}}})
    float32 = "200 ms | 400 ms | 0.50x | 2.0 ms | 4.0 ms | 2.0 GiB | 0.5 GiB |"
    assert f"| size1m, numbers | float32 | {float32}" in text
    assert "| size1m, numbers | bfloat16 | – | 800 ms | | – | 5.0 ms | – | 0.2 GiB |" in text


def test_what_was_learnt_stands_with_its_interval_or_that_runs_are_too_few(
    harness: SimpleNamespace,
):
    record = competed(harness, "brax-ant", "brax")
    text = harness.tables.returns({"brax-ant": record})
    assert "| brax 9 | 1,000 | 2 | 450 | 450, 450 | too few to tell | 1,000 |" in text
    ours, peer = record["contestants"]["ours"], record["contestants"]["brax"]
    ours |= {"final_returns": [100.0, 200.0, 400.0], "final_return": 700 / 3}
    peer |= {"final_returns": [200.0, 200.0, 300.0, 500.0], "final_return": 300.0}
    text = harness.tables.returns({"brax-ant": record})
    # scipy.stats.t.interval and scipy.stats.ttest_ind(equal_var=False) of these.
    assert "| 3 | 233 ± 379 | 100, 200, 400 | | 1,000 |" in text
    assert "| 4 | 300 ± 225 |" in text
    assert "| -67 (-374 to +241): no difference that the runs show |" in text
    peer["final_returns"] = [900.0, 901.0, 902.0]
    assert ": worse |" in harness.tables.returns({"brax-ant": record})


def test_an_aim_that_is_missed_stands_in_the_table(harness: SimpleNamespace):
    record = competed(harness, "brax-ant-wide", "brax")
    record["ratios"]["brax"]["steps_per_second"]["median"] = 1.29
    row = harness.tables.beside_peers({"brax-ant-wide": record}).splitlines()[2]
    assert "brax's own networks" in row
    assert row.endswith("| ≥ 1.3x, missed |")


def test_returns_over_seeds_stand_where_they_were_trained_with_the_same_settings(
    harness: SimpleNamespace, tmp_path: Path
):
    path, record = tmp_path / "brax-ant.json", competed(harness, "brax-ant", "brax")
    settings = record["problem"]["settings"]
    assert harness.tables.over_seeds(record, path) == {}
    same = [{"returns": [value], "settings": settings} for value in (645.0, 655.0)]
    other = [one | {"settings": settings | {"discount": 0.5}} for one in same]
    path.write_text(json.dumps({"runs": {"ours": same, "brax": other}}))
    told = harness.tables.over_seeds(record, path)
    assert told == {"ours": [645.0, 655.0]}
    record["over_seeds"] = told
    assert "| 2 | 650 | 645, 655 |" in harness.tables.returns({"brax-ant": record})
    row = harness.tables.beside_peers({"brax-ant": record}).splitlines()[2]
    assert "300/s, return 650 (645 to 655) over 2 seeds | brax 9: 125/s, return 450 (2" in row
    told["ours"] += told["ours"]
    row = harness.tables.beside_peers({"brax-ant": record}).splitlines()[2]
    assert "return 650 ± 9 over 4 seeds |" in row  # scipy.stats.t.interval


def test_who_was_not_measured_and_who_failed_stand_in_the_table(harness: SimpleNamespace):
    record = competed(harness, "brax-ant", "brax")
    record |= {"ratios": {}, "contestants": {"ours": record["contestants"]["ours"]}}
    for overview in (harness.tables.beside_peers, harness.summary.overview):
        record["failed"] = {}
        assert "| not measured |" in overview({"brax-ant": record})
        record["failed"] = {"brax": "ppo_brax.py ended with code 1\nTraceback"}
        assert re.search(r"\| brax(:| \|) failed \|", overview({"brax-ant": record}))
    assert "failed: ppo_brax.py ended with code 1 |" in harness.tables.details({"brax-ant": record})


def test_tables_are_written_between_their_marks_alone(harness: SimpleNamespace, tmp_path: Path):
    results = tmp_path / "results"
    results.mkdir()
    (tmp_path / "docs").mkdir()
    record = competed(harness, "brax-ant", "brax")
    (results / "brax-ant.json").write_text(json.dumps(record))
    readme, page = tmp_path / "README.md", tmp_path / "docs" / "performance.md"
    ant = "<!-- benchmark-ant -->\nold\n<!-- /benchmark-ant -->\n"
    readme.write_text(f"a\n<!-- benchmarks -->\nold\n<!-- /benchmarks -->\n{ant}b\n")
    names = ("details", "returns", "starts", "profile", "changes", "machine")
    marks = [f"<!-- benchmark-{name} -->\nold\n<!-- /benchmark-{name} -->\n" for name in names]
    page.write_text("".join(marks))
    harness.tables.render(results, tmp_path)
    text = readme.read_text()
    assert text.startswith("a\n<!-- benchmarks -->\n| training with PPO |")
    assert "no accelerator, 2026-01-02.\n<!-- /benchmarks -->\n" in text
    # What the README says of its first run is the number of its table.
    assert "measured 300 steps/s on 2 CPU cores" in text and "| 300/s |" in text
    assert text.endswith("and snapshots.\n<!-- /benchmark-ant -->\nb\n")
    assert "old" not in text + page.read_text()
    assert "brax-ant 0.2" in page.read_text()
    harness.tables.render(results, tmp_path)
    assert readme.read_text() == text


def test_results_and_pages_of_the_repository_fit_the_tables(harness: SimpleNamespace):
    """Everything in results/ renders, and every table has its place in a page."""
    found = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("results/*.json")}
    tables = harness.tables
    summary = harness.summary.overview(found)
    rendered = (tables.beside_peers(found), tables.details(found), tables.profiles(found), summary)
    for text in rendered:
        widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
        assert len(widths) == 1
    pages = [FOLDER.parent / "README.md", FOLDER.parent / "docs" / "performance.md"]
    text = "".join(path.read_text() for path in pages)
    for name in (
        "s",
        "-ant",
        "-details",
        "-returns",
        "-starts",
        "-profile",
        "-changes",
        "-machine",
    ):
        assert f"<!-- benchmark{name} -->" in text
        assert f"<!-- /benchmark{name} -->" in text


def profiled(**changed: Any) -> dict[str, Any]:
    """What the profile of one problem reports, in seconds."""
    parts = {"iteration": 0.2, "acting": 0.15, "environment": 0.14, "learning": 0.04}
    rest = {
        "environment_twice": 0.28,
        "dispatch": 1e-4,
        "compile_seconds": 9.0,
        "programs": 2,
        "evaluation": 1.0,
        "evaluation_steps": 1000,
    }
    shares = {name: seconds / 0.2 for name, seconds in parts.items()}
    return {"problem": "brax-ant", **parts, **rest, "shares": shares, **changed}


def test_a_profile_that_contradicts_itself_fails(
    harness: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    contradiction = harness.profile_checks.contradiction
    assert contradiction(profiled()) is None
    # Programs of their own may differ a little.
    assert contradiction(profiled(environment=0.16, environment_twice=0.32)) is None
    assert "environment 237.00 ms is longer than the rollout around it, 157.00 ms" in str(
        contradiction(profiled(iteration=0.239, acting=0.157, environment=0.237))
    )
    assert "rollout 300.00 ms is longer than the iteration" in str(
        contradiction(profiled(acting=0.3))
    )
    assert "update 300.00 ms is longer" in str(contradiction(profiled(learning=0.3)))
    assert "1.01 times as long for twice" in str(contradiction(profiled(environment_twice=0.1414)))
    assert "was not timed with twice" in str(contradiction(profiled(environment_twice=None)))
    assert contradiction(profiled(environment_twice=None, dispatch=None)) is None  # on the host

    bad = profiled(acting=0.3)
    monkeypatch.setattr(harness.single, "PROFILED", ("brax-ant",))
    monkeypatch.setattr(harness.single, "called", lambda *_: bad)
    found = harness.single.profile(1, False, 1.0, lambda line: None)
    assert list(found["failed"]) == ["brax-ant"]
    text = harness.tables.profiles({"profile": {"problems": [bad, profiled()]}})
    assert "| failed: rollout 300.00 ms" in text
    assert "| 200.00 ms | 150.00 ms (75 %) | 140.00 ms (70 %) | 40.00 ms (20 %) |" in text


def test_ways_take_turns_and_every_second_round_goes_the_other_way(
    harness: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    at, called = {"time": 0.0}, []
    monkeypatch.setattr(harness.timing.time, "perf_counter", lambda: at["time"])

    def way(name: str, seconds: float):
        def call(times: int) -> None:
            called.append(name)
            at["time"] += 1.0 + seconds * times  # a call costs something itself

        return call

    ways = {"a": way("a", 1.0), "b": way("b", 100.0)}
    found = harness.timing.seconds_in_turns(ways, 3, 50.0)
    assert called[-6:] == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [pytest.approx(1 + 1 / 48)] * 3, "b": [101.0] * 3}


def test_a_script_that_fails_or_takes_too_long_is_told_of(harness: SimpleNamespace):
    called, failed = harness.processes.called, harness.processes.Failed
    python = sys.executable
    assert called([python, "-c", "print('x'); print('{\"a\": 1}')"], 60) == {"a": 1}
    with pytest.raises(failed, match=r"ended with code 3\nwhy"):
        called([python, "-c", "import sys; print('why', file=sys.stderr); sys.exit(3)"], 60)
    with pytest.raises(failed, match="was ended after 0 s"):
        called([python, "-c", "import time; time.sleep(60)"], 0.2)
    with pytest.raises(failed, match="printed no JSON"):
        called([python, "-c", "print('x')"], 60)
    with pytest.raises(failed, match="does not start"):
        called(["/nowhere/python"], 60)


def test_a_failed_row_keeps_its_numbers_and_the_rest_goes_on(
    harness: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    run: ModuleType = harness.run
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    (tmp_path / "predict.json").write_text('{"kept": 1}')

    def measure(name: str, given: Any) -> dict[str, Any]:
        if name == "predict":
            raise run.Failed("it broke\nhere")
        return {"found": name, "failed": {"sbx": "it is not there"}}

    monkeypatch.setattr(run, "measure", measure)
    monkeypatch.setattr(run.tables, "render", lambda *_: [])
    monkeypatch.setattr(sys, "argv", ["run.py", "predict", "start"])
    with pytest.raises(SystemExit) as left:
        run.main()
    assert left.value.code == "Failed:\n  predict: it broke\n  start, sbx: it is not there"
    assert json.loads((tmp_path / "predict.json").read_text()) == {"kept": 1}
    assert json.loads((tmp_path / "start.json").read_text())["found"] == "start"


def test_peers_that_were_measured_are_never_lost_to_a_record_without(
    harness: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    run: ModuleType = harness.run
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results")
    with_peer = {
        "brax-ant": competed(harness, "brax-ant", "brax"),
        "predict": {"ours": {}, "peer": {"library": "sb3"}},
        "start": {"seconds": {"import heredity": 1.0, "import sbx": 2.0}},
    }
    alone = {
        "brax-ant": {"contestants": {"ours": {}}, "failed": {"brax": "why"}},
        "predict": {"ours": {}, "peer": None},
        "start": {"seconds": {"import heredity": 1.5}},
    }
    for name in alone:
        at = tmp_path / "results" / f"{name}.json"
        assert run.keep(name, alone[name]) == ""
        assert json.loads(at.read_text()) == alone[name]
        assert run.keep(name, with_peer[name]) == ""
        assert "has peers and stays" in run.keep(name, alone[name])
        assert json.loads(at.read_text()) == with_peer[name]
        beside = tmp_path / "results" / "alone" / f"{name}.json"
        assert json.loads(beside.read_text()) == alone[name]


def test_peers_are_those_that_are_named_or_those_of_make_peers(
    harness: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    processes = harness.processes
    monkeypatch.setattr(processes, "ROOT", tmp_path)
    monkeypatch.delenv("HEREDITY_PEERS", raising=False)
    (tmp_path / ".peers").mkdir()
    assert processes.peers_python() == ""  # broken off
    (tmp_path / ".peers" / ".installed").touch()
    assert processes.peers_python() == str(tmp_path / ".peers" / "bin" / "python")
    monkeypatch.setenv("HEREDITY_PEERS", "")
    assert processes.peers_python() == ""


def test_peers_are_pinned_and_share_the_versions_of_the_lock():
    def pins(path: Path) -> dict[str, str]:
        lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
        split = [line.partition("==") for line in lines]
        assert all(version for _, _, version in split), path
        return {name.lower(): version for name, _, version in split}

    peers, ours = pins(FOLDER / "peers.txt"), pins(FOLDER.parent / "requirements.lock")
    assert {"torch", "stable_baselines3", "sbx-rl", "rejax"} <= set(peers)
    for name in (
        "jax",
        "jaxlib",
        "flax",
        "optax",
        "numpy",
        "gymnasium",
        "gymnax",
        "brax",
        "mujoco",
    ):
        assert peers[name] == ours[name], name


def test_names_of_rows(harness: SimpleNamespace):
    wanted = harness.run.wanted
    assert wanted(["gymnax"]) == ["gymnax-cartpole", "gymnax-cartpole-32-seeds"]
    everything = wanted(list(harness.run.ORDER))
    assert set(everything) == {*harness.problems.PROBLEMS, *harness.single.SINGLE}
    assert wanted(["brax-ant-wide", "predict", "predict"]) == ["brax-ant-wide", "predict"]
    with pytest.raises(SystemExit, match="unknown row 'atari'"):
        wanted(["atari"])


def test_problems_are_whole_iterations_that_peers_can_do(harness: SimpleNamespace):
    for problem in harness.problems.PROBLEMS.values():
        for one in (problem, problem.quick()):
            assert one.chunk % one.steps_per_iteration == 0
            assert one.chunks >= 4  # two chunks may compile
        settings = problem.settings
        assert problem.steps_per_iteration % settings["num_minibatches"] == 0


def test_the_clock_stands_still_while_a_policy_is_evaluated(
    harness: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    measure, problem = harness.measure, harness.problems.PROBLEMS["gym-cartpole"]
    at = {"time": 0.0}
    monkeypatch.setattr(measure, "BEGAN", 0.0)
    monkeypatch.setattr(measure, "CPU_BEGAN", 0.0)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: at["time"])
    monkeypatch.setattr(measure.time, "process_time", lambda: 2 * at["time"])
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    clock = measure.Clock()
    at["time"] = 3.0
    clock.learning()
    for chunk in range(4):
        at["time"] += 7.0 if chunk < 2 else 2.0  # two of them compile
        clock.mark((chunk + 1) * 100)
        with clock.stopped():
            at["time"] += 1000.0
            clock.scored(200.0 * (chunk + 1), 0.0)
    clock.report(problem, "library", [], [])
    found = json.loads(capsys.readouterr().out)
    assert found["startup_seconds"] == 3.0
    assert found["seconds"] == 21.0
    assert found["steps_per_second"] == 50.0
    assert found["steps_per_cpu_second"] == 25.0
    assert found["compile_seconds"] == 21.0 - 3.0 - 400 / 50.0
    assert found["seconds_to_return"] == 19.0
    assert found["programs"] is None


@pytest.mark.slow
def test_the_parts_of_an_iteration_are_measured():
    # It calls the inner functions of the runners, which nothing else holds in place.
    command = [sys.executable, str(FOLDER / "profile_ours.py"), "gym-cartpole", "--quick"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(ended.stdout)
    assert 0 < found["environment"] < found["acting"] < found["iteration"]
    assert found["learning"] > 0 and found["evaluation_steps"] > 0
