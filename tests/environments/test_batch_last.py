"""`vmap_last` gives what `jax.vmap` gives, operation by operation and for whole environments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from heredity.common.seeds import AXIS, any_seed
from heredity.environments import JaxEnvironment, batch_last, make, wrap
from heredity.environments.batch_last import vmap_last, without_rule
from heredity.environments.probes import ObservationActionReward
from heredity.spaces import Box

B = 5


def numbers(*shape, seed=0):
    """Of a batch: nothing in them is symmetrical or zero."""
    return jnp.asarray(np.random.default_rng(seed).uniform(0.2, 0.9, (B, *shape)), jnp.float32)


def whole(*shape, below=3):
    return jnp.asarray(np.random.default_rng(1).integers(0, below, (B, *shape)), jnp.int32)


def keys():
    return jax.random.split(jax.random.key(3), B)


def equal(found, expected, rtol=1e-6, atol=1e-6):
    """Shapes, types and numbers agree."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


SHARED = jnp.arange(12, dtype=jnp.float32).reshape(3, 4) / 10
MATRIX = jnp.arange(60, dtype=jnp.float32).reshape(20, 3) / 60


def collatz(x):
    """As many turns as an example needs, which is its own number."""
    return lax.while_loop(lambda s: s[0] < 2.0, lambda s: (s[0] * 1.5, s[1] + 1), (x, 0))


def counted(x):
    """A counter that all examples share picks rows."""
    return lax.fori_loop(0, 3, lambda i, total: total + SHARED[i] * x[i], jnp.zeros(4))


def shared_counter_in_front(x):
    state = lax.while_loop(lambda s: s[0] < 4, lambda s: (s[0] + 1, s[1] * x, s[2] + 2), (0, x, 1))
    return state


def slowly_reached(x):
    """What the batch reaches in this loop takes three turns to get through the carry."""

    def turn(carry, row):
        a, b, c = carry
        return (x.sum(), a, b), (c, row, row * x[0])

    return lax.scan(turn, (0.0, 1.0, 2.0), SHARED, reverse=True)


@jax.custom_jvp
def own_derivative(x):
    return jnp.sin(x) * 2


own_derivative.defjvp(lambda p, t: (own_derivative(p[0]), t[0]))


@jax.custom_vjp
def own_gradient(x):
    return jnp.cos(x) * 2


own_gradient.defvjp(lambda x: (own_gradient(x), None), lambda _, g: (g,))

CASES = {
    # element by element, with scalars, literals and what all examples share
    "elementwise": (lambda x: jnp.exp(x) * 2.0 + jnp.arange(4) - lax.rsqrt(x) ** 3, numbers(3, 4)),
    "scalar with array": (lambda x, y: x * y + x, numbers(), numbers(3, seed=1)),
    "ones in the shape": (lambda x, y: lax.mul(x, y), numbers(3, 1), numbers(3, 1, seed=1)),
    "repeated ones": (lambda x, y: x[:, None] * y, numbers(3), numbers(3, 4, seed=1)),
    "select": (lambda x: jnp.where(x > 0.5, x, SHARED), numbers(3, 4)),
    "select by one": (lambda x, y: jnp.where(y > 0.5, x, -x), numbers(3, 4), numbers(seed=1)),
    "shared condition": (lambda x: jnp.where(SHARED[0] > 0.1, x, 0.0), numbers(3, 4)),
    "clamp": (lambda x, y: lax.clamp(y, x, 0.8), numbers(3), numbers(seed=1)),
    "types": (
        lambda x: (x.astype(jnp.int32), x > 0.5, (x > 0.5) & True, x.astype(bool)),
        numbers(3),
    ),
    "bits": (lambda i: (i << 2) ^ (i | 1) & ~i, whole(4, below=90)),
    "wide": (lambda x: (x * 2).astype(jnp.bfloat16) * jnp.bfloat16(1.5), numbers(4)),
    # along axes
    "few summed": (
        lambda x: (x.sum(), x.sum(0), x.sum((0, 1)), jnp.linalg.norm(x[0])),
        numbers(3, 4),
    ),
    "many summed": (lambda x: (x.sum(1), x.mean(), x[:, :0].sum(1)), numbers(2, 30)),
    "whole summed": (lambda i: (i.sum(0), (i > 1).sum(), (i > 1).any(0)), whole(3, 4)),
    "reduced": (
        lambda x: (x.max(0), x.min(-1), x.prod(1), jnp.argmax(x, 1), x.argmin()),
        numbers(3, 4),
    ),
    "cumulated": (lambda x: (jnp.cumsum(x, 1), lax.cummax(x, 0, reverse=True)), numbers(3, 4)),
    "sorted": (lambda x: (jnp.sort(x, 0), jnp.argsort(x, 1)), numbers(3, 4)),
    "joined": (lambda x, y: jnp.concatenate([x, SHARED, y[None]]), numbers(2, 4), numbers(4)),
    "stacked": (lambda x: jnp.stack([x, jnp.zeros(4), x * 2], 1), numbers(4)),
    "tiled": (lambda x: (jnp.tile(x, (2, 3)), jnp.repeat(x, 2, 0), jnp.unstack(x)), numbers(2, 3)),
    "split": (lambda x: jnp.split(x, 2, axis=1), numbers(3, 4)),
    "shapes": (lambda x: (x.reshape(2, 6), x.ravel(), x.T[None], x[::-1, 1::2]), numbers(3, 4)),
    "padded": (lambda x: jnp.pad(x, ((1, 0), (2, 3)), constant_values=7.0), numbers(3, 4)),
    "padded with its own": (lambda x, v: lax.pad(x, v, ((1, 2, 1),)), numbers(3), numbers()),
    "squeezed": (lambda x: jnp.broadcast_to(x[0, :, None], (2, 4, 6)).squeeze(), numbers(1, 4)),
    # indices: of the batch, shared, both
    "shared rows": (lambda x: x[jnp.array([2, 0, 2])], numbers(3, 4)),
    "its own rows": (lambda x, i: x[i], numbers(3, 4), whole(6)),
    "its own elements": (lambda x, i: x[i, i[::-1]], numbers(3, 4), whole(2)),
    "its own row": (lambda x, i: x[i], numbers(3, 4), whole()),
    "own rows of one table": (lambda i: SHARED[i, 1], whole(2, 2)),
    "past the end": (
        lambda x, i: x.at[i + 1].get(mode="fill", fill_value=9.0),
        numbers(3),
        whole(4),
    ),
    "along an axis": (lambda x, i: jnp.take_along_axis(x, i, 1), numbers(3, 4), whole(3, 2)),
    "vmapped gather": (lambda x, i: jax.vmap(lambda r, j: r[j])(x, i), numbers(3, 4), whole(3)),
    "dynamic slice": (lambda x: lax.dynamic_slice(x, (1, 2), (2, 2)), numbers(3, 4)),
    "own dynamic slice": (lambda x, i: lax.dynamic_slice(x, (i,), (2,)), numbers(4), whole()),
    "update slice": (lambda x: lax.dynamic_update_slice(SHARED, x, (1, 0)), numbers(2, 4)),
    "own update slice": (
        lambda x, i: lax.dynamic_update_slice(x, x[:1], (i,)),
        numbers(4),
        whole(),
    ),
    "set": (lambda x: x.at[1, 2:].set(0.0), numbers(3, 4)),
    "added at shared": (lambda x: x.at[jnp.array([0, 2, 0])].add(SHARED), numbers(3, 4)),
    "set at its own": (lambda x, i: x.at[i].set(5.0), numbers(3, 4), whole()),
    "added at its own": (lambda x, i: SHARED.at[i].add(x), numbers(6, 4), whole(6)),
    "largest at its own": (lambda x, i: jnp.zeros(3).at[i].max(x), numbers(6), whole(6)),
    "dropped past the end": (lambda x, i: x.at[i + 1].mul(3.0, mode="drop"), numbers(3), whole(4)),
    "vmapped scatter": (
        lambda x, i: jax.vmap(lambda r, j: r.at[j].add(1.0))(x, i),
        numbers(3, 4),
        whole(3, 2),
    ),
    # products of matrices
    "inner": (lambda x, y: x @ y, numbers(3), numbers(3, seed=1)),
    "small product": (lambda x, y: x @ y, numbers(2, 3), numbers(3, 4, seed=1)),
    "with a shared one": (lambda x: (SHARED @ x, x.T @ SHARED.T), numbers(4, 2)),
    "many small": (
        lambda x, y: jnp.einsum("nij,nkj->nki", x, y),
        numbers(6, 2, 3),
        numbers(6, 4, 3),
    ),
    "two axes": (lambda x, y: jnp.tensordot(x, y, 2), numbers(3, 2, 2), numbers(2, 2, 5)),
    "outer": (lambda x, y: jnp.outer(x, y), numbers(3), numbers(4)),
    "large shared left": (lambda x: MATRIX.T @ x, numbers(20, 2)),
    "large shared right": (lambda x: x @ MATRIX, numbers(2, 4, 20)),
    "many large shared": (
        lambda x: jnp.einsum("nij,njk->nik", x, jnp.stack([MATRIX, MATRIX * 2])),
        numbers(2, 4, 20),
    ),
    "large": (lambda x, y: x @ y, numbers(4, 20), numbers(20, 3, seed=1)),
    "middling": (lambda x, y: x @ y, numbers(4, 12), numbers(12, 3, seed=1)),
    "large with vectors": (
        lambda x, y: (x @ y, y @ x.T, y @ y),
        numbers(4, 20),
        numbers(20, seed=1),
    ),
    "whole product": (lambda i: i @ i.T, whole(3, 3)),
    "mixed product": (
        lambda x, i: lax.dot(x, i, preferred_element_type=jnp.float32),
        numbers(3),
        whole(3),
    ),
    "half product": (lambda x: x.astype(jnp.bfloat16) @ SHARED.astype(jnp.bfloat16), numbers(2, 3)),
    "no terms": (lambda x: x[:, :0] @ x[:0], numbers(3, 3)),
    # control flow
    "while, apart": (collatz, numbers()),
    "while, together": (shared_counter_in_front, numbers(3)),
    "counted": (counted, numbers(3)),
    "scan": (slowly_reached, numbers(3)),
    "scan over its own": (lambda x: lax.scan(lambda c, r: (c + r.sum(), c), 0.0, x), numbers(6, 2)),
    "scan of nothing": (lambda x: lax.scan(lambda c, r: (c, r), x, x[:0]), numbers(3)),
    "loop in a loop": (lambda x: lax.map(lambda r: counted(r)[1], x), numbers(2, 3)),
    "cond, apart": (
        lambda x: lax.cond(x[0] > 0.5, jnp.sin, lambda y: y * SHARED[0, 0], x),
        numbers(2),
    ),
    "cond, together": (
        lambda x: lax.scan(
            lambda c, i: (lax.cond(i > 1, lambda y: (y * 2, 1), lambda y: (x, i), c)[0], i),
            x,
            jnp.arange(4),
        ),
        numbers(2),
    ),
    "switch, apart": (
        lambda x, i: lax.switch(i - 1, [jnp.sin, jnp.cos, lambda y: jnp.ones(3)], x),
        numbers(3),
        whole(below=5),
    ),
    "jitted": (jax.jit(lambda x: jax.jit(jnp.linalg.norm)(x) + own_derivative(x)), numbers(3)),
    "own gradient": (own_gradient, numbers(3)),
    "checkpointed": (jax.checkpoint(lambda x: jnp.sin(x) * SHARED[0, 1]), numbers(3)),
    "gradient inside": (lambda x: jax.grad(lambda y: (jnp.tanh(y) ** 2).sum())(x), numbers(3)),
    # random keys
    "keys": (lambda k: (jax.random.split(k, 3), jax.random.fold_in(k, 7), k), keys()),
    "drawn": (
        lambda k: (jax.random.normal(k, (2, 3)), jax.random.randint(k, (4,), 0, 9)),
        keys(),
    ),
    "keys chosen": (lambda k, x: jnp.where(x > 0.5, k, jax.random.key(1)), keys(), numbers()),
    "keys carried": (
        lambda k: lax.fori_loop(0, 3, lambda i, c: jax.random.fold_in(c, i), k),
        keys(),
    ),
    # what is left to jax.vmap
    "solved": (lambda x: jnp.linalg.solve(x + 3 * jnp.eye(3), x[0]), numbers(3, 3)),
    "cholesky": (lambda x: jnp.linalg.cholesky(x @ x.T + jnp.eye(3)), numbers(3, 3)),
    "transform": (lambda x: jnp.fft.rfft(x).real, numbers(8)),
    "convolution": (lambda x: jnp.convolve(x, SHARED[0], "same"), numbers(9)),
    # results and arguments
    "not of the batch": (lambda x: {"one": 1, "many": SHARED, "same": x, "none": None}, numbers(2)),
    "empty": (lambda x: (x, jnp.sin(x), x.sum(), x.reshape(3, 0)), numbers(0, 3)),
    "trees": (lambda tree: {"sum": tree["a"] + tree["b"][0]}, {"a": numbers(2), "b": [numbers()]}),
}


@pytest.mark.parametrize("name", CASES)
def test_like_vmap(name):
    function, *arguments = CASES[name]
    found = jax.jit(vmap_last(function))(*arguments)
    equal(found, jax.jit(jax.vmap(function))(*arguments))


@pytest.mark.parametrize("size", [0, 1])
def test_batches_of_none_and_one(size):
    def function(x, i):
        return x[i] @ x.T, collatz(x[0, 0]), jnp.sort(x, 0).sum(1)

    arguments = numbers(3, 4)[:size], whole()[:size]
    equal(vmap_last(function)(*arguments), jax.vmap(function)(*arguments))


def test_a_vmap_around_it():
    def function(x, i):
        several = any_seed(x.sum() > 4.0)  # knows the axis of the vmap around it
        return collatz(x[0, 0]), x[i] @ x.T, jnp.where(several, x, 0.0)

    x = jnp.stack([numbers(3, 4), numbers(3, 4, seed=2)])
    i = jnp.stack([whole(), whole() * 0])

    def over_seeds(mapped):
        return jax.jit(jax.vmap(lambda x, i: mapped(function)(x, i), axis_name=AXIS))(x, i)

    equal(over_seeds(vmap_last), over_seeds(jax.vmap))


def test_nothing_of_the_batch_is_left_to_vmap_without_need():
    everything = {
        name: without_rule(function, *arguments)
        for name, (function, *arguments) in CASES.items()
        if name
        in ("its own rows", "added at its own", "scan", "while, apart", "small product", "keys")
    }
    assert everything.pop("keys") == {"random_split", "random_fold_in"}
    assert set().union(*everything.values()) == set()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (
            "brax/reacher",
            {
                "backend": "spring",
                "action_repeat": 2,
                "frame_stack": 2,
                "randomize": {"gear": (1, 2)},
            },
        ),
        ("gymnax/Pendulum-v1", {}),
    ],
)
def test_one_step_of_an_environment(name, options):
    pytest.importorskip(name.split("/")[0])
    env = make(name, **options)
    assert isinstance(env, JaxEnvironment) and isinstance(env.action_space, Box)
    states, _ = jax.eval_shape(jax.vmap(env.reset), keys())
    actions = numbers(*env.action_space.shape)
    if name.startswith("brax"):
        assert env.batches_last
        # All of positional and spring physics: nothing is moved about between the operations.
        assert without_rule(env.step, states, actions) <= {"random_fold_in", "random_split"}
    # Compiled fast, to run once.
    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    states, _ = jax.jit(jax.vmap(env.reset), compiler_options=quick)(keys())
    found = jax.jit(vmap_last(env.step), compiler_options=quick)(states, actions)
    expected = jax.jit(jax.vmap(env.step), compiler_options=quick)(states, actions)
    assert not np.allclose(found[1].observation[0], found[1].observation[1])
    # Physics takes differences of numbers of about 1.
    equal(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_who_steps_with_the_batch_last(monkeypatch, backend, last):
    used = []

    def remembered(function):
        used.append(function)
        return jax.vmap(function)

    monkeypatch.setattr(batch_last, "vmap_last", remembered)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    env = ObservationActionReward()
    env.batches_last = last
    outer = wrap(env, max_episode_steps=4, reward_scale=2.0)
    states, _ = jax.vmap(outer.reset)(keys())
    expected = jax.vmap(outer.step)(states, whole(below=2))
    equal(outer.step_batch(states, whole(below=2)), expected)
    assert used == ([outer.step] if last and backend == "cpu" else [])
