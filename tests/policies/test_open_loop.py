"""What a world model imagines of an episode, on a tiny one with weights that are zero nowhere."""

import dataclasses
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest

from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.algorithms.dreamer.networks import policy_spec
from heredity.common.errors import RefusedError, UsageError
from heredity.common.open_loop import Episode, OpenLoop
from heredity.networks.world_model import Decoder
from heredity.policies import ActorCritic, Policy
from heredity.policies.open_loop import Imagination, open_loop
from heredity.spaces import Box, Dict, Discrete, MultiDiscrete

SPACE = Dict(
    {
        "camera": Box((8, 8, 3), 0, 255, "uint8"),
        "doors": MultiDiscrete((2, 3)),
        "goal": Discrete(3, start=1),
        "state": Box((2,), names=("angle", "speed")),
    }
)
TINY = DreamerConfig(depth=2, deter=16, hidden=8, units=8, groups=3, classes=4)
MOMENTS = 7


@pytest.fixture(scope="module")
def policy() -> Policy:
    functions = ActorCritic(policy_spec(TINY, SPACE, Discrete(2)))
    draws = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: draws.normal(size=leaf.shape, scale=1.5).astype(leaf.dtype), functions.shapes()
    )
    return Policy(functions.spec, params)


@pytest.fixture(scope="module")
def imagination(policy: Policy) -> Imagination:
    return Imagination(policy.functions)


@pytest.fixture(scope="module")
def episode() -> Episode:
    draws = np.random.default_rng(1)
    return Episode(
        {
            "camera": draws.integers(0, 256, (MOMENTS, 8, 8, 3), np.uint8),
            "doors": draws.integers(0, 2, (MOMENTS, 2)),
            "goal": draws.integers(1, 4, MOMENTS),
            "state": draws.normal(size=(MOMENTS, 2)).astype(np.float32),
        },
        np.eye(2, dtype=np.float32)[draws.integers(0, 2, MOMENTS - 1)],
        draws.normal(size=MOMENTS - 1).astype(np.float32),
        terminated=True,
    )


@pytest.fixture(scope="module")
def found(policy: Policy, imagination: Imagination, episode: Episode) -> OpenLoop:
    return predicted(imagination, policy, episode)


def predicted(imagination: Imagination, policy: Policy, *words: Any, **more: Any) -> OpenLoop:
    """With one program for all tests."""
    return imagination.predict(policy.params, *words, **more, padded=MOMENTS + 2)


def same(one: OpenLoop, other: OpenLoop, moments: slice = slice(None)) -> bool:
    """Whether the same was imagined of some moments."""
    names = [name for name in one.arrays() if name.startswith("imagined")]
    pairs = [(one.arrays()[name][moments], other.arrays()[name][moments]) for name in names]
    return all(np.array_equal(a, b) for a, b in pairs)


def test_predictions_have_the_units_of_what_was_seen(found: OpenLoop, episode: Episode):
    for one in (found.seen, found.imagined):
        assert set(one.observations) == set(episode.observations)
        for name, values in one.observations.items():
            assert values.shape == episode.observations[name].shape
        assert one.observations["camera"].dtype == np.uint8
        assert one.observations["camera"].max() > 128  # not brightness from 0 to 1
        assert set(np.unique(one.observations["goal"])) <= {1, 2, 3}
        assert (one.observations["doors"] < [2, 3]).all()
        assert (one.goes_on > 0).all() and (one.goes_on < 1).all()
    kinds = {name: entry.kind for name, entry in found.entries.items()}
    expected = {"camera": "picture", "doors": "choice", "goal": "choice", "state": "numbers"}
    assert kinds == expected
    assert found.entries["state"].columns == ("angle", "speed")
    assert found.entries["camera"].largest == 255


def test_the_states_are_those_that_acting_goes_through(
    policy: Policy, found: OpenLoop, episode: Episode
):
    """Step by step through the trunk, as `predict` does it."""
    functions, params = policy.functions, policy.params
    trunk, decoder = functions.networks["trunk"], cast(Decoder, functions.heads["decoder"])
    carry = functions.initial_carry((1,))["trunk"]

    @jax.jit
    def step(seen: Any, carry: Any, is_first: Any) -> Any:
        features, carry, _ = trunk.apply(params["trunk"], seen, carry, is_first=is_first)
        shown = decoder.shown(params["decoder"], features)
        reward = functions.heads["reward"].apply(params["reward"], features)[0]
        return shown["observation/state"][0], reward[0, 0], carry

    for moment in range(3):
        seen = {name: values[moment][None] for name, values in episode.observations.items()}
        state, reward, carry = step(seen, carry, np.array([moment == 0]))
        np.testing.assert_allclose(found.seen.observations["state"][moment], state, rtol=1e-3)
        np.testing.assert_allclose(found.seen.rewards[moment], reward, rtol=1e-3, atol=1e-3)
        carry = trunk.acted(carry, episode.actions[moment][None])


def test_what_was_seen_ends_with_the_context(
    policy: Policy, imagination: Imagination, found: OpenLoop, episode: Episode
):
    assert found.context == 3  # half of 7 moments
    for name, values in found.imagined.observations.items():
        np.testing.assert_array_equal(values[:3], found.seen.observations[name][:3])
    unseen = {name: np.copy(values) for name, values in episode.observations.items()}
    for values in unseen.values():
        values[3:] = values[0]
    other = predicted(imagination, policy, dataclasses.replace(episode, observations=unseen))
    assert same(found, other)
    assert not np.allclose(found.seen.observations["state"], other.seen.observations["state"])
    longer = predicted(imagination, policy, episode, 5)
    assert same(longer, found, slice(0, 3)) and not same(longer, found, slice(3, 5))


def test_what_is_imagined_follows_from_the_actions(
    policy: Policy, imagination: Imagination, found: OpenLoop, episode: Episode
):
    turned = np.copy(episode.actions)
    turned[4] = 1 - turned[4]  # done after moment 4
    other = predicted(imagination, policy, dataclasses.replace(episode, actions=turned))
    assert same(found, other, slice(0, 5)) and not same(found, other, slice(5, 6))


def test_a_seed_draws(policy: Policy, imagination: Imagination, found: OpenLoop, episode: Episode):
    drawn = [predicted(imagination, policy, episode, seed=seed) for seed in (1, 1, 2)]
    assert same(drawn[0], drawn[1]) and not same(drawn[0], drawn[2])
    assert drawn[0].seed == 1 and found.seed is None


def test_what_comes_after_the_end_changes_nothing(
    policy: Policy, imagination: Imagination, found: OpenLoop, episode: Episode
):
    short = predicted(imagination, policy, episode.first(4), 3)
    assert short.moments == 5 and not short.episode.terminated
    assert len(short.imagined.rewards) == len(short.seen.observations["camera"]) == 5
    for name, values in short.arrays().items():
        np.testing.assert_array_equal(values, found.arrays()[name][: len(values)])


def test_errors_are_by_moment(found: OpenLoop, episode: Episode):
    errors = found.errors(found.imagined)
    assert set(errors) == {"camera", "doors", "goal", "state", "reward"}
    off = episode.observations["camera"][4] - found.imagined.observations["camera"][4].astype(float)
    assert errors["camera"][4] == pytest.approx(np.sqrt((off**2).mean()))
    wrong = episode.observations["doors"][4] != found.imagined.observations["doors"][4]
    assert errors["doors"][4] == wrong.mean()
    assert errors["reward"][4] == pytest.approx(
        abs(found.imagined.rewards[4] - episode.rewards[3]), rel=1e-5
    )


def test_it_is_kept_in_a_folder(found: OpenLoop, tmp_path: Path):
    found.save(tmp_path)
    again = OpenLoop.load(tmp_path)
    assert (again.context, again.entries, again.seed) == (3, found.entries, None)
    assert again.episode.terminated
    assert again.arrays().keys() == found.arrays().keys()
    for name, values in found.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], values)
    path = tmp_path / "open_loop.json"
    path.write_text(path.read_text().replace('"context": 3', '"context": 7'))
    with pytest.raises(RefusedError, match="7 of 7 moments were seen"):
        OpenLoop.load(tmp_path)


def test_what_cannot_be_imagined_is_told(policy: Policy, episode: Episode):
    for context in (0, MOMENTS):
        with pytest.raises(UsageError, match=f"context {context}: the episode has 7 moments"):
            open_loop(policy, episode, context)
    short = dataclasses.replace(episode, observations={"goal": episode.observations["goal"]})
    with pytest.raises(UsageError, match="nothing for the entry 'camera'"):
        open_loop(policy, short)
    with pytest.raises(UsageError, match="actions have the shape"):
        open_loop(policy, dataclasses.replace(episode, actions=episode.actions[:, :1]))
    headless = dataclasses.replace(policy.spec, heads={"reward": policy.spec.heads["reward"]})
    with pytest.raises(UsageError, match="no decoder and no continue"):
        Imagination(ActorCritic(headless))
