"""The parts of DreamerV3 beside what they are by definition."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.algorithms.dreamer.laprop import LaProp, LaPropState
from heredity.algorithms.dreamer.losses import disagreement
from heredity.algorithms.dreamer.mixture import UNIFORM, Mixture
from heredity.algorithms.dreamer.replay import Place, Record, Replay, packed, unpacked
from heredity.algorithms.dreamer.returns import ReturnRange, lambda_returns
from heredity.algorithms.registry import short_moments
from heredity.networks.world_model import State, latents
from heredity.networks.world_model.dynamics import Dynamics
from heredity.networks.world_model.heads import BINS, bins, expectation, two_hot, two_hot_loss
from heredity.networks.world_model.layers import init_linear, linear, symexp, symlog
from heredity.networks.world_model.scanning import scan


def test_bins_are_even_on_a_logarithmic_scale():
    found = np.asarray(bins())
    assert len(found) == BINS == 255
    assert found[127] == 0.0
    np.testing.assert_array_equal(found, -found[::-1])
    assert found[-1] == pytest.approx(4.85e8, rel=1e-3)
    np.testing.assert_allclose(np.diff(symlog(bins())), 40 / 254, rtol=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e4, -2.5e-3])
def test_two_hot_weights_say_their_number(value: float):
    weights = np.asarray(two_hot(jnp.float32(value)))
    assert np.count_nonzero(weights) in (1, 2)
    assert weights.sum() == pytest.approx(1.0)
    assert float((weights * np.asarray(bins())).sum()) == pytest.approx(value, rel=1e-4, abs=1e-6)


def test_numbers_beyond_the_bins_are_the_last_bin():
    weights = np.asarray(two_hot(jnp.array([1e12, -1e12])))
    assert weights[0].argmax() == 254 and weights[1].argmax() == 0
    assert weights.max(axis=-1).tolist() == [1.0, 1.0]


def test_equal_chances_are_exactly_zero():
    assert float(expectation(jnp.full((2, 255), 0.3))[0]) == 0.0
    logits = 50.0 * two_hot(jnp.float32(7.0))
    assert float(two_hot_loss(logits, jnp.float32(7.0))) < float(
        two_hot_loss(logits, jnp.float32(9.0))
    )


def test_symexp_undoes_symlog():
    values = jnp.array([-1e5, -1.0, -1e-3, 0.0, 2.0, 3e4])
    np.testing.assert_allclose(symexp(symlog(values)), values, rtol=1e-5)


def test_every_choice_keeps_a_chance():
    probs = latents.mixed_probs(jnp.array([[[100.0, 0.0, 0.0, 0.0]]]), 0.01)
    np.testing.assert_allclose(probs[0, 0], [0.9925, 0.0025, 0.0025, 0.0025], rtol=1e-4)


def test_equal_chances_do_not_differ():
    logs = jnp.log(latents.mixed_probs(jax.random.normal(jax.random.key(0), (5, 3, 4)), 0.01))
    np.testing.assert_allclose(latents.divergence(logs, logs), 0.0, atol=1e-6)


def test_groups_are_drawn_apart():
    probs = latents.mixed_probs(jnp.log(jnp.array([[0.5, 0.5], [0.25, 0.75]])), 0.0)
    chance = latents.noise(jax.random.key(1), (20_000, 2))
    chosen = np.asarray(jnp.argmax(latents.choose(probs, chance), axis=-1))
    both = [[(chosen == (a, b)).all(axis=-1).mean() for b in range(2)] for a in range(2)]
    np.testing.assert_allclose(both, [[0.125, 0.375], [0.125, 0.375]], atol=0.015)


def test_draws_follow_the_chances_and_their_gradient():
    logits = jnp.log(jnp.array([[0.7, 0.2, 0.1]]))
    chance = latents.noise(jax.random.key(1), (20_000, 1))
    chosen = np.asarray(latents.choose(latents.mixed_probs(logits, 0.0), chance))
    np.testing.assert_allclose(chosen.mean(axis=(0, 1)), [0.7, 0.2, 0.1], atol=0.015)
    through = jax.grad(lambda x: latents.choose(latents.mixed_probs(x, 0.0), None)[0, 1])(logits)
    direct = jax.grad(lambda x: jax.nn.softmax(x)[0, 1])(logits)
    np.testing.assert_allclose(through, direct, atol=1e-6)


def test_a_class_without_a_chance_has_a_gradient():
    def chosen(logits: jax.Array) -> jax.Array:
        return latents.choose(latents.mixed_probs(logits, 0.0), None)[0, 1]

    np.testing.assert_array_equal(jax.grad(chosen)(jnp.array([[500.0, 0.0, 0.0]])), 0.0)


@pytest.mark.parametrize("classes", [3, 16])
def test_every_number_below_one_chooses_a_class(classes: int):
    probs = latents.mixed_probs(jax.random.normal(jax.random.key(0), (999, 4, classes)), 0.01)
    least, most = np.float32(0.0), np.nextafter(np.float32(1.0), np.float32(0.0))
    for number, expected in ((least, 0), (most, classes - 1)):
        chosen = jax.jit(latents.choose)(probs, jnp.full((999, 4), number))
        np.testing.assert_array_equal(jnp.argmax(chosen, axis=-1), expected)
        np.testing.assert_array_equal(chosen.sum(axis=-1), 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_returns_are_the_recursion_of_their_definition(seed: int):
    draws = np.random.default_rng(seed)
    rewards, values = draws.normal(size=(2, 9, 4)).astype(np.float32)
    live = 0.9 * (draws.random((9, 4)) > 0.2).astype(np.float32)
    goes_on = (draws.random((9, 4)) > 0.3).astype(np.float32)
    expected = np.zeros((9, 4), np.float32)
    expected[-1] = values[-1]
    for t in reversed(range(8)):
        mix = 0.95 * goes_on[t + 1]
        ahead = (1 - mix) * values[t + 1] + mix * expected[t + 1]
        expected[t] = rewards[t + 1] + live[t + 1] * ahead
    found = lambda_returns(
        jnp.asarray(rewards), jnp.asarray(live), jnp.asarray(goes_on), jnp.asarray(values), 0.95
    )
    np.testing.assert_allclose(found, expected[:-1], rtol=1e-5)


def test_the_range_of_returns_moves_slowly_and_enlarges_nothing():
    before = ReturnRange.zero()
    after = before.moved(jnp.linspace(-10.0, 10.0, 101), 0.01)
    assert float(after.low) == pytest.approx(-0.09)
    assert float(after.high) == pytest.approx(0.09)
    assert float(after.scale) == 1.0


def test_only_without_its_momentum_may_laprop_be_young_again():
    """Why a transfer leaves `Registered.short_moments` behind, and keeps the others."""
    rule, one = LaProp(learning_rate=1.0, warmup=0, clip=1e9), {"a": jnp.ones(3)}
    young = jnp.zeros(1, jnp.int32)

    def first_step(squares: dict, momentum: dict) -> float:
        moved, _ = rule.update(one, one, LaPropState(young, squares, momentum))
        return float(jnp.abs(moved["a"] - one["a"]).max())

    zero = {"a": jnp.zeros(3)}
    assert short_moments("dreamer") == ("optimizer/momentum/",)
    assert first_step(one, zero) < 0.1 < first_step(zero, zero) <= 1.0 + 1e-3
    assert first_step(one, one) > 8.0


def test_laprop_is_that_of_numpy():
    rule = LaProp(learning_rate=0.1, warmup=4, clip=0.3)
    draws = np.random.default_rng(0)
    weight = draws.normal(size=(3, 4)).astype(np.float32)
    small = np.full(2, 1e-5, np.float32)
    params = {"a": jnp.asarray(weight), "b": jnp.asarray(small)}
    state = rule.init(params)
    expected = {"a": weight.astype(np.float64), "b": small.astype(np.float64)}
    squares = {name: np.zeros_like(leaf) for name, leaf in expected.items()}
    momentum = {name: np.zeros_like(leaf) for name, leaf in expected.items()}
    for step in range(10):
        slopes = {
            n: 10.0 ** draws.integers(-3, 3) * draws.normal(size=v.shape)
            for n, v in expected.items()
        }
        given = {name: jnp.asarray(slope, jnp.float32) for name, slope in slopes.items()}
        params, state = rule.update(params, given, state)
        for name, slope in slopes.items():
            most = 0.3 * max(1e-3, float(np.linalg.norm(expected[name])))
            slope = slope / max(1.0, float(np.linalg.norm(slope)) / most)
            squares[name] = 0.999 * squares[name] + 0.001 * slope**2
            scaled = slope / np.sqrt(squares[name] / (1 - 0.999 ** (step + 1)))
            momentum[name] = 0.9 * momentum[name] + 0.1 * scaled
            rate = 0.1 * min(step / 4, 1.0)
            expected[name] = expected[name] - rate * momentum[name] / (1 - 0.9 ** (step + 1))
    for name, leaf in expected.items():
        np.testing.assert_allclose(params[name], leaf, rtol=2e-3, atol=1e-5)


def test_blocks_are_drawn_as_one_whole_layer():
    kernel = init_linear(jax.random.key(0), 512, 512, blocks=8)["kernel"]
    assert kernel.shape == (8, 64, 64)
    assert float(kernel.std()) == pytest.approx(512**-0.5, rel=0.03)
    x = jax.random.normal(jax.random.key(1), (3, 512))
    whole = jax.scipy.linalg.block_diag(*kernel)
    found = linear({"kernel": kernel, "bias": jnp.zeros(512)}, x)
    np.testing.assert_allclose(found, x @ whole, atol=1e-4)


# --- the replay -----------------------------------------------------------------------------------


def records(first: int, count: int, environments: int = 2) -> Record:
    """Steps whose reward is their number, in hundreds of the environment."""
    number = first + jnp.arange(count)[:, None] + 100 * jnp.arange(environments)
    none = jnp.zeros((count, environments), bool)
    return Record(
        observation=number[..., None].astype(jnp.float32),
        action=number.astype(jnp.int32),
        reward=number.astype(jnp.float32),
        is_first=none,
        is_last=none,
        is_terminal=none,
        deter=jnp.zeros((count, environments, 3), jnp.uint16),
        stoch=jnp.zeros((count, environments, 2), jnp.uint8),
    )


def filled(steps: int, rows: int = 12, mixture: Mixture = UNIFORM) -> Replay:
    replay = Replay.empty(jax.tree.map(lambda leaf: leaf[0], records(0, 1)), rows, mixture)
    for first in range(0, steps, 4):
        replay = replay.with_records(records(first, 4))
    return replay


def drawn(replay: Replay, seed: int, count: int = 4, length: int = 3) -> tuple:
    place, replay = replay.draw(jax.random.key(seed), count, length)
    return np.asarray(replay.read(place).reward), place, replay


def test_what_is_read_is_one_piece_of_one_environment():
    replay = filled(40)
    seen = set()
    for seed in range(30):
        rewards, _, replay = drawn(replay, seed)
        assert (np.diff(rewards, axis=0) == 1).all()
        seen |= set(rewards[0].astype(int).tolist())
    # 12 rows are kept of 40 steps: pieces of three begin at ten of them.
    assert seen == {100 * e + start for e in (0, 1) for start in range(28, 38)}


def test_new_pieces_are_served_once_and_first():
    replay = filled(8)
    rewards, _, replay = drawn(replay, 0)
    assert sorted(rewards[0].tolist()) == [0.0, 3.0, 100.0, 103.0]
    assert int(replay.served) == 4
    replay = replay.with_records(records(8, 4))
    rewards, _, replay = drawn(replay, 1)
    assert {6.0, 9.0, 106.0, 109.0} == set(rewards[0].tolist())
    assert int(drawn(replay, 2)[2].served) == 8


def test_pieces_that_are_gone_are_not_served():
    rewards, _, replay = drawn(filled(40), 0, count=6)
    assert rewards.min() >= 28
    assert int(replay.served) > 6


def test_there_are_as_many_starts_as_whole_pieces():
    assert int(filled(0).starts(3)) == 0
    assert int(filled(4).starts(3)) == 2 * 2
    assert int(filled(40).starts(3)) == 2 * 10


def test_newer_states_come_back_where_they_belong():
    replay = filled(40)
    place = Place(jnp.array([[11, 4], [0, 5], [1, 6]]), jnp.array([0, 1]))
    chosen = jax.nn.one_hot(jnp.ones((3, 2, 2), jnp.int32), 3)
    deter = jnp.arange(1.0, 19.0).reshape((3, 2, 3))
    moved = replay.with_states(place, State(deter, chosen))
    after = moved.read(place)
    back = unpacked(after.deter, after.stoch, 3, jnp.float32)
    np.testing.assert_array_equal(back.deter, deter)
    np.testing.assert_array_equal(back.stoch, chosen)
    assert int((moved.records.stoch == 1).sum()) == 3 * 2 * 2


def test_an_abandoned_episode_ends_where_the_next_begins():
    replay = filled(8, rows=8)
    begun = replay.records.is_first.at[4].set(True)
    replay = dataclasses.replace(replay, records=replay.records._replace(is_first=begun))
    place, _ = replay.draw(jax.random.key(0), 2, 8)
    ends = np.asarray(replay.read(place).is_last)
    assert ends[3].all() and ends.sum() == 2


def test_newer_ones_are_chosen_as_their_age_says():
    replay = filled(120, rows=100, mixture=Mixture(recency=1.0))
    _, _, replay = drawn(replay, 0, count=100)  # what is new is served, and gone
    first = drawn(replay, 1, count=20_000)[0][0]
    found = np.bincount((97 - (first - 20) % 100).astype(int))
    expected = np.diff(np.log(np.arange(1, 100))) / np.log(99)
    np.testing.assert_allclose(found[:20] / len(first), expected[:20], atol=0.01)


def test_those_with_much_to_learn_are_chosen_most():
    replay = filled(120, rows=100, mixture=Mixture(priority=1.0, exponent=1.0))
    rows = jnp.arange(100)[:, None].repeat(2, 1)
    # Steps 100 to 119 lie in rows 0 to 19. Much was lost on 99 and 100 of the second environment.
    losses = jnp.full((100, 2), 0.01).at[99, 1].set(10.0).at[0, 1].set(10.0)
    state = State(jnp.zeros((100, 2, 3)), jnp.ones((100, 2, 2, 3)))
    replay = replay.with_states(Place(rows, jnp.arange(2)), state, losses)
    _, _, replay = drawn(replay, 0, count=100)
    first = drawn(replay, 1, count=20_000)[0][0].astype(int)
    assert float(replay.most) == 10.0
    shares = {start: np.mean(first == start) for start in range(196, 203)}
    # Sequences of three steps from there on hold 0, 1, 2, 2, 1 and 0 of them.
    expected = dict(zip(range(196, 203), (0, 1, 2, 2, 1, 0, 0), strict=True))
    for start, number in expected.items():
        assert shares[start] == pytest.approx(number * 10 / (6 * 10 + 5.8), abs=0.02)


def test_a_state_survives_packing():
    stoch = jax.nn.one_hot(jnp.array([[0, 2], [1, 1]]), 3)
    state = State(jnp.array([[0.5, -2.0], [1.0, 0.25]]), stoch)
    back = unpacked(*packed(state), 3, jnp.float32)
    np.testing.assert_array_equal(back.deter, state.deter)
    np.testing.assert_array_equal(back.stoch, state.stoch)
    nothing = State(jnp.zeros((1, 2)), jnp.zeros((1, 2, 3)))
    np.testing.assert_array_equal(unpacked(*packed(nothing), 3, jnp.float32).stoch, 0)


def test_features_disagree_where_they_say_other_things_or_the_same_twice():
    draw = np.random.default_rng(0)
    tokens = jnp.asarray(draw.normal(size=(64, 32, 4)), jnp.float32)
    same = disagreement(3.0 * tokens + 1.0, tokens, 0.5)
    assert float(same) < 0.02
    assert float(disagreement(-tokens, tokens, 0.5)) == pytest.approx(4 * 2**2, rel=0.01)
    # All features are the first one: three are wrong, and of each column three say the same.
    first = jnp.broadcast_to(tokens[..., :1], tokens.shape)
    assert float(disagreement(first, tokens, 0.5)) == pytest.approx(3 + 0.5 * 3, rel=0.05)
    slope = jax.grad(lambda tokens: disagreement(first, tokens, 0.5))(tokens)
    assert not np.asarray(slope).any(), "the encoder does not move towards what is predicted"


def test_one_block_is_a_whole_layer():
    """Two blocks of which each has its own weights, beside one with zeros between them."""
    key = jax.random.key(0)
    two, one = (Dynamics(4, 3, blocks, jnp.float32) for blocks in (2, 1))
    params = two.init(key, drawn=2, actions=1)
    whole = {**params, "mix": dict(params["mix"]), "gates": dict(params["gates"])}
    mix, gates = params["mix"]["kernel"], params["gates"]["kernel"]
    zeros = jnp.zeros((2, 2))
    own = jnp.block([[mix[0, :2], zeros], [zeros, mix[1, :2]]])
    whole["mix"]["kernel"] = jnp.concatenate([own, jnp.concatenate(mix[:, 2:], axis=-1)])
    # Of all blocks one after the other: reset, candidate and update.
    of_gates = [jnp.split(kernel, 3, axis=-1) for kernel in gates]
    whole["gates"]["kernel"] = jnp.concatenate(
        [jnp.block([[a, zeros], [zeros, b]]) for a, b in zip(*of_gates, strict=True)], axis=-1
    )
    draw = np.random.default_rng(0)
    deter, stoch = (jnp.asarray(draw.normal(size=(5, n)), jnp.float32) for n in (4, 2))
    found = []
    for dynamics, weights in ((two, params), (one, whole)):
        kernels = dynamics.kernels(weights)
        added = dynamics.of_actions(weights, kernels, jnp.ones((5, 1)))
        parts = dynamics.following(weights, kernels, dynamics.apart(deter), stoch, added)
        found.append(np.asarray(dynamics.joined(parts)))
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 5e-2)])
def test_weights_of_a_scan_have_the_gradient_of_all_moments(dtype: str, tolerance: float):
    def step(weights: tuple, before: jax.Array, now: tuple) -> tuple:
        kernel, bias = weights
        seen, is_first = now
        after = jnp.tanh(jnp.where(is_first, 0.0, before) @ kernel + bias + seen)
        return after, jnp.square(after) @ kernel

    def loss(ours: bool, weights: tuple, carry: jax.Array, seen: jax.Array) -> jax.Array:
        moments = (seen, jnp.array([False, False, True, False])[:, None, None])
        if ours:
            last, given = scan(step, weights, carry, moments, axes=(0,))
        else:
            last, given = jax.lax.scan(lambda *rest: step(weights, *rest), carry, moments)
        assert last.dtype == given.dtype == dtype
        return last.sum() + (given * jnp.arange(4.0)[:, None, None]).sum()

    draw = np.random.default_rng(0)
    kernel, bias, carry, seen = (
        jnp.asarray(draw.normal(size=shape), dtype) for shape in ((3, 3), (3,), (2, 3), (4, 2, 3))
    )
    found, expected = (
        jax.grad(loss, argnums=(1, 2, 3))(ours, (kernel, bias), carry, seen)
        for ours in (True, False)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.float32(a), np.float32(b), rtol=tolerance, atol=tolerance
        ),
        found,
        expected,
    )
