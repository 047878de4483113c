"""Several seeds in one program learn what each of them would learn alone."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import CONFIG, environment

from heredity.algorithms.ppo import collect as collect_module
from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.collect import collect
from heredity.algorithms.ppo.config import PPOConfig
from heredity.common.errors import UsageError
from heredity.common.seeds import AXIS
from heredity.environments import JaxEnvironment, make
from heredity.training.runners import Alone, DeviceRunner, SeedsRunner, make_driver

SEEDS = (7, 2**31, 9)
CARTPOLE = PPOConfig(num_envs=4, num_steps=32, num_epochs=2, num_minibatches=2, target_kl=0.02)


def ppo(config: PPOConfig, env: JaxEnvironment) -> PPO:
    return PPO(config, env.observation_space, env.action_space, schedule_timesteps=10_000)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference beside the largest value."""
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    size = np.abs(one.astype(np.float64)).max(initial=0.0)
    difference = np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0)
    return float(difference / size) if size else float(difference)


@pytest.mark.parametrize(
    ("env", "config"), [(make("gymnax/CartPole-v1", num_envs=4), CARTPOLE), (environment(), CONFIG)]
)
def test_one_update_is_that_of_each_seed_alone(env: JaxEnvironment, config: PPOConfig):
    together = SeedsRunner(ppo(config, env), env, SEEDS)
    rows = together.iterate(1)
    alone = DeviceRunner(ppo(config, env), env, SEEDS[0])
    for seed, learner, row in zip(SEEDS, together.learners, rows, strict=True):
        alone.begin(seed)
        logged = alone.iterate(1)
        assert logged.keys() == row.keys()
        for was, now in (
            (alone.policy_leaves(), learner.policy_leaves()),
            (alone.save(), learner.save()),
        ):
            assert was.keys() == now.keys()
            assert max(apart(was[path], now[path]) for path in was) < 1e-5
    assert together.step == alone.step == config.num_transitions


def test_every_seed_draws_what_it_draws_alone():
    """Observations, actions and what is bootstrapped, over episodes that end and are cut."""
    env = make("gymnax/CartPole-v1", num_envs=4, max_episode_steps=20)
    assert isinstance(env, JaxEnvironment)
    algorithm = ppo(CARTPOLE, env)
    together = SeedsRunner(algorithm, env, SEEDS)
    together.states()  # begins the episodes

    def act(constants, state):
        return collect(algorithm, env, algorithm.all_params(constants, state), state)[1]

    parts = together.constants, together.state
    # Under vmap a condition of each seed would become a choice, for which both are computed.
    assert "cond[" in str(jax.make_jaxpr(jax.vmap(act, axis_name=AXIS))(*parts))
    assert "cond[" not in str(jax.make_jaxpr(jax.vmap(act))(*parts))
    rollouts = jax.jit(jax.vmap(act, axis_name=AXIS))(*parts)
    assert bool(rollouts.truncated.any()) and bool(rollouts.terminated.any())
    alone = DeviceRunner(algorithm, env, SEEDS[0])
    one = jax.jit(act)
    for index, seed in enumerate(SEEDS):
        alone.begin(seed)
        alone.save()
        expected = one(alone.constants, alone.state)
        found = jax.tree.map(lambda leaf, index=index: leaf[index], rollouts)
        for part in ("raw_actions", "terminated", "truncated", "rewards", "observations"):
            was, now = np.asarray(getattr(expected, part)), np.asarray(getattr(found, part))
            assert was.tobytes() == now.tobytes(), part
        np.testing.assert_allclose(expected.final_values, found.final_values, rtol=1e-5, atol=1e-6)


def test_first_states_drawn_before_they_are_needed_are_counted_for_all_seeds(
    monkeypatch: pytest.MonkeyPatch,
):
    env = environment()
    assert isinstance(env, JaxEnvironment)
    keys = jax.random.split(jax.random.key(0), (3, 4))

    def are_drawn(seed: jax.Array) -> jax.Array:
        kept_as_keys = collect_module._first_states(env, keys).drawn is keys
        return seed * (not kept_as_keys)

    states = jax.eval_shape(jax.vmap(jax.vmap(env.reset)), keys)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(states))
    monkeypatch.setattr(collect_module, "_MOST_BYTES", 2 * size)
    of_two, of_three = (jax.vmap(are_drawn, axis_name=AXIS)(jnp.ones(k)) for k in (2, 3))
    assert of_two.all() and not of_three.any() and are_drawn(jnp.ones(()))


def test_one_that_is_not_finite_stops_all():
    env = environment()
    assert isinstance(env, JaxEnvironment)
    runner = SeedsRunner(ppo(CONFIG, env), env, SEEDS)
    runner.states()
    bias = runner.state.params["critic"]["output"]["bias"]
    runner.state.params["critic"]["output"]["bias"] = bias.at[1].set(jnp.nan)
    rows = runner.iterate(5)
    assert [row["finite"] for row in rows] == [1.0, 0.0, 1.0]
    assert [row["iterations"] for row in rows] == [1.0, 1.0, 1.0]


def test_what_is_saved_is_that_of_a_run_alone_and_is_loaded_bit_for_bit():
    env = environment()
    assert isinstance(env, JaxEnvironment)
    config = dataclasses.replace(CONFIG, freeze=("actor/hidden_0/**",))
    first = SeedsRunner(ppo(config, env), env, SEEDS)
    first.iterate(2)
    policies = [learner.policy_leaves() for learner in first.learners]
    states = [learner.save() for learner in first.learners]
    alone = DeviceRunner(ppo(config, env), env, SEEDS[1])
    assert policies[1].keys() == alone.policy_leaves().keys()
    alone.load(policies[1], states[1], None)  # what is saved fits there
    assert alone.step == first.step
    first.iterate(1)
    assert first.learners[0].policy_leaves() is not policies[0]
    frozen = [learner.constants["actor"]["hidden_0"]["kernel"] for learner in first.learners]
    assert len({np.asarray(kernel).tobytes() for kernel in frozen}) == 3
    again = SeedsRunner(ppo(config, env), env, (1, 2, 3))
    assert again.load(policies, states).exact
    again.iterate(1)
    for one, other in zip(first.learners, again.learners, strict=True):
        for was, now in (
            (one.policy_leaves(), other.policy_leaves()),
            (one.save(), other.save()),
            (one.constants["actor"]["hidden_0"], other.constants["actor"]["hidden_0"]),
        ):
            assert all(was[path].tobytes() == now[path].tobytes() for path in was)


def test_which_driver():
    env = environment()
    assert isinstance(make_driver(ppo(CONFIG, env), env, 3, 1), Alone)
    host = environment(host=True)
    told = r"seeds 3 in probe/observation-action-reward: .* Start 3 runs, with --seed 5 to --seed 7"
    with pytest.raises(UsageError, match=told):
        make_driver(ppo(CONFIG, host), host, 5, 3)
