"""Families of distributions against sums, integrals and closed forms in numpy, and by counting."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common.errors import UnknownNameError, UsageError
from heredity.networks import DistributionSpec, build_distribution, default_kind
from heredity.networks.distributions import (
    BoundedNormal,
    Categorical,
    MultiCategorical,
    Normal,
    SquashedNormal,
    TanhNormal,
)
from heredity.spaces import Box, Dict, Discrete, MultiDiscrete, Space

pytestmark = pytest.mark.usefixtures("strict_numerics")

CHOICES = MultiDiscrete((2, 3, 4))
ACTIONS = Box((2,), (-1.0, -0.5), (3.0, 0.5))
FAMILIES = {
    "categorical": Categorical(Discrete(5)),
    "multi_categorical": MultiCategorical(CHOICES),
    "normal": Normal(ACTIONS),
    "tanh_normal": TanhNormal(ACTIONS),
    "squashed_normal": SquashedNormal(ACTIONS),
    "bounded_normal": BoundedNormal(ACTIONS),
}


def parameters_of(kind: str, batch: tuple[int, ...] = (), seed: int = 0) -> jax.Array:
    """Random parameters ``(*batch, P)``; standard deviations between about 0.3 and 1.5."""
    draw = np.random.default_rng(seed)
    family = FAMILIES[kind]
    if kind in ("categorical", "multi_categorical"):
        return jnp.asarray(draw.normal(0, 1.5, (*batch, family.output_size)).astype(np.float32))
    mean = draw.normal(0, 0.8, (*batch, 2))
    spread = draw.uniform(-1.0, 0.4, (*batch, 2))
    return jnp.asarray(np.concatenate([mean, spread], axis=-1).astype(np.float32))


def normal_parts(kind: str, parameters: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation in float64, from their definition."""
    mean, rest = np.split(np.asarray(parameters, np.float64), 2, axis=-1)
    if kind == "bounded_normal":
        return np.tanh(mean), 0.1 + 0.9 / (1 + np.exp(-(rest + 2)))
    return mean, np.log1p(np.exp(rest)) + 0.001 if kind == "tanh_normal" else np.exp(rest)


def probabilities(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


# --- discrete -----------------------------------------------------------------------------------


def test_categorical_is_the_softmax_of_its_logits():
    family, logits = FAMILIES["categorical"], parameters_of("categorical")
    found = np.exp(family.log_prob(jnp.tile(logits, (5, 1)), jnp.arange(5)))
    expected = probabilities(np.asarray(logits, np.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-6)
    assert family.mode(logits) == expected.argmax()


def test_multi_categorical_sums_to_one_over_all_combinations():
    family, logits = FAMILIES["multi_categorical"], parameters_of("multi_categorical")
    every = np.stack(np.meshgrid(*map(np.arange, CHOICES.nvec), indexing="ij"), -1).reshape(-1, 3)
    repeated = jnp.tile(logits, (len(every), 1))
    found = np.exp(family.log_prob(repeated, jnp.asarray(every, jnp.int32)))
    parts = np.split(np.asarray(logits, np.float64), [2, 5])
    expected = [
        np.prod([probabilities(p)[i] for p, i in zip(parts, e, strict=True)]) for e in every
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-5)
    np.testing.assert_array_equal(family.mode(logits), [p.argmax() for p in parts])


@pytest.mark.parametrize("kind", ["categorical", "multi_categorical"])
def test_discrete_entropy_and_divergence_by_summing(kind: str, key: jax.Array):
    family = FAMILIES[kind]
    old, new = parameters_of(kind), parameters_of(kind, seed=1)
    ends = [2, 5] if kind == "multi_categorical" else []
    entropy = divergence = 0.0
    for p, q in zip(np.split(np.asarray(old), ends), np.split(np.asarray(new), ends), strict=True):
        p, q = probabilities(p.astype(np.float64)), probabilities(q.astype(np.float64))
        entropy -= (p * np.log(p)).sum()
        divergence += (p * np.log(p / q)).sum()
    np.testing.assert_allclose(family.entropy(old, key), entropy, rtol=1e-5)
    np.testing.assert_allclose(family.kl(old, new), divergence, rtol=1e-5)


def test_huge_logits_overflow_nowhere(key: jax.Array):
    family = FAMILIES["categorical"]
    logits = jnp.array([1e4, -1e4, 0.0, 0.0, -1e4])
    assert family.log_prob(logits, jnp.int32(0)) == 0
    assert family.log_prob(logits, jnp.int32(1)) == -2e4
    assert family.entropy(logits, key) == 0
    gradient = jax.grad(lambda lg: family.entropy(lg, key) + family.kl(lg, lg))(logits)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("kind", ["categorical", "multi_categorical"])
def test_discrete_draws_come_as_often_as_they_should(kind: str, key: jax.Array):
    family, logits, size = FAMILIES[kind], parameters_of(kind), 40_000
    draws = np.asarray(family.sample(jnp.tile(logits, (size, 1)), key)).reshape(size, -1)
    ends = [2, 5] if kind == "multi_categorical" else []
    for column, part in zip(draws.T, np.split(np.asarray(logits), ends), strict=True):
        expected = probabilities(part.astype(np.float64))
        found = np.bincount(column, minlength=len(part)) / size
        # Five standard errors of the most uncertain frequency.
        assert np.abs(found - expected).max() < 5 * 0.5 / np.sqrt(size)
    if draws.shape[1] > 1:
        assert np.abs(np.corrcoef(draws.T) - np.eye(3)).max() < 5 / np.sqrt(size)


def test_what_the_environment_receives_starts_where_the_space_does(key: jax.Array):
    family = Categorical(Discrete(3, start=-1))
    raw = family.sample(jnp.zeros((200, 3)), key)
    assert set(np.asarray(raw).tolist()) == {0, 1, 2}
    assert set(np.asarray(family.to_action(raw)).tolist()) == {-1, 0, 1}


# --- continuous ---------------------------------------------------------------------------------


def grid(parameters: jax.Array, kind: str, points: int = 801) -> tuple[np.ndarray, float]:
    """Points of the plane of raw actions out to nine deviations, and the area of each."""
    mean, deviation = normal_parts(kind, parameters)
    axes = [np.linspace(m - 9 * d, m + 9 * d, points) for m, d in zip(mean, deviation, strict=True)]
    steps = [axis[1] - axis[0] for axis in axes]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2), float(np.prod(steps))


def log_density(kind: str, parameters: jax.Array, raw: np.ndarray) -> np.ndarray:
    repeated = jnp.broadcast_to(parameters, (len(raw), *parameters.shape))
    found = FAMILIES[kind].log_prob(repeated, jnp.asarray(raw.astype(np.float32)))
    return np.asarray(found, np.float64)


@pytest.mark.parametrize("kind", ["normal", "bounded_normal", "tanh_normal", "squashed_normal"])
def test_densities_integrate_to_one_and_give_entropy_and_divergence(kind: str):
    """By summing over a grid. The tanh-normal's density is that of ``tanh(raw)``."""
    old, new = parameters_of(kind), parameters_of(kind, seed=1)
    raw, area = grid(old, kind)
    logs, others = log_density(kind, old, raw), log_density(kind, new, raw)
    log_stretch = np.zeros(len(raw))
    if "tanh" in kind or kind == "squashed_normal":
        # log(1 - tanh^2), written with exponentials of negative numbers only
        size = np.abs(raw)
        log_stretch = (np.log(4) - 2 * size - 2 * np.log1p(np.exp(-2 * size))).sum(-1)
    weight = np.exp(logs + log_stretch) * area
    np.testing.assert_allclose(weight.sum(), 1, rtol=1e-4)
    divergence = (weight * (logs - others)).sum()
    np.testing.assert_allclose(FAMILIES[kind].kl(old, new), divergence, rtol=1e-3)
    entropy = -(weight * logs).sum()
    # A closed form for the normal; the tanh-normal's is right on average over its draws.
    closed = kind in ("normal", "bounded_normal")
    size = 1 if closed else 20_000
    found = FAMILIES[kind].entropy(jnp.tile(old, (size, 1)), jax.random.key(1))
    error = 1e-4 if closed else 5 * float(np.std(found)) / np.sqrt(size)
    assert abs(float(found.mean()) - entropy) < error


@pytest.mark.parametrize("kind", ["normal", "bounded_normal", "tanh_normal", "squashed_normal"])
def test_divergence_in_closed_form(kind: str):
    old, new = parameters_of(kind, (50,)), parameters_of(kind, (50,), seed=1)
    (m0, s0), (m1, s1) = normal_parts(kind, old), normal_parts(kind, new)
    expected = (np.log(s1 / s0) + (s0**2 + (m0 - m1) ** 2) / (2 * s1**2) - 0.5).sum(-1)
    np.testing.assert_allclose(FAMILIES[kind].kl(old, new), expected, rtol=1e-4)
    assert np.abs(FAMILIES[kind].kl(old, old)).max() < 1e-6


@pytest.mark.parametrize("kind", ["normal", "bounded_normal", "tanh_normal", "squashed_normal"])
def test_draws_have_the_mean_and_deviation_of_the_parameters(kind: str, key: jax.Array):
    size, parameters = 40_000, parameters_of(kind)
    draws = np.asarray(FAMILIES[kind].sample(jnp.tile(parameters, (size, 1)), key))
    mean, deviation = normal_parts(kind, parameters)
    assert (np.abs(draws.mean(0) - mean) < 5 * deviation / np.sqrt(size)).all()
    np.testing.assert_allclose(draws.std(0), deviation, rtol=0.02)
    assert abs(np.corrcoef(draws.T)[0, 1]) < 5 / np.sqrt(size)
    np.testing.assert_allclose(FAMILIES[kind].mode(parameters), mean, rtol=1e-6)


def test_normal_actions_are_clipped_and_tanh_normal_ones_stretched():
    raw = jnp.array([[0.25, 0.25], [50.0, 50.0], [-50.0, -50.0]])
    clipped = FAMILIES["normal"].to_action(raw)
    np.testing.assert_array_equal(clipped, [[0.25, 0.25], [3.0, 0.5], [-1.0, -0.5]])
    squashed = FAMILIES["tanh_normal"].to_action(raw)
    middle = [1 + 2 * np.tanh(0.25), 0.5 * np.tanh(0.25)]
    np.testing.assert_allclose(squashed, [middle, [3.0, 0.5], [-1.0, -0.5]], rtol=1e-6)


def test_bounded_normal_actions_are_cut_and_stretched():
    raw = jnp.array([[0.5, 0.5], [7.0, 7.0], [-7.0, -7.0]])
    found = FAMILIES["bounded_normal"].to_action(raw)
    np.testing.assert_allclose(found, [[2.0, 0.25], [3.0, 0.5], [-1.0, -0.5]])
    unbounded = BoundedNormal(Box((2,))).to_action(raw)
    np.testing.assert_array_equal(unbounded, raw)


def test_mixed_choices_keep_a_chance():
    family = Categorical(Discrete(4), uniform_mix=0.2)
    mixed = family.parameters({}, jnp.array([50.0, 0.0, 0.0, 0.0]))
    chances = np.exp(family.log_prob(jnp.tile(mixed, (4, 1)), jnp.arange(4)))
    np.testing.assert_allclose(chances, [0.85, 0.05, 0.05, 0.05], rtol=1e-5)


@pytest.mark.parametrize("bounds", [(-3.5896065, 4.1676354), (8.282644, 63.131329), (-1.0, 1.0)])
def test_tanh_normal_actions_never_leave_their_bounds(bounds: tuple[float, float]):
    """An environment that checks refuses an action that rounding has put one digit outside."""
    space = Box((1,), *bounds)
    found = np.asarray(TanhNormal(space).to_action(jnp.linspace(-30, 30, 4001)[:, None]))
    assert found.max() == np.float32(space.high) and found.min() == np.float32(space.low)


def test_tanh_normal_densities_keep_their_digits_far_out():
    """At |raw| = 15 the naive ``log(1 - tanh^2)`` is minus infinity in float32."""
    parameters = jnp.array([0.0, 0.0, 3.0, 3.0])
    raw = np.array([[15.0, -15.0], [40.0, 3.0]])
    found = log_density("tanh_normal", parameters, raw)
    deviation = np.log1p(np.exp(3.0)) + 0.001
    logs = -0.5 * (raw / deviation) ** 2 - np.log(deviation) - 0.5 * np.log(2 * np.pi)
    expected = (logs - 2 * (np.log(2) - np.abs(raw) - np.log1p(np.exp(-2 * np.abs(raw))))).sum(-1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    gradient = jax.grad(lambda r: FAMILIES["tanh_normal"].log_prob(parameters, r))
    assert np.isfinite(gradient(jnp.array([40.0, -40.0]))).all()


def test_normal_starts_with_the_deviation_it_was_given():
    family = Normal(ACTIONS, initial_std=0.25)
    free = family.init()
    parameters = family.parameters(free, jnp.ones((4, 5, 2)))
    assert parameters.shape == (4, 5, 4)
    np.testing.assert_allclose(normal_parts("normal", parameters)[1], 0.25, rtol=1e-6)
    assert (
        build_distribution(DistributionSpec("normal", 0.25), ACTIONS).init()["log_std"][0]
        == (free["log_std"][0])
    )


def test_tanh_normal_scales_never_reach_zero():
    family = FAMILIES["tanh_normal"]
    narrow = jnp.array([0.0, 0.0, -100.0, -100.0])
    logs = family.log_prob(narrow, jnp.zeros(2))
    np.testing.assert_allclose(logs, 2 * -np.log(0.001 * np.sqrt(2 * np.pi)), rtol=1e-4)
    assert np.isfinite(jax.grad(lambda p: family.kl(p, narrow))(narrow)).all()


# --- all of them --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(FAMILIES))
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_batch_axes_are_kept(kind: str, batch: tuple[int, ...], key: jax.Array):
    family = FAMILIES[kind]

    def everything(parameters: jax.Array) -> Any:
        raw = family.sample(parameters, key)
        mode = family.mode(parameters)
        logs = (
            family.log_prob(parameters, raw),
            family.entropy(parameters, key),
            family.kl(parameters, parameters),
        )
        return family.to_action(raw), family.to_action(mode), logs

    drawn, mode, logs = jax.eval_shape(everything, parameters_of(kind, batch))
    event = {"categorical": (), "multi_categorical": (3,)}.get(kind, (2,))
    for action in (drawn, mode):
        assert action.shape == (*batch, *event)
        assert action.dtype == (jnp.int32 if "categorical" in kind else jnp.float32)
    assert all(log.shape == batch and log.dtype == jnp.float32 for log in logs)


@pytest.mark.parametrize(
    ("space", "kind"),
    [(Discrete(2), "categorical"), (CHOICES, "multi_categorical"), (ACTIONS, "normal")],
)
def test_default_kinds_are_built(space: Space, kind: str):
    assert default_kind(space) == kind
    family = build_distribution(DistributionSpec(kind), space)
    assert type(family) is type(FAMILIES[kind])


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="Box, Discrete or MultiDiscrete"):
        default_kind(Dict({"a": ACTIONS}))
    with pytest.raises(UsageError, match="does not fit Discrete"):
        build_distribution(DistributionSpec("normal"), Discrete(2))
    with pytest.raises(UnknownNameError, match="tanh_normal"):
        build_distribution(DistributionSpec("tanh_normall"), ACTIONS)
    with pytest.raises(UsageError, match="finite bounds, use normal"):
        TanhNormal(Box((2,)))
    with pytest.raises(UsageError, match="one axis"):
        Normal(Box((2, 2), -1.0, 1.0))
    with pytest.raises(UsageError, match="float Box"):
        Normal(Box((2,), 0, 4, dtype="int32"))


# --- in numpy -------------------------------------------------------------------------------------

BATCH = 200_000
IN_NUMPY = {
    "categorical": (Discrete(3, start=2), DistributionSpec("categorical")),
    "multi_categorical": (MultiDiscrete((2, 3)), DistributionSpec("multi_categorical")),
    "normal": (Box((2,), -1.0, 2.0), DistributionSpec("normal", 0.7)),
    "tanh_normal": (Box((2,), -1.0, 2.0), DistributionSpec("tanh_normal")),
    "squashed_normal": (Box((2,), -1.0, 2.0), DistributionSpec("squashed_normal")),
    "bounded_normal": (Box((2,), -1.0, 2.0), DistributionSpec("bounded_normal")),
    "mixed": (Discrete(3), DistributionSpec("categorical", uniform_mix=0.2)),
    "mixed_multi": (MultiDiscrete((2, 3)), DistributionSpec("multi_categorical", uniform_mix=0.2)),
}


@pytest.mark.parametrize("kind", IN_NUMPY)
def test_draws_in_numpy_are_distributed_as_the_compiled_ones(kind: str, key: jax.Array):
    space, spec = IN_NUMPY[kind]
    family = build_distribution(spec, space)
    outputs = np.random.default_rng(0).normal(size=family.output_size).astype(np.float32)
    free = jax.tree.map(np.asarray, family.init())
    one = family.parameters(free, outputs)
    parameters = jnp.broadcast_to(one, (BATCH, *one.shape))
    compiled = np.asarray(family.sample(parameters, key))
    noise = np.asarray(family.noise(jax.random.key(1), (BATCH,)))
    drawn = family.draw_in_numpy(free, np.broadcast_to(outputs, (BATCH, len(outputs))), noise)
    assert drawn.shape == compiled.shape and drawn.dtype == compiled.dtype
    # The probability (density) of both on average, which knows every part of the distribution.
    logs = [np.asarray(family.log_prob(parameters, raw)) for raw in (drawn, compiled)]
    np.testing.assert_allclose(logs[0].mean(), logs[1].mean(), atol=0.01)
    np.testing.assert_allclose(drawn.mean(axis=0), compiled.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(
        family.to_action_in_numpy(drawn), family.to_action(drawn), rtol=1e-5, atol=1e-6
    )
