"""The replay of the host: rings of different pace, new pieces once, and back from a file."""

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from heredity.algorithms.dreamer import host_replay
from heredity.algorithms.dreamer.host_replay import HostReplay
from heredity.algorithms.dreamer.mixture import UNIFORM, Mixture
from heredity.algorithms.dreamer.replay import Place, Record
from heredity.algorithms.dreamer.segments import layout_of
from heredity.common.errors import MismatchError, UsageError

ENVIRONMENTS = 2
PLENTY = 1e9


def record(number: int, environments: int = ENVIRONMENTS) -> Record:
    """A step whose reward is its number, in hundreds of the environment."""
    reward = number + 100.0 * np.arange(environments, dtype=np.float32)
    none = np.zeros(environments, bool)
    return Record(
        observation={"seen": reward[:, None].astype(np.uint8)},
        action=reward.astype(np.int32),
        reward=reward,
        is_first=none,
        is_last=none,
        is_terminal=none,
        deter=np.zeros((environments, 3), np.uint16),
        stoch=np.zeros((environments, 2), np.uint8),
    )


def filled(
    steps: int,
    rows: int = 12,
    memory: float = PLENTY,
    folder: Path | None = None,
    mixture: Mixture = UNIFORM,
) -> HostReplay:
    replay = HostReplay(record(0), rows, memory, folder, mixture)
    for number in range(steps):
        replay.add(record(number))
    return replay


def drawn(replay: HostReplay, seed: int, count: int = 4, length: int = 3) -> np.ndarray:
    """Rewards ``(L, B)``."""
    place = replay.draw(np.random.default_rng(seed), count, length)
    return replay.read(place).reward


def test_what_is_read_is_one_piece_of_one_environment():
    replay, seen = filled(40), set()
    for seed in range(30):
        rewards = drawn(replay, seed)
        assert (np.diff(rewards, axis=0) == 1).all()
        seen |= set(rewards[0].astype(int).tolist())
    assert seen == {100 * e + start for e in (0, 1) for start in range(26, 38)}


def test_every_sequence_is_as_likely_as_others_whatever_the_pace():
    replay = filled(4, rows=100)
    for number in range(4, 8):
        replay.add(record(number), np.array([True, False]))
    assert replay.starts(3) == 6 + 2
    drawn(replay, 0, count=8)  # what is new is served, and gone
    first = np.concatenate([drawn(replay, seed, count=50)[0] for seed in range(1, 41)])
    found, counts = np.unique(first, return_counts=True)
    assert found.tolist() == [0, 1, 2, 3, 4, 5, 100, 101]
    assert np.abs(counts / len(first) - 1 / 8).max() < 0.03


def test_new_pieces_are_served_once_and_first():
    replay = filled(8)
    assert sorted(drawn(replay, 0, count=3)[0].tolist()) == [0.0, 3.0, 100.0]
    for number in range(8, 12):
        replay.add(record(number), np.array([False, True]))
    assert {103.0, 106.0, 109.0} <= set(drawn(replay, 1)[0].tolist())
    assert replay.served.tolist() == [6, 12]
    drawn(replay, 2)
    assert replay.served.tolist() == [6, 12]


def test_pieces_that_are_gone_are_not_served():
    replay = filled(40)
    assert drawn(replay, 0, count=6).min() >= 26
    assert replay.served.min() >= 26


def test_newer_states_come_back_where_they_belong():
    replay = filled(40)
    place = Place(np.array([[35, 28], [36, 29], [37, 30]]), np.array([0, 1]))
    deter = np.arange(1, 19, dtype=np.uint16).reshape((3, 2, 3))
    replay.put_states(place, deter, np.ones((3, 2, 2), np.uint8))
    after = replay.read(place)
    np.testing.assert_array_equal(after.deter, deter)
    around = replay.read(Place(np.arange(28, 40)[:, None].repeat(2, 1), np.array([0, 1])))
    assert int(around.stoch.sum()) == 3 * 2 * 2


def test_an_abandoned_episode_ends_where_the_next_begins():
    replay = filled(4)
    replay.add(record(4)._replace(is_first=np.ones(ENVIRONMENTS, bool)))
    place = Place(np.arange(5)[:, None] * np.ones((1, 2), int), np.array([0, 1]))
    ends = replay.read(place).is_last
    assert ends[3].all() and ends.sum() == 2


# --- saving ---------------------------------------------------------------------------------------


def gone_on(replay: HostReplay, folder: Path) -> tuple[HostReplay, list[str]]:
    """Another replay, from what one saved."""
    back = HostReplay(record(0), 12, PLENTY, folder)
    saved = {name: leaf.copy() for name, leaf in replay.save().items()}
    shared = replay.shared()
    return back, back.load(saved, shared, "the file")


# In memory three of nine segments, and room for what writing one takes.
LITTLE = (3 + 3) * ENVIRONMENTS * 10 * (12 + 8)


def test_the_layout_follows_from_the_memory():
    one = record(0)
    layout = layout_of(one, 80, PLENTY)
    assert layout == (10, 9, 9, 9) and layout.is_in_memory
    happened, states = (1 + 4 + 4 + 3) * ENVIRONMENTS * 10, (6 + 2) * ENVIRONMENTS * 10
    copies = 3 * (happened + states)  # while a file is written
    assert layout_of(one, 80, copies + 9 * (happened + states)) == layout
    # Half of it is for states, and what the rest does not need.
    assert layout_of(one, 80, copies + 2 * 5 * states) == (10, 9, 5 * states // happened, 5)
    assert layout_of(one, 80, copies + 9 * happened + 8 * states) == (10, 9, 8, 9)
    with pytest.raises(UsageError, match=r"replay_memory .* GiB is too little"):
        layout_of(one, 80, copies + 3 * happened)


@pytest.mark.parametrize("steps", [1, 5, 40])
def test_what_is_saved_goes_on(steps: int, tmp_path: Path):
    replay = filled(steps, folder=tmp_path / "one")
    if replay.starts(3):
        drawn(replay, 0)
    back, told = gone_on(replay, tmp_path / "two")
    assert told == []
    for one in (replay, back):
        for number in range(steps, steps + 4):
            one.add(record(number))
    np.testing.assert_array_equal(drawn(replay, 1), drawn(back, 1))
    after = back.save()
    assert all((leaf == after[name]).all() for name, leaf in replay.save().items())
    assert [file.sha256 for file in back.shared().values()] == [
        file.sha256 for file in replay.shared().values()
    ]


def test_saving_writes_what_is_new(tmp_path: Path):
    replay = filled(40, folder=tmp_path)
    before = replay.shared()
    assert len(before) == 2 * 6 and len(list(tmp_path.iterdir())) == 2 * 6
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    for number in range(40, 44):
        replay.add(record(number))
    now = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert all(now[path] == then for path, then in written.items())
    # Files that a checkpoint still holds stay until it is written.
    assert len(now) == 2 * 6 + 2
    del before  # and with them states, which may change
    assert len(list(tmp_path.iterdir())) == 6


# Prints how much memory an empty replay of 800 MB takes.
EMPTY = """
import numpy as np
from heredity.common.kept_memory import _own_bytes, keep_memory
keep_memory()
from heredity.algorithms.dreamer.host_replay import HostReplay
from heredity.algorithms.dreamer.mixture import UNIFORM
from tests.algorithms.dreamer.test_host_replay import record
example = record(0)._replace(observation=np.zeros((2, 2**16), np.uint8))
before = _own_bytes()
replay = HostReplay(example, 6400, 1e9, None, UNIFORM)
print((_own_bytes() - before) // 2**20)
"""


def test_an_empty_replay_takes_no_memory():
    done = subprocess.run([sys.executable, "-c", EMPTY], capture_output=True, check=True)
    assert int(done.stdout) < 50


def test_above_its_memory_records_are_read_from_files(tmp_path: Path):
    whole = filled(160, rows=80)
    little = filled(160, rows=80, memory=LITTLE, folder=tmp_path)
    assert little._segments.layout[2:] == (3, 3)
    for seed in range(20):
        places = [one.draw(np.random.default_rng(seed), 6, 25) for one in (whole, little)]
        assert (places[0].rows == places[1].rows).all()
        found = [one.read(places[0]) for one in (whole, little)]
        for one, other in zip(*map(jax.tree.leaves, found), strict=True):
            np.testing.assert_array_equal(one, other)


def test_states_in_files_are_no_more_renewed(tmp_path: Path):
    replay = filled(160, rows=80, memory=LITTLE, folder=tmp_path)
    place = Place(np.arange(80, 160)[:, None].repeat(2, 1), np.array([0, 1]))
    deter = np.ones((80, 2, 3), np.uint16)
    replay.put_states(place, deter, np.ones((80, 2, 2), np.uint8))
    renewed = replay.read(place).deter.all(axis=(1, 2))
    assert 0 < renewed.sum() < 80 and (np.diff(renewed.astype(int)) >= 0).all()


def test_states_are_renewed_until_they_leave_the_memory(tmp_path: Path, caplog: Any):
    replay = filled(20, rows=80, memory=LITTLE, folder=tmp_path / "one")
    place = Place(np.arange(20)[:, None].repeat(2, 1), np.array([0, 1]))
    replay.put_states(place, np.ones((20, 2, 3), np.uint16), np.ones((20, 2, 2), np.uint8))
    assert "budget" not in caplog.text
    for number in range(20, 80):
        replay.add(record(number))
    assert caplog.text.count("the replay has reached its budget of memory") == 1
    assert replay.read(place).deter.all() and replay.read(place).stoch.all()
    saved, shared = replay.save(), replay.shared()
    back = HostReplay(record(0), 80, LITTLE, tmp_path / "two")
    assert back.load(saved, shared, "the file") == []
    assert back.read(place).deter.all() and back.read(place).stoch.all()
    larger = HostReplay(record(0), 80, PLENTY, tmp_path / "three")
    assert larger.load(saved, shared, "the file") == [
        "the replay has another budget of memory than before"
    ]
    assert larger.read(place).deter.all()
    shared["replay/00000000-states.safetensors"].path.write_bytes(b"")
    (told,) = HostReplay(record(0), 80, LITTLE, tmp_path / "four").load(saved, shared, "the file")
    assert told.startswith("1 file of newer states of the replay could not be read (")


def test_without_a_folder_files_are_passing():
    replay = filled(160, rows=80, memory=LITTLE)
    places = [file.path for file in replay.shared().values()]
    places = [path for path in places if path.exists()]
    assert len(places) >= 8
    del replay
    gc.collect()
    assert not any(path.exists() for path in places)


@pytest.mark.parametrize("torn", [0, 3, 5])
def test_a_torn_file_costs_its_records_alone(tmp_path: Path, torn: int):
    replay = filled(40, folder=tmp_path / "one")
    path = replay.shared()[f"replay/{torn:08d}.safetensors"].path
    path.write_bytes(path.read_bytes()[:-1])
    assert len(drawn(replay, 0, count=50))  # served what was new
    back, told = gone_on(replay, tmp_path / "two")
    assert len(told) == 1 and str(path) in told[0] and "altered or torn" in told[0]
    found = back.read(Place(np.arange(26, back.written[0])[:, None], np.array([0])))
    lost = {26 + 2 * torn, 27 + 2 * torn}
    kept = [number for number in range(26, 40) if number not in lost]
    assert found.reward[:, 0].tolist() == kept
    # What comes after the gap begins as an episode does.
    assert found.is_first[:, 0].tolist() == [n == 28 + 2 * torn for n in kept]
    assert (back.served <= back.written).all()
    again, told = gone_on(back, tmp_path / "three")
    assert told == [] and (drawn(again, 1) == drawn(back, 1)).all()


def test_states_are_those_of_now_or_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    replay = filled(40, folder=tmp_path / "one")
    place = Place(np.arange(26, 40)[:, None], np.array([0]))
    replay.put_states(place, np.ones((14, 1, 3), np.uint16), np.ones((14, 1, 2), np.uint8))
    back, told = gone_on(replay, tmp_path / "two")
    assert told == [] and back.read(place).deter.all()
    monkeypatch.setattr(host_replay, "STATES", 100)
    back, told = gone_on(replay, tmp_path / "three")
    assert told == ["states in 6 of 6 files of the replay are as they were when these were written"]
    assert back.read(place).deter.any(axis=(1, 2)).tolist() == [False] * 12 + [True] * 2


def test_what_was_saved_of_another_replay_is_refused(tmp_path: Path):
    replay = filled(5, folder=tmp_path)
    saved = replay.save()
    with pytest.raises(MismatchError, match="its replay is not of 3 environments"):
        HostReplay(record(0, 3), 12, PLENTY).load(saved, replay.shared(), "the file")
    torn = {**saved, "newest/reward": saved["newest/reward"].astype(np.float64)}
    with pytest.raises(MismatchError, match=r"the file does not fit: reward is float64"):
        HostReplay(record(0), 12, PLENTY).load(torn, replay.shared(), "the file")


# --- which of them --------------------------------------------------------------------------------


def firsts(replay: HostReplay, seed: int) -> np.ndarray:
    """Where many sequences begin, those of both environments together."""
    drawn(replay, 0, count=200)  # what is new is served, and gone
    return drawn(replay, seed, count=20_000)[0] % 100


def test_newer_ones_are_chosen_as_their_age_says():
    first = firsts(filled(99, rows=99, mixture=Mixture(recency=1.0)), 1)
    found = np.bincount(96 - first.astype(int), minlength=97) / len(first)
    expected = np.diff(np.log(np.arange(1, 99))) / np.log(98)
    np.testing.assert_allclose(found[:20], expected[:20], atol=0.01)
    half = firsts(filled(99, rows=99, mixture=Mixture(recency=0.5)), 1)
    assert np.mean(half >= 87) == pytest.approx((np.log(11) / np.log(98) + 10 / 97) / 2, abs=0.02)


def prioritised(folder: Path | None = None) -> HostReplay:
    """Where much was lost on steps 40 to 42 of the second environment."""
    replay = filled(99, rows=99, folder=folder, mixture=Mixture(priority=1.0, exponent=1.0))
    everything = Place(np.arange(99)[:, None].repeat(2, 1), np.array([0, 1]))
    losses = np.full((99, 2), 0.01, np.float32)
    losses[40:43, 1] = 10.0
    replay.put_states(everything, np.zeros((99, 2, 3)), np.zeros((99, 2, 2)), losses)
    return replay


def test_those_with_much_to_learn_are_chosen_most():
    replay = prioritised()
    drawn(replay, 0, count=200)
    first = drawn(replay, 1, count=20_000)[0]
    found, counts = np.unique(first, return_counts=True)
    shares = dict(zip(found.tolist(), counts / len(first), strict=True))
    # Sequences of three steps from 38 on hold 1, 2, 3, 2 and 1 of them.
    for start, number in zip(range(138, 143), (1, 2, 3, 2, 1), strict=True):
        assert shares[start] == pytest.approx(number * 10 / (9 * 10 + 5.7), abs=0.02)
    # A loss that is no number ends the iteration, and until then any sequence will do.
    broken = prioritised()
    here = Place(np.arange(3)[:, None], np.array([0]))
    broken.put_states(here, np.zeros((3, 1, 3)), np.zeros((3, 1, 2)), np.full((3, 1), np.nan))
    drawn(broken, 0, count=200)
    assert drawn(broken, 1, count=200)[0].max() <= 196
    # What is new is worth as much as the most that was lost.
    for number in range(99, 101):
        replay.add(record(number))
    drawn(replay, 0, count=200)
    assert np.mean(drawn(replay, 1, count=20_000)[0] % 100 >= 97) > 0.3


def test_priorities_go_on_without_what_is_lost(tmp_path: Path):
    replay = prioritised(tmp_path / "one")
    drawn(replay, 0, count=200)
    shared, saved = replay.shared(), replay.save()
    backs = []
    for name in ("whole", "torn"):
        mixture = Mixture(priority=1.0, exponent=1.0)
        back = HostReplay(record(0), 99, PLENTY, tmp_path / name, mixture)
        assert len(back.load(saved, shared, "the file")) == (name == "torn")
        backs.append(back)
        path = shared["replay/00000001.safetensors"].path  # steps 13 to 25
        path.write_bytes(b"")
    np.testing.assert_array_equal(drawn(backs[0], 1, count=50), drawn(replay, 1, count=50))
    first = drawn(backs[1], 1, count=1000)[0]
    assert np.mean((first >= 138) & (first <= 142)) > 0.9
    del saved["most"]
    with pytest.raises(MismatchError, match="priorities are float32"):
        backs[0].load(saved, shared, "the file")
