"""Pictures without colours, and of other sizes."""

import jax.numpy as jnp
import numpy as np
import pytest
from foretold import Camera, Countdown, assert_it_comes_back, on_both_paths, play

from heredity.common.errors import UsageError
from heredity.environments import wrap
from heredity.environments.hosted import HostedEnvironment
from heredity.environments.wrappers.grayscale import Grayscale
from heredity.environments.wrappers.resize import Resize, linear_weights
from heredity.spaces import Box

BYTES = Box((4, 6, 3), 0, 255, "uint8")


def test_gray_is_the_brightness():
    picture = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9], [200, 100, 50]]], "u1")
    gray = Grayscale().value(np, picture, BYTES)
    assert gray.dtype == np.uint8 and gray.shape == (1, 5, 1)
    # 0.299, 0.587 and 0.114 of 255; the last one is 59.8 + 58.7 + 5.7
    assert gray.ravel().tolist() == [76, 150, 29, 9, 124]
    floats = Grayscale().value(np, picture / np.float32(255), Box((4, 6, 3)))
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats.ravel(), [0.299, 0.587, 0.114, 9 / 255, 124.2 / 255], 1e-5)


def test_all_three_paths_give_the_same_bytes():
    pictures = np.random.default_rng(0).integers(0, 256, (7, 4, 6, 3), "uint8")
    for change in (Grayscale(), Resize(3, 5), Resize(9, 13), Resize(1, 1)):
        in_numpy = change.value(np, pictures, BYTES)
        in_jax = change.value(jnp, jnp.asarray(pictures), BYTES)
        assert in_jax.dtype == in_numpy.dtype == np.uint8
        np.testing.assert_array_equal(in_jax, in_numpy)
        one = change.value(np, pictures[2], BYTES)
        np.testing.assert_array_equal(one, in_numpy[2])
        assert one.shape == change.space(BYTES).shape


@pytest.mark.parametrize(("before", "after"), [(4, 2), (210, 84), (160, 84), (3, 8), (5, 5)])
def test_weights_are_those_of_jax(before, after):
    import jax

    line = np.random.default_rng(1).random(before).astype(np.float32)
    expected = jax.image.resize(line, (after,), "linear", antialias=True)
    np.testing.assert_allclose(linear_weights(before, after) @ line, expected, atol=1e-5)


def test_resized_bytes_are_the_rounded_numbers():
    pictures = np.random.default_rng(2).integers(0, 256, (4, 6, 3), "uint8")
    small = Resize(2, 3).value(np, pictures, BYTES)
    exact = linear_weights(4, 2) @ pictures.astype(float).transpose(2, 0, 1)
    exact = (exact @ linear_weights(6, 3).T).transpose(1, 2, 0)
    assert np.abs(small - exact).max() < 0.55  # half of a step, and what 11 bits cost
    plain = np.full((4, 6, 3), 255, "uint8")
    assert (Resize(7, 2).value(np, plain, BYTES) == 255).all()


@pytest.mark.parametrize("path", [0, 1], ids=["jax", "host"])
def test_pictures_in_a_dict_are_changed_and_nothing_else(path):
    env = on_both_paths(Camera(), grayscale=True, resize=(2, 3))[path]
    assert env.observation_space["picture"] == Box((2, 3, 1), 0, 255, "uint8")
    assert env.observation_space["time"] == Box((1,))
    first, step = play(env, [0])
    assert step.observation["picture"].shape == (2, 2, 3, 1)
    plain_first, plain = play(on_both_paths(Camera())[path], [0])
    np.testing.assert_array_equal(step.observation["time"], plain.observation["time"])
    gray = Grayscale().value(np, plain_first["picture"], BYTES)
    expected = Resize(2, 3).value(np, gray, Box((4, 6, 1), 0, 255, "uint8"))
    np.testing.assert_array_equal(first["picture"], expected)


@pytest.mark.parametrize("path", [0, 1], ids=["jax", "host"])
def test_pictures_of_floats(path):
    env = on_both_paths(Camera(floating=True), grayscale=True, resize=(2, 2))[path]
    assert env.observation_space["picture"] == Box((2, 2, 1), 0, 1)
    _, step = play(env, [0])
    _, plain = play(on_both_paths(Camera(floating=True))[path], [0])
    # The mean over all pixels stays where every pixel weighs the same.
    gray = plain.observation["picture"] @ np.array([0.299, 0.587, 0.114])
    assert step.observation["picture"].dtype == np.float32
    np.testing.assert_allclose(
        step.observation["picture"].mean((1, 2, 3)), gray.mean((1, 2)), rtol=0.1
    )


def test_bytes_without_channels_get_one():
    box = Box((4, 6), 0, 255, "uint8")

    class Gray(Countdown):
        observation_space = box

        def show(self, state):
            return jnp.full((4, 6), state.time, jnp.uint8)

    env = wrap(Gray(), resize=(2, 2))
    assert env.observation_space == Box((2, 2, 1), 0, 255, "uint8")
    assert play(env, [0])[1].observation.tolist() == [[[[1]] * 2] * 2] * 2


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match=r"grayscale: pictures of shape .* were expected"):
        wrap(Countdown(), grayscale=True)
    with pytest.raises(UsageError, match=r"resize: pictures of shape"):
        wrap(HostedEnvironment(Countdown(), 2), resize=(2, 2))
    with pytest.raises(UsageError, match=r"pictures of 3 channels were expected, those of shape"):
        wrap(wrap(Camera(), grayscale=True), grayscale=True)
    with pytest.raises(UsageError, match=r"resize=0: a whole number"):
        wrap(Camera(), resize=(0, 2))
    with pytest.raises(UsageError, match=r"resize=\(2,\): a height and a width"):
        wrap(Camera(), resize=(2,))
    with pytest.raises(UsageError, match="pictures of bytes"):
        Resize(2, 2).space(Box((4, 4, 3), 0, 9, "int32"))


def test_they_come_back():
    env = wrap(HostedEnvironment(Camera(3), 4), grayscale=True, resize=(3, 3))
    assert_it_comes_back(env)
