"""The rows that are no training run beside another: each of them from scripts of its own."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import vit_load as vit_load_file
from imported import BATCH, CASES
from processes import DREAMERV3, DREAMERV3_PYTHON, HERE, PEERS, called, output, script
from profile_checks import contradiction

STARTS = {
    "import heredity": (False, "import heredity as hd; hd.PPO"),
    "import heredity, for a policy that acts": (False, "import heredity as hd; hd.Policy"),
    "heredity --help": (False, "from heredity.cli.main import main; main(['--help'])"),
    "import stable_baselines3": (True, "from stable_baselines3 import PPO"),
    "import sbx": (True, "from sbx import PPO"),
    "import rejax": (True, "import rejax"),
    "import brax.training.agents.ppo.train": (
        True,
        "from brax import envs; from brax.training.agents.ppo import train",
    ),
    "import jax": (False, "import jax"),
}
PROFILED = ("brax-ant", "gymnax-cartpole", "gym-cartpole", "gym-halfcheetah")
DREAMS = (
    ("walker", "size1m"),
    ("crafter", "size1m"),
    ("walker", "size12m"),
    ("crafter", "size12m"),
)
TOLD_OF_DREAMS = {"walker": "24 numbers seen", "crafter": "64 x 64 pictures"}
LIMIT = 240.0  # seconds of one script on a machine with nothing else to do
Say = Callable[[str], None]


def predict(rounds: int, quick: bool, patience: float, say: Say) -> dict[str, Any]:
    """One observation through `predict`, beside Stable-Baselines3, in turn."""
    del quick
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(called(script("predict_ours.py"), LIMIT * patience))
        if PEERS:
            theirs.append(called(script("predict_sb3.py"), LIMIT * patience))
    ours.sort(key=lambda run: run["microseconds"])
    theirs.sort(key=lambda run: run["microseconds"])
    middle = rounds // 2
    found: dict[str, Any] = {"ours": ours[middle], "peer": theirs[middle] if theirs else None}
    if theirs:
        found["ratio"] = ours[middle]["microseconds"] / theirs[middle]["microseconds"]
    say(", ".join(f"{one['library']}: {one['microseconds']:.1f} µs" for one in (*ours, *theirs)))
    return found


def imported(rounds: int, quick: bool, patience: float, say: Say) -> dict[str, Any]:
    """Policies of Stable-Baselines3, imported, beside the originals, in turn.

    Of ours the default, which is one thread for one observation; of theirs the better of one
    thread and two, case by case.
    """
    del quick
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "1": [], "2": []}
    for _ in range(rounds):
        runs["ours"].append(called(script("predict_imported.py"), LIMIT * patience))
        for threads in ("1", "2") if PEERS else ():
            command = script("predict_sb3_imported.py", threads)
            runs[threads].append(called(command, LIMIT * patience))
    found: dict[str, Any] = {
        "batch": BATCH,
        "libraries": {who: made[0]["library"] for who, made in runs.items() if made},
        "cases": {},
    }
    for name, (told, _) in CASES.items():
        case: dict[str, Any] = {"told": told}
        for what in ("one", "batch"):
            times = {
                who: statistics.median(run["microseconds"][name][what] for run in made)
                for who, made in runs.items()
                if made
            }
            case[what] = {"ours": times.pop("ours"), "peer": None}
            if times:
                threads = min(times, key=lambda who: times[who])
                case[what] |= {"peer": times[threads], "peer_threads": int(threads)}
                case[what]["ratio"] = case[what]["ours"] / case[what]["peer"]
            say(f"{told}, {what}: {case[what]}")
        found["cases"][name] = case
    return found


def start(rounds: int, quick: bool, patience: float, say: Say) -> dict[str, Any]:
    """How long it takes until there is something to work with, in turn."""
    seconds: dict[str, list[float]] = {}
    # The first time files come from the disk.
    for number in range(rounds if quick else rounds + 1):
        for name, (of_peers, code) in STARTS.items():
            if of_peers and not PEERS:
                continue
            began = time.perf_counter()
            output([PEERS if of_peers else sys.executable, "-c", code], LIMIT * patience)
            if quick or number > 0:
                seconds.setdefault(name, []).append(time.perf_counter() - began)
    found = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, taken in found.items():
        say(f"{name}: {taken:.2f} s")
    return {"seconds": found}


def snapshots(rounds: int, quick: bool, patience: float, say: Say) -> dict[str, Any]:
    """What a snapshot every 1 % of the steps costs a run of brax/ant."""
    del rounds
    found = called(script("snapshot_cost.py", *(["2"] if quick else [])), LIMIT * patience)
    say(f"{found['cost_share'] * 100:.2f} % of the time")
    return found


def replay(rounds: int, quick: bool, patience: float, say: Say) -> dict[str, Any]:
    """What a replay of a million pictures takes of the memory that it is given."""
    del rounds
    sizes = ["2e4", "0.2"] if quick else []
    found = called(script("replay_memory.py", *sizes), 4 * LIMIT * patience)
    say(f"{found['most_gibibytes']:.2f} GiB of {found['budget_gibibytes']:g}")
    return found


def seeds(rounds: int, quick: bool, patience: float, say: Say) -> dict[str, Any]:
    """Eight seeds in one program beside eight runs one after another."""
    del rounds
    found = called(script("seeds.py", *(["8", "2", "1"] if quick else [])), LIMIT * patience)
    say(f"{found['speed_up']:.2f} times as fast as one after another")
    return found


def profile(rounds: int, quick: bool, patience: float, say: Say) -> dict[str, Any]:
    """Where the time of an iteration of ours goes; failed where the parts contradict each other."""
    del rounds
    found, failed = [], {}
    for name in PROFILED[1:3] if quick else PROFILED:
        command = script("profile_ours.py", name, *(["--quick"] if quick else []))
        found.append(called(command, LIMIT * patience))
        say(f"{name}: {found[-1]['iteration'] * 1e3:.2f} ms an iteration")
        # Two short turns prove nothing.
        if not quick and (why := contradiction(found[-1])) is not None:
            failed[name] = why
            say(f"{name} FAILED: {why}")
    return {"problems": found, "failed": failed}


def changes(rounds: int, quick: bool, patience: float, say: Say) -> dict[str, Any]:
    """What each change for the sake of speed gives."""
    del rounds
    found = called(script("changes.py", *(["--quick"] if quick else [])), LIMIT * patience)
    for one in found["changes"]:
        say(f"{one['change']} ({one['problem']}): {one['ratio']:.2f} times as fast")
    return found


def vit_load(rounds: int, quick: bool, patience: float, say: Say) -> dict[str, Any]:
    """A ViT-B's file into weights that are there, beside torch's `load_state_dict`, in turn."""
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        vit_load_file.write(Path(folder), depth=1 if quick else vit_load_file.DEPTH)
        size = (Path(folder) / "model.safetensors").stat().st_size
        for _ in range(rounds):
            ours.append(called(script("vit_load_ours.py", folder), LIMIT * patience))
            if PEERS:
                theirs.append(called(script("vit_load_torch.py", folder), LIMIT * patience))
    for one in (*ours, *theirs):
        say(f"{one['library']}: {one['seconds']:.2f} s, {one['megabytes']:.0f} MiB")
    ours.sort(key=lambda run: run["seconds"])
    theirs.sort(key=lambda run: run["seconds"])
    middle = rounds // 2
    found: dict[str, Any] = {"file_megabytes": size / 2**20, "ours": ours[middle], "peer": None}
    if theirs:
        found["peer"] = theirs[middle]
        found["ratio"] = ours[middle]["seconds"] / theirs[middle]["seconds"]
    return found


def features(rounds: int, quick: bool, patience: float, say: Say) -> dict[str, Any]:
    """Iterations with a frozen encoder whose features are kept, and computed again."""
    del rounds
    found = called(script("cached_features.py", *(["--quick"] if quick else [])), LIMIT * patience)
    say(f"{found['speed_up']:.2f} times as fast with features that are kept")
    return found


def dreamer(rounds: int, quick: bool, patience: float, say: Say) -> dict[str, Any]:
    """DreamerV3's update at batch 16 x 64, and acting, beside the official code, in turn.

    Once in float32 and once in bfloat16, and then in what was faster for updating, for each side.
    The official code has its memory as it comes: kept in the process, as ours is, its updates took
    a quarter longer and its acting twice as long.
    """
    sides = ["ours", *(["peer"] if DREAMERV3 and DREAMERV3_PYTHON else [])]
    cases: dict[str, Any] = {}
    for problem, preset in DREAMS[:1] if quick else DREAMS:
        runs: dict[str, list[dict[str, Any]]] = {who: [] for who in sides}
        for dtype in ("float32", "bfloat16", *["faster"] * (rounds - 1)):
            for who in sides:
                given = _fastest(runs[who], "update")["dtype"] if dtype == "faster" else dtype
                runs[who].append(_dreamt(who, problem, preset, given, quick, patience))
        case: dict[str, Any] = {"told": f"{preset}, {TOLD_OF_DREAMS[problem]}"}
        for what in ("update", "acting"):
            best = {who: _fastest(runs[who], what) for who in sides}
            case[what] = {who: {**run[what], "dtype": run["dtype"]} for who, run in best.items()}
            if "peer" in best:
                case[what]["ratio"] = _middle(best["ours"], what) / _middle(best["peer"], what)
        say(f"{problem} {preset}: {case}")
        cases[f"{problem}-{preset}"] = {**case, "runs": runs}
    return {"cases": cases}


def _fastest(runs: list[dict[str, Any]], what: str) -> dict[str, Any]:
    return min(runs, key=lambda run: _middle(run, what))


def _middle(run: dict[str, Any], what: str) -> float:
    return float(run[what]["median_ms"])


def _dreamt(
    who: str, problem: str, preset: str, dtype: str, quick: bool, patience: float
) -> dict[str, Any]:
    words = (problem, preset, "--dtype", dtype, "--seconds", "1" if quick else "20")
    limit = 2 * LIMIT * patience
    if who == "ours":
        return called(script("dreamer_ours.py", *words), limit)
    place = {"PYTHONPATH": f"{DREAMERV3}:{HERE / 'conformance'}"}
    return called([DREAMERV3_PYTHON, *script("dreamer_official.py", *words)[1:]], limit, place)


SINGLE = {
    "predict": predict,
    "imported": imported,
    "start": start,
    "seeds": seeds,
    "snapshots": snapshots,
    "replay": replay,
    "profile": profile,
    "changes": changes,
    "vit-load": vit_load,
    "features": features,
    "dreamer": dreamer,
}
