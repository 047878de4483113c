"""GAE against its definition, summed in float64, and what every ending does to it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from heredity.algorithms.ppo.advantages import explained_variance, generalized_advantages

pytestmark = pytest.mark.usefixtures("strict_numerics")


def batch(seed: int, steps: int = 23, envs: int = 5) -> dict[str, np.ndarray]:
    """Random data; episodes end in both ways, in the last step as well."""
    draw = np.random.default_rng(seed)
    ends = draw.random((steps, envs))
    ends[-1, :2] = (0.1, 0.3)
    arrays = {name: draw.normal(size=(steps, envs)) for name in ("rewards", "values", "final")}
    arrays["last_value"] = draw.normal(size=envs)
    floats = {name: array.astype(np.float32) for name, array in arrays.items()}
    return {**floats, "terminated": ends < 0.15, "truncated": (ends >= 0.15) & (ends < 0.35)}


def ours(b: dict[str, np.ndarray], discount: float, gae_lambda: float) -> list[np.ndarray]:
    names = ("rewards", "values", "last_value", "terminated", "truncated", "final")
    arrays = [jnp.asarray(b[name]) for name in names]
    return [np.asarray(a) for a in generalized_advantages(*arrays, discount, gae_lambda)]


def by_definition(b: dict[str, np.ndarray], discount: float, gae_lambda: float) -> np.ndarray:
    """The sum of discounted errors up to the end of each episode, each sum on its own: O(T^2)."""
    wide = {n: a.astype(np.float64) for n, a in b.items() if a.dtype == np.float32}
    steps, envs = b["rewards"].shape
    advantages = np.zeros((steps, envs))
    for env in range(envs):
        for start in range(steps):
            for t in range(start, steps):
                after = wide["values"][t + 1, env] if t + 1 < steps else wide["last_value"][env]
                if b["terminated"][t, env]:
                    after = 0.0
                elif b["truncated"][t, env]:
                    after = wide["final"][t, env]
                error = wide["rewards"][t, env] + discount * after - wide["values"][t, env]
                advantages[start, env] += (discount * gae_lambda) ** (t - start) * error
                if b["terminated"][t, env] or b["truncated"][t, env]:
                    break
    return advantages


@pytest.mark.parametrize(("discount", "gae_lambda"), [(0.99, 0.95), (0.9, 0.0), (1.0, 1.0)])
@pytest.mark.parametrize("steps", [1, 23])
def test_equals_the_sum_of_its_definition(discount: float, gae_lambda: float, steps: int):
    b = batch(0, steps)
    advantages, targets = ours(b, discount, gae_lambda)
    expected = by_definition(b, discount, gae_lambda)
    np.testing.assert_allclose(advantages, expected, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(targets, expected + b["values"], rtol=2e-6, atol=2e-6)
    assert advantages.dtype == np.float32


def test_lambda_one_is_the_discounted_return_to_the_end():
    rewards = np.array([[1.0], [2.0], [4.0]], np.float32)
    b = {
        "rewards": rewards,
        "values": np.full((3, 1), 7.0, np.float32),
        "last_value": np.array([100.0], np.float32),
        "terminated": np.array([[False], [True], [False]]),
        "truncated": np.zeros((3, 1), bool),
        "final": np.zeros((3, 1), np.float32),
    }
    _, targets = ours(b, 0.5, 1.0)
    np.testing.assert_array_equal(targets[:, 0], [1 + 0.5 * 2, 2, 4 + 0.5 * 100])


def test_nothing_leaks_from_the_next_episode():
    """What comes after an ending changes nothing before it, in either kind of ending."""
    b = batch(1)
    first = int(np.flatnonzero(b["terminated"][:, 0])[0])
    second = int(np.flatnonzero(b["truncated"][:, 1])[0])
    before = ours(b, 0.99, 0.95)[0]
    for env, step in ((0, first), (1, second)):
        changed = {name: array.copy() for name, array in b.items()}
        for name in ("rewards", "values"):
            changed[name][step + 1 :, env] += 50.0
        changed["last_value"][env] += 50.0
        after = ours(changed, 0.99, 0.95)[0]
        np.testing.assert_array_equal(after[: step + 1, env], before[: step + 1, env])


def test_final_values_are_read_where_truncated_and_nowhere_else():
    b = batch(2)
    poisoned = {**b, "final": np.where(b["truncated"], b["final"], np.nan).astype(np.float32)}
    np.testing.assert_array_equal(ours(poisoned, 0.99, 0.95)[0], ours(b, 0.99, 0.95)[0])
    raised = {**b, "final": b["final"] + 1}
    gain = ours(raised, 0.99, 0.95)[0] - ours(b, 0.99, 0.95)[0]
    np.testing.assert_allclose(gain[b["truncated"]], 0.99, rtol=1e-5)
    np.testing.assert_array_equal(gain[b["terminated"]], 0)


def test_a_step_marked_as_both_has_terminated():
    b = batch(3)
    both = {**b, "truncated": b["truncated"] | b["terminated"]}
    np.testing.assert_array_equal(ours(both, 0.99, 0.95)[0], ours(b, 0.99, 0.95)[0])


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6])
def test_explained_variance_does_not_depend_on_the_scale(scale: float):
    draw = np.random.default_rng(0)
    targets = draw.normal(size=200)
    predictions = targets + 0.5 * draw.normal(size=200)
    expected = 1 - np.var(targets - predictions) / np.var(targets)
    pair = [jnp.asarray((a * scale).astype(np.float32)) for a in (predictions, targets)]
    np.testing.assert_allclose(explained_variance(*pair), expected, rtol=1e-4)


def test_explained_variance_at_its_landmarks():
    targets = jnp.asarray(np.random.default_rng(0).normal(size=50).astype(np.float32))
    assert explained_variance(targets, targets) == 1
    assert explained_variance(jnp.zeros(50), targets) == pytest.approx(0, abs=1e-6)
    assert explained_variance(-targets, targets) == pytest.approx(-3, rel=1e-5)
    assert jnp.isnan(explained_variance(targets, jnp.ones(50)))
