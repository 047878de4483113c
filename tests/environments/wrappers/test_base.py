"""What a wrapper hands through."""

import jax
import numpy as np
from foretold import Countdown, play

from heredity.environments import HostWrapper, JaxWrapper, make
from heredity.environments.hosted import HostedEnvironment
from heredity.environments.wrappers.base import choose


def test_a_wrapper_that_changes_nothing_changes_nothing():
    plain, hosted = Countdown(), HostedEnvironment(Countdown(), 2)
    for bare, wrapped in ((plain, JaxWrapper(plain)), (hosted, HostWrapper(hosted))):
        for name in ("observation_space", "action_space", "num_envs", "step_seconds"):
            assert getattr(wrapped, name) == getattr(bare, name)
        for mine, theirs in zip(play(wrapped, [0, 1]), play(bare, [0, 1]), strict=True):
            jax.tree.map(np.testing.assert_array_equal, mine, theirs)
    state, _ = plain.reset(jax.random.key(0))
    assert JaxWrapper(plain).pose(state).position.shape == (1, 3)


def test_the_viewer_sees_through_all_wrappers():
    env = make("gymnax/CartPole-v1", max_episode_steps=9, frame_stack=2, reward_clip=1)
    bare = make("gymnax/CartPole-v1")
    assert env.scene() == bare.scene() and env.step_seconds == bare.step_seconds
    state, _ = env.reset(jax.random.key(1))
    inner, _ = bare.reset(jax.random.key(1))
    np.testing.assert_array_equal(env.pose(state).position, bare.pose(inner).position)


def test_rendering_and_closing_go_through():
    class Drawn(HostedEnvironment):
        closed = False

        def render(self):
            return np.zeros((2, 2, 3), np.uint8)

        def close(self):
            self.closed = True

    inside = Drawn(Countdown(), 2)
    env = HostWrapper(HostWrapper(inside))
    assert env.render().shape == (2, 2, 3)
    env.close()
    assert inside.closed


def test_choosing_goes_into_dicts():
    mask = np.array([True, False])
    chosen = choose(mask, {"a": np.ones((2, 3))}, {"a": np.zeros((2, 3))})
    np.testing.assert_array_equal(chosen["a"], [[1, 1, 1], [0, 0, 0]])
