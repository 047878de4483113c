"""The last observations, shown together."""

import numpy as np
import pytest
from foretold import Camera, Countdown, assert_it_comes_back, drawn, on_both_paths, play

from heredity.common.errors import UsageError
from heredity.environments import make, wrap
from heredity.environments.hosted import HostedEnvironment
from heredity.spaces import Box, Discrete


@pytest.mark.parametrize("path", [0, 1], ids=["jax", "host"])
def test_vectors_stand_one_behind_the_other_the_newest_last(path):
    env = on_both_paths(Countdown(9), frame_stack=3)[path]
    names = ("drawn[t-2]", "time[t-2]", "drawn[t-1]", "time[t-1]", "drawn", "time")
    assert env.observation_space == Box((6,), names=names)
    first, one, two, three = play(env, [0, 0, 0])
    a, b = drawn(4), drawn(3)
    np.testing.assert_array_equal(first, [[a, 0, a, 0, a, 0], [b, 0, b, 0, b, 0]])
    np.testing.assert_array_equal(one.observation, [[a, 0, a, 0, a, 1], [b, 0, b, 0, b, 1]])
    np.testing.assert_array_equal(two.observation[0], [a, 0, a, 1, a, 2])
    np.testing.assert_array_equal(three.observation[1], [b, 1, b, 2, b, 3])


@pytest.mark.parametrize("path", [0, 1], ids=["jax", "host"])
def test_pictures_are_stacked_along_channels(path):
    env = on_both_paths(Camera(), frame_stack=2)[path]
    space = env.observation_space
    assert space["picture"] == Box((4, 6, 6), 0, 255, "uint8")
    assert space["time"] == Box((2,))
    assert space["turn"] == Discrete(9)  # what is no array is shown as it is now
    first, one = play(env, [0])
    plain_first, plain = play(on_both_paths(Camera())[path], [0])
    np.testing.assert_array_equal(first["picture"][..., :3], plain_first["picture"])
    np.testing.assert_array_equal(first["picture"][..., 3:], plain_first["picture"])
    np.testing.assert_array_equal(one.observation["picture"][..., :3], plain_first["picture"])
    np.testing.assert_array_equal(one.observation["picture"][..., 3:], plain.observation["picture"])
    np.testing.assert_array_equal(one.observation["time"], [[0, 1], [0, 1]])
    np.testing.assert_array_equal(one.observation["turn"], [1, 1])
    assert one.observation["picture"].dtype == np.uint8


def test_an_episode_that_begins_forgets_the_one_before_and_the_others_do_not():
    env = wrap(HostedEnvironment(Countdown(9), 2), frame_stack=2)
    play(env, [0, 0])
    seen = env.reset(np.array([7, 0]), np.array([True, False]))
    np.testing.assert_array_equal(seen, [[drawn(7), 0, drawn(7), 0], [drawn(3), 1, drawn(3), 2]])
    seen = env.step(np.zeros(2, int)).observation
    np.testing.assert_array_equal(seen, [[drawn(7), 0, drawn(7), 1], [drawn(3), 2, drawn(3), 3]])


def test_bounds_are_those_of_each_part():
    env = wrap(make("gymnax/MountainCar-v0"), frame_stack=2)
    inside = make("gymnax/MountainCar-v0").observation_space
    assert env.observation_space.low == (*inside.low, *inside.low)
    assert env.observation_space.high == (*inside.high, *inside.high)


def test_what_stays_the_same_is_shown_once():
    class Fixed(Countdown):
        observation_space = Box((2,), static=True)

    for space in (Box((2,), static=True), Discrete(3)):
        env = Fixed()
        env.observation_space = space
        with pytest.raises(UsageError, match="observations that are arrays were expected"):
            wrap(env, frame_stack=2)


def test_it_comes_back():
    for env in (Countdown(3), Camera(3)):
        hosted = wrap(HostedEnvironment(env, 4), frame_stack=3)
        assert_it_comes_back(hosted)


def test_what_has_no_room_is_refused_before_it_is_made():
    with pytest.raises(UsageError, match=r"frame_stack=1000000000: .* GB of memory here: stack"):
        make("gymnax/CartPole-v1", frame_stack=10**9)
    many = make("gymnax/CartPole-v1", frame_stack=10**5)
    assert many.observation_space.shape == (4 * 10**5,)
