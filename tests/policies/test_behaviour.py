import dataclasses

import numpy as np
import pytest
import small_policy

from heredity.common.errors import MismatchError, UsageError
from heredity.networks import DistributionSpec, MlpOptions
from heredity.networks.gru import GruOptions
from heredity.policies import ActorCritic, Policy, PolicySpec, behaviour
from heredity.policies.behaviour import compare, sampled_observations
from heredity.spaces import Box, Dict, Discrete
from heredity.weights import put

WALK = PolicySpec(Box((3,)), Box((2,), -1, 1), MlpOptions((4,)).spec(), DistributionSpec("normal"))


def made(spec: PolicySpec, seed: int = 0) -> Policy:
    return Policy(spec, ActorCritic(spec).init(seed))


def test_a_policy_acts_as_itself_and_others_do_not():
    one, other = small_policy.build(0), small_policy.build(1)
    same = compare(one, one, count=50)
    assert (same.same, same.kl_largest, same.mean) == (1.0, 0.0, None)
    found = compare(one, other, count=50)
    assert found.kl_mean is not None and found.kl_largest is not None
    assert 0 <= found.same < 1 and 0 < found.kl_mean < found.kl_largest
    assert compare(one, other, count=50) == found, "the draw is decided by its seed"
    assert compare(one, other, count=50, seed=1) != found


def test_numbers_of_actions_are_compared():
    one = made(WALK)
    moved = Policy(WALK, put(one.params, "actor/output/bias", np.array([0.0, 0.25], np.float32)))
    found = compare(one, moved, np.zeros((7, 3), np.float32))
    assert found.observations == "7 given observations" and found.same == 0.0
    assert found.mean == pytest.approx(0.125) and found.largest == pytest.approx(0.25)
    assert found.kl_mean == pytest.approx(0.25**2 / 2)  # of unit normals


def test_many_observations_are_seen_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch):
    seen = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    one, moved = made(WALK), made(WALK, 1)
    whole = compare(one, moved, seen)
    monkeypatch.setattr(behaviour, "_AT_ONCE", 12)  # four of three numbers
    assert compare(one, moved, seen).largest == pytest.approx(whole.largest)


def test_policies_with_memory_see_first_moments():
    spec = dataclasses.replace(WALK, actor=GruOptions(hidden=(4,)).spec())
    found = compare(made(spec, 0), made(spec, 1), count=5)
    assert found.largest is not None and found.largest > 0
    assert compare(made(spec), made(spec), count=5).same == 1.0


def test_what_cannot_be_compared_is_an_error():
    for change in ({"observation_space": Box((4,))}, {"action_space": Box((3,), -1, 1)}):
        with pytest.raises(MismatchError, match="the policies have different"):
            compare(made(WALK), made(dataclasses.replace(WALK, **change)))
    with pytest.raises(UsageError, match="no observations"):
        compare(made(WALK), made(WALK), np.zeros((0, 3), np.float32))
    other = dataclasses.replace(WALK, distribution=DistributionSpec("tanh_normal"))
    assert compare(made(WALK), made(other), count=3).kl_mean is None


def test_observations_are_drawn_as_they_were_seen():
    space = Dict({"goal": Discrete(3), "state": Box((2,), -5, 5), "wild": Box((1,))})
    spec = dataclasses.replace(WALK, observation_space=space, normalize_observations=True)
    params = ActorCritic(spec).init(0)
    seen = {
        "mean": np.array([4.0, -1.0], np.float32),
        "variance": np.array([4.0, 0.01], np.float32),
        "count": np.array([[0, 9], [0, 9]], np.uint32),
    }
    params = {**params, "normalizer": {"observation": {**params["normalizer"]["observation"]}}}
    params["normalizer"]["observation"]["state"] = seen
    drawn = sampled_observations(Policy(spec, params), 2000)
    assert drawn["state"].shape == (2000, 2) and drawn["state"].dtype == np.float32
    assert drawn["state"][:, 0].max() == 5.0, "cut to the bounds"
    assert drawn["state"][:, 1].mean() == pytest.approx(-1, abs=0.01)
    assert drawn["state"][:, 1].std() == pytest.approx(0.1, rel=0.1)
    assert set(drawn["goal"]) == {0, 1, 2} and drawn["wild"].std() == pytest.approx(1, rel=0.1)
