"""Policies that remember, and policies whose critic reads more than they need to act."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import heredity as hd
from heredity.common.errors import MismatchError
from heredity.networks import DistributionSpec, GruOptions, MlpOptions, NetworkSpec
from heredity.policies import ActorCritic, Policy, PolicySpec
from heredity.spaces import Box, Dict, Discrete

GRU = GruOptions(size=5, encoder={"kind": "mlp", "hidden": [4]}).spec()


@pytest.fixture(scope="module")
def recurrent() -> Policy:
    spec = PolicySpec(Box((3,)), Box((2,)), GRU, DistributionSpec("normal"), GRU)
    return Policy(spec, ActorCritic(spec).init(0))


def observations(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(*shape, 3)).astype(np.float32)


def test_the_state_is_handed_from_call_to_call(recurrent: Policy):
    seen = observations(4)
    state, actions = None, []
    for one in seen:
        action, state = recurrent.predict(one, state)
        actions.append(action)
    assert state["actor"].shape == (5,) and set(state) == {"actor"}
    # Without what was remembered it acts otherwise, and again the same from the start.
    assert not np.allclose(actions[3], recurrent.predict(seen[3])[0])
    state = None
    for one, before in zip(seen, actions, strict=True):
        action, state = recurrent.predict(one, state)
        np.testing.assert_array_equal(action, before)


def test_a_batch_is_its_members_and_episode_start_forgets(recurrent: Policy):
    seen = observations(3, 2)
    _, state = recurrent.predict(seen[0])
    both, after = recurrent.predict(seen[1], state, episode_start=np.array([False, True]))
    goes_on, _ = recurrent.predict(seen[1, 0], {"actor": state["actor"][0]})
    fresh, _ = recurrent.predict(seen[1, 1])
    np.testing.assert_allclose(both, [goes_on, fresh], rtol=1e-5, atol=1e-6)
    assert after["actor"].shape == (2, 5)
    again, _ = recurrent.predict(seen[1, 1], {"actor": state["actor"][1]}, episode_start=True)
    np.testing.assert_array_equal(again, fresh)


def test_drawing_remembers_too(recurrent: Policy):
    seen = observations(2)
    _, state = recurrent.predict(seen[0], deterministic=False, key=1)
    _, told = recurrent.predict(seen[0])
    np.testing.assert_allclose(state["actor"], told["actor"], rtol=1e-6)


@pytest.mark.parametrize(
    ("state", "start", "told"),
    [
        ({"actor": np.zeros(4)}, None, "state has the shapes"),
        (np.zeros(5), None, "state has the shapes"),
        ({"actor": np.zeros((2, 5))}, None, "state has the shapes"),
        (None, np.zeros(3, bool), "episode_start has shape"),
    ],
)
def test_what_is_not_its_memory_is_refused(recurrent: Policy, state, start, told):
    with pytest.raises(MismatchError, match=told):
        recurrent.predict(observations(1)[0], state, episode_start=start)


SEEN = Dict({"state": Box((2,)), "privileged": Box((3,))})


@pytest.fixture(scope="module")
def asymmetric() -> Policy:
    options = MlpOptions(hidden=(4,)).spec().options
    actor = NetworkSpec("mlp", options, ("state",))
    spec = PolicySpec(
        SEEN,
        Discrete(3),
        actor,
        DistributionSpec("categorical"),
        MlpOptions(hidden=(4,)).spec(),
        normalize_observations=True,
    )
    return Policy(spec, ActorCritic(spec).init(0))


def test_what_the_critic_alone_reads_is_not_needed_to_act(asymmetric: Policy, tmp_path: Path):
    state = np.ones((6, 2), np.float32)
    alone, _ = asymmetric.predict({"state": state})
    whole, _ = asymmetric.predict({"state": state, "privileged": np.zeros((6, 3), np.float32)})
    np.testing.assert_array_equal(alone, whole)
    assert asymmetric.predict({"state": state[0]})[0] == alone[0]
    asymmetric.save_pretrained(tmp_path / "policy")
    again = hd.Policy.from_pretrained(tmp_path / "policy")
    np.testing.assert_array_equal(again.predict({"state": state})[0], alone)
    with pytest.raises(MismatchError, match="state"):
        asymmetric.predict({"privileged": np.zeros(3)})
    with pytest.raises(MismatchError, match="keys"):
        asymmetric.predict({"state": state[0], "other": np.zeros(3)})


def test_an_environment_without_what_the_critic_read_will_do(asymmetric: Policy):
    asymmetric.check_spaces(SEEN, Discrete(3))
    asymmetric.check_spaces(Dict({"state": Box((2,))}), Discrete(3))
    asymmetric.check_spaces(Dict({"state": Box((2,)), "camera": Box((4,))}), Discrete(3))
    with pytest.raises(MismatchError, match="state"):
        asymmetric.check_spaces(Dict({"state": Box((4,))}), Discrete(3))
    with pytest.raises(MismatchError, match="state"):
        asymmetric.check_spaces(Dict({"privileged": Box((3,))}), Discrete(3))
