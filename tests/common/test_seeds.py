import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr

from heredity.common.seeds import AXIS, any_seed


def branching(x: jax.Array) -> jax.Array:
    return jax.lax.cond(any_seed(x > 0), lambda: jnp.where(x > 0, x, 0.0), lambda: 0.0 * x)


def primitives(jaxpr: ClosedJaxpr) -> list[str]:
    return [equation.primitive.name for equation in jaxpr.jaxpr.eqns]


def test_a_condition_that_seeds_share_stays_a_branch():
    values = jnp.array([-1.0, 2.0, -3.0])
    shared = jax.make_jaxpr(jax.vmap(branching, axis_name=AXIS))(values)
    assert "cond" in primitives(shared) and "select_n" not in primitives(shared)
    # Without the name of the axis each has its own condition, and both branches are computed.
    own = jax.make_jaxpr(jax.vmap(branching))(values)
    assert "cond" not in primitives(own)


def test_it_comes_to_the_same():
    for values in ([-1.0, 2.0, -3.0], [-1.0, -2.0, -3.0]):
        together = jax.jit(jax.vmap(branching, axis_name=AXIS))(jnp.array(values))
        assert together.tolist() == [branching(jnp.float32(v)).item() for v in values]
