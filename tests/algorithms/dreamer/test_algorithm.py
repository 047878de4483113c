"""A small DreamerV3 whole: what is learnt when, from what, and what reaches which weights.

That a resumed run ends in the same bytes, `tests/lifecycle` asks.
"""

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.algorithms.dreamer.algorithm import Dreamer
from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.algorithms.dreamer.losses import Batch, total_loss
from heredity.algorithms.dreamer.preparing import warnings_for
from heredity.algorithms.dreamer.state import DreamerState
from heredity.common import counters
from heredity.common.errors import UsageError
from heredity.environments import JaxEnvironment, make
from heredity.networks.world_model import latents
from heredity.spaces import Box, Dict, Discrete
from heredity.training.device_runner import DeviceRunner
from heredity.weights import flatten

TINY = DreamerConfig(
    num_envs=2,
    num_steps=8,
    train_ratio=8.0,
    batch_size=2,
    batch_length=4,
    replay_capacity=64,
    recency_share=0.2,
    priority_share=0.3,
    deter=16,
    blocks=2,
    hidden=8,
    units=8,
    groups=2,
    classes=3,
    imagination_length=3,
)


@pytest.fixture(scope="module")
def environment() -> JaxEnvironment:
    made = make("gymnax/Catch-bsuite")
    assert isinstance(made, JaxEnvironment)
    return made


@pytest.fixture(scope="module")
def algorithm(environment: JaxEnvironment) -> Dreamer:
    return Dreamer(TINY, environment.observation_space, environment.action_space)


def drawn_state(algorithm: Dreamer) -> DreamerState:
    """With weights that are zero nowhere; how they begin is not compiled for that."""
    shapes = jax.eval_shape(algorithm.init, 0)[1]
    draws = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: draws.normal(scale=0.3, size=leaf.shape).astype(leaf.dtype), shapes.params
    )
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return dataclasses.replace(state, params=params, slow_critic=params["critic"])


@pytest.fixture(scope="module")
def state(algorithm: Dreamer) -> DreamerState:
    return drawn_state(algorithm)


@pytest.fixture(scope="module")
def batch(algorithm: Dreamer, environment: JaxEnvironment) -> Batch:
    draws = np.random.default_rng(0)
    space = environment.observation_space
    moments, sequences = TINY.batch_length, TINY.batch_size
    seen = np.stack([[space.sample(draws) for _ in range(sequences)] for _ in range(moments)])
    none = jnp.zeros((moments, sequences), bool)
    return Batch(
        observations=jnp.asarray(seen),
        actions=jax.nn.one_hot(draws.integers(0, 3, (moments, sequences)), 3),
        rewards=jnp.asarray(draws.normal(size=(moments, sequences)), jnp.float32),
        is_first=none.at[2, 1].set(True),
        is_last=none.at[1, 1].set(True),
        is_terminal=none.at[1, 1].set(True),
        context=algorithm.world.rssm.start((sequences,)),
    )


def test_which_losses_reach_which_weights(algorithm: Dreamer, state: DreamerState, batch: Batch):
    # No free nats: below them there would be no slope.
    algorithm = Dreamer(
        dataclasses.replace(TINY, free_nats=0.0),
        algorithm.spec.observation_space,
        algorithm.spec.action_space,
    )
    names: list[str] = []

    def losses(params: dict) -> jax.Array:
        _, learnt = total_loss(
            algorithm.world, params, state.slow_critic, state.return_range, batch, jax.random.key(0)
        )
        names[:] = sorted(learnt.losses)
        return jnp.stack([learnt.losses[name].mean() for name in names])

    slopes = flatten(jax.tree.map(np.asarray, jax.jit(jax.jacrev(losses))(state.params)))
    reached = {
        name: {path.split("/")[0] for path, slope in slopes.items() if np.any(slope[index] != 0)}
        for index, name in enumerate(names)
    }
    assert reached == {
        "actor": {"actor"},
        "critic": {"critic"},
        "replayed_critic": {"critic", "trunk"},
        "reward": {"reward", "trunk"},
        "continue": {"continue", "trunk"},
        "dynamics": {"trunk"},
        "representation": {"trunk"},
        "reconstruction/observation": {"decoder", "trunk"},
    }
    of_prior = {path for path in slopes if path.startswith("trunk/prior/")}
    assert all(np.any(slopes[path][names.index("dynamics")] != 0) for path in of_prior)
    assert not any(np.any(slopes[path][names.index("representation")]) for path in of_prior)


def test_without_a_decoder_the_state_agrees_with_the_encoder(
    environment: JaxEnvironment, batch: Batch
):
    config = dataclasses.replace(TINY, objective="barlow_twins")
    algorithm = Dreamer(config, environment.observation_space, environment.action_space)
    state = drawn_state(algorithm)
    assert "decoder" not in state.params
    tokens = algorithm.world.rssm.encoder.output_size
    assert flatten(state.params)["projection/output/bias"].shape == (tokens,)
    _, learnt, slopes = jax.jit(algorithm.gradients)({}, state, batch, jax.random.key(0))
    assert learnt.losses["barlow_twins"].shape == ()
    assert not any(name.startswith("reconstruction") for name in learnt.losses)
    for path in ("projection/output/kernel", "trunk/encoder/vectors/hidden_0/kernel"):
        assert np.asarray(flatten(slopes)[path]).any()


@pytest.mark.parametrize("blocks", [1, 2])
def test_acting_sees_what_learning_sees(environment: JaxEnvironment, blocks: int):
    """Moment by moment with whole kernels, or all moments with their parts."""
    config = dataclasses.replace(TINY, blocks=blocks)
    algorithm = Dreamer(config, environment.observation_space, environment.action_space)
    rssm, params = algorithm.world.rssm, drawn_state(algorithm).params["trunk"]
    draws = np.random.default_rng(2)
    times, count = 4, 3
    tokens = draws.normal(size=(times, count, rssm.encoder.output_size)).astype(np.float32)
    actions = draws.normal(size=(times, count, rssm.options.actions)).astype(np.float32)
    is_first = draws.random((times, count)) < 0.3
    chance = latents.noise(jax.random.key(0), (times, count, config.groups))
    whole, _ = rssm.observe(params, tokens, rssm.start((count,)), actions, is_first, chance)
    state = rssm.start((count,))
    for t in range(times):
        state = rssm.observe_once(params, tokens[t], state, actions[t], is_first[t], chance[t])
        np.testing.assert_allclose(state.deter, whole.deter[t], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(state.stoch, whole.stoch[t])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_acting_with_weights_that_were_cast_is_acting(dtype: str):
    seen = Dict({"camera": Box((8, 8, 3), 0, 255, "uint8"), "place": Box((2,))})
    functions = Dreamer(dataclasses.replace(TINY, dtype=dtype), seen, Discrete(3)).functions
    params = functions.init(0)
    acting = functions.acting(params)
    assert set(acting) == {"trunk", "actor"}
    dtypes = {leaf.dtype.name for leaf in flatten(acting).values() if leaf.ndim > 1}
    assert dtypes == {dtype}
    if dtype == "float32":  # nothing is copied
        assert all(leaf is flatten(params)[path] for path, leaf in flatten(acting).items())
    observation = jax.tree.map(jnp.asarray, seen.sample(np.random.default_rng(0)))
    decide = jax.jit(functions.parameters)
    carry = functions.initial_carry(())
    for found, expected in zip(
        jax.tree.leaves(decide(acting, observation, carry)),
        jax.tree.leaves(decide(params, observation, carry)),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_an_episode_begins_as_if_nothing_was_before(
    algorithm: Dreamer, state: DreamerState, batch: Batch
):
    rssm, params = algorithm.world.rssm, state.params["trunk"]
    tokens = rssm.tokens(params, batch.observations)
    start = rssm.start((TINY.batch_size,))
    observe = jax.jit(rssm.observe)
    chance = latents.noise(jax.random.key(3), (TINY.batch_length, TINY.batch_size, TINY.groups))
    whole, _ = observe(params, tokens, start, batch.actions, batch.is_first, chance)
    rest, _ = observe(params, tokens[2:], start, batch.actions[2:], batch.is_first[2:], chance[2:])
    np.testing.assert_array_equal(whole.deter[2:, 1], rest.deter[:, 1])
    np.testing.assert_array_equal(whole.stoch[2:, 1], rest.stoch[:, 1])
    assert np.any(np.asarray(whole.deter[2:, 0]) != np.asarray(rest.deter[:, 0]))


def test_predictions_are_nothing_at_first(algorithm: Dreamer):
    params = jax.jit(algorithm.init)(0)[1].params
    features = jax.random.normal(jax.random.key(0), (5, algorithm.world.rssm.output_size))
    for name in ("reward", "critic"):
        found = algorithm.functions.networks[name].apply(params[name], features)[0]
        np.testing.assert_array_equal(found, 0.0)


def test_gradient_steps_follow_the_ratio(
    algorithm: Dreamer, environment: JaxEnvironment, monkeypatch: pytest.MonkeyPatch
):
    """Whatever one of them is, which takes long to compile."""

    def step(self: Dreamer, constants: Any, state: DreamerState) -> tuple[DreamerState, dict]:
        state = dataclasses.replace(state, updates=counters.add(state.updates, 1))
        return state, {"loss": jnp.float32(0.0)}

    monkeypatch.setattr(Dreamer, "gradient_step", step)
    runner = DeviceRunner(algorithm, environment, 0)
    made = []
    for _ in range(3):
        assert runner.iterate(1)["finite"]
        made.append(counters.to_int(cast(DreamerState, runner.state).updates))
    # 16 records an iteration; 16 / 8 * 8 steps of 2 x 4, once there are 8 sequences.
    assert made == [16, 32, 48]
    assert runner.step == 48


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"deter": 20}, "blocks 8 does not divide deter 20"),
        ({"batch_length": 1}, "batch_length 1: 2 or more"),
        ({"replay_capacity": 64}, "replay_capacity 64 is 4 steps of each of 16"),
        ({"learning_rate": float("nan")}, "learning_rate nan: a finite number >= 0"),
        ({"discount": 1.5}, "discount 1.5: a finite number > 0 and <= 1"),
        ({"num_envs": 0}, "num_envs 0: a finite number > 0 and <= 2,147,483,647"),
        ({"replay_capacity": 2032}, "learning begins with 1,024 of them .* Give 2,048 or more"),
        ({"num_steps": 200, "replay_capacity": 3199}, "200 steps come at once. Give 3,200"),
        ({"classes": 256}, "classes 256: at most 255 were expected"),
    ],
)
def test_settings_that_cannot_be(settings: dict, told: str):
    with pytest.raises(UsageError, match=told):
        DreamerConfig(**settings)


def test_a_run_too_short_to_learn_is_told():
    config = DreamerConfig()
    assert config.records_to_learn * config.num_envs == 2048
    (told,) = warnings_for(config, None, 1500)
    assert "nothing will be learnt in 1,500 steps: learning begins after about 2,048" in told
    assert not list(warnings_for(config, None, 2000))  # rounded up to whole iterations
