"""What is computed of whole sequences, together and apart."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common.errors import UsageError
from heredity.networks import DistributionSpec, NetworkSpec
from heredity.policies import ActorCritic, PolicySpec
from heredity.spaces import Box

MLP = NetworkSpec("mlp", {"hidden": [4]})
HEAD = NetworkSpec("mlp", {"hidden": []})
GRU = NetworkSpec("gru", {"size": 3, "encoder": {"kind": "mlp", "hidden": []}})


def functions(**networks: Any) -> ActorCritic:
    spaces = {"observation_space": Box((2,)), "action_space": Box((1,), -1.0, 1.0)}
    return ActorCritic(PolicySpec(**spaces, distribution=DistributionSpec("normal"), **networks))


@pytest.mark.parametrize(
    "networks",
    [
        {"actor": MLP, "critic": MLP},
        {"trunk": GRU, "actor": HEAD, "critic": GRU},
    ],
    ids=["apart", "memories behind a trunk"],
)
def test_both_at_once_are_each_by_itself_and_the_trunk_is_computed_once(
    networks: dict[str, NetworkSpec], monkeypatch: pytest.MonkeyPatch
):
    parts = functions(**networks)
    params = parts.init(0)
    seen = jax.random.normal(jax.random.key(1), (5, 3, 2))
    is_first = jnp.zeros((5, 3), bool).at[2, 1].set(True) if parts.has_memory else None
    carry = jax.tree.map(lambda leaf: leaf + 0.5, parts.initial_carry((3,)))
    calls = []
    if parts.trunk is not None:
        scan = parts.trunk.scan

        def counted(*given: Any, **more: Any) -> Any:
            calls.append(given)
            return scan(*given, **more)

        monkeypatch.setattr(parts.trunk, "scan", counted)
    parameters, values = parts.unroll(params, seen, carry, is_first)
    assert len(calls) == ("trunk" in networks)
    alone, after_acting = parts.unroll_parameters(params, seen, carry, is_first)
    judged, after_judging = parts.unroll_values(params, seen, carry, is_first)
    np.testing.assert_array_equal(parameters, alone)
    np.testing.assert_array_equal(values, judged)
    assert (parameters.shape, values.shape) == ((5, 3, 2), (5, 3))
    if parts.has_memory:
        # Each leaves the memory of the other as it was.
        np.testing.assert_array_equal(after_acting["critic"], carry["critic"])
        assert (after_judging["critic"] != carry["critic"]).any()
        np.testing.assert_array_equal(after_acting["trunk"], after_judging["trunk"])


def test_without_a_critic_there_are_no_values():
    parts = functions(actor=MLP)
    params, seen = parts.init(0), jnp.zeros((5, 3, 2))
    for judged in (parts.unroll, parts.unroll_values):
        with pytest.raises(UsageError, match="no critic"):
            judged(params, seen, {}, None)
    assert parts.unroll_parameters(params, seen, {}, None)[0].shape == (5, 3, 2)
