"""The replay of the host: rings of different pace, new pieces once, and back from a file."""

import numpy as np
import pytest

from heredity.algorithms.dreamer.host_replay import HostReplay
from heredity.algorithms.dreamer.replay import Place, Record
from heredity.common.errors import MismatchError

ENVIRONMENTS = 2


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


def filled(steps: int, rows: int = 12) -> HostReplay:
    replay = HostReplay(record(0), rows)
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
    assert seen == {100 * e + start for e in (0, 1) for start in range(28, 38)}


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
    assert replay.served.tolist() == [2, 4]
    drawn(replay, 2)
    assert replay.served.tolist() == [2, 4]


def test_pieces_that_are_gone_are_not_served():
    replay = filled(40)
    assert drawn(replay, 0, count=6).min() >= 28
    assert replay.served.min() >= 10


def test_newer_states_come_back_where_they_belong():
    replay = filled(40)
    place = Place(np.array([[11, 4], [0, 5], [1, 6]]), np.array([0, 1]))
    deter = np.arange(1, 19, dtype=np.uint16).reshape((3, 2, 3))
    replay.put_states(place, deter, np.ones((3, 2, 2), np.uint8))
    after = replay.read(place)
    np.testing.assert_array_equal(after.deter, deter)
    assert int(replay.save()["records/stoch"].sum()) == 3 * 2 * 2


def test_an_abandoned_episode_ends_where_the_next_begins():
    replay = filled(4)
    replay.add(record(4)._replace(is_first=np.ones(ENVIRONMENTS, bool)))
    place = Place(np.arange(5)[:, None] * np.ones((1, 2), int), np.array([0, 1]))
    ends = replay.read(place).is_last
    assert ends[3].all() and ends.sum() == 2


@pytest.mark.parametrize("steps", [5, 40])
def test_what_is_saved_goes_on(steps: int):
    replay = filled(steps)
    drawn(replay, 0)
    saved = {name: leaf.copy() for name, leaf in replay.save().items()}
    assert saved["records/observation/seen"].shape[1] == min(steps, 12)
    back = HostReplay(record(0), 12)
    back.load(saved, "the file")
    for one in (replay, back):
        one.add(record(steps))
    np.testing.assert_array_equal(drawn(replay, 1), drawn(back, 1))
    assert back.served.tolist() == replay.served.tolist()


def test_what_was_saved_of_another_replay_is_refused():
    saved = filled(5).save()
    with pytest.raises(MismatchError, match="its replay is not of 3 environments"):
        HostReplay(record(0, 3), 12).load(saved, "the file")
    torn = {**saved, "records/reward": saved["records/reward"][:, :3]}
    with pytest.raises(MismatchError, match=r"the file, replay does not fit: reward is float32"):
        HostReplay(record(0), 12).load(torn, "the file")
