"""Rates of single weights, and Adam for weights that began later."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from heredity.algorithms.freezing import read_scales, read_unfreezing
from heredity.algorithms.ppo.adam import AdamState, adam, grown
from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.training_plan import TrainingPlan
from heredity.common.errors import UsageError

PARAMS = {"a": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}, "b": jnp.ones(4)}
PATHS = ("a/bias", "a/kernel", "b")
CONFIG = PPOConfig(freeze=("a/**",), unfreeze=("a/*@10",), max_grad_norm=1e9)


def test_the_plan_follows_the_steps_in_their_order():
    config = dataclasses.replace(CONFIG, freeze=("**",), unfreeze=("b@300", "a/*@1e2"))
    assert [one.step for one in read_unfreezing(config.unfreeze)] == [100, 300]
    plan = TrainingPlan.of(config, PATHS, 1)
    assert plan.begins == {"a/bias": 1, "a/kernel": 1, "b": 2}
    assert plan.frozen == {"b"}
    counted = {"normalizer": {"count": jnp.zeros(())}}
    frozen, trained, statistics = plan.split({**PARAMS, **counted})
    assert set(frozen) == {"b"} and set(trained) == {"a"} and statistics == counted


def test_scales_are_a_vector_in_the_order_of_the_weights():
    given = ("**=0.5", "a/bias=2", "b=1")
    plan = TrainingPlan.of(PPOConfig(learning_rate_scale=given), PATHS)
    expected = {"a": {"kernel": jnp.full((2, 3), 0.5), "bias": jnp.full(3, 2.0)}, "b": jnp.ones(4)}
    np.testing.assert_array_equal(plan.rates(PARAMS), ravel_pytree(expected)[0])
    # One number where all are alike, which costs nothing.
    assert TrainingPlan.of(PPOConfig(), PATHS).rates(PARAMS) == jnp.float32(1)
    assert read_scales(["a/*=1e-3"]) == (("a/*", 1e-3),)


def test_weights_that_are_new_step_as_if_they_were_trained_alone():
    """Corrected by the age of the others, the first step would be 3.16 times as long."""
    old, new = TrainingPlan.of(CONFIG, PATHS, 0), TrainingPlan.of(CONFIG, PATHS, 1)
    draw = np.random.default_rng(0)
    gradients = [
        jax.tree.map(lambda leaf: jnp.asarray(draw.normal(size=leaf.shape), jnp.float32), PARAMS)
        for _ in range(8)
    ]

    def vector(tree):
        return ravel_pytree(tree)[0]

    alone, together = (optax.scale_by_adam(eps=CONFIG.adam_epsilon) for _ in range(2))
    first = {"b": PARAMS["b"]}
    of_new, of_old = alone.init({"a": PARAMS["a"]}), together.init(first)
    optimizer = adam(old, CONFIG, first)
    state = optimizer.init(PARAMS["b"])
    for gradient in gradients[:5]:
        direction, state = optimizer.update(gradient["b"], state)
        expected, of_old = together.update({"b": gradient["b"]}, of_old)
        np.testing.assert_array_equal(direction, expected["b"])
    clip, moments = state
    slots = AdamState(moments.count, {"b": moments.mu}, {"b": moments.nu})
    larger = grown(new, (clip, slots), PARAMS)[1]
    assert larger.count.tolist() == [5, 0]
    optimizer = adam(new, CONFIG, PARAMS)
    state = (clip, AdamState(larger.count, vector(larger.mu), vector(larger.nu)))

    for gradient in gradients[5:]:
        direction, state = optimizer.update(vector(gradient), state)
        newer, of_new = alone.update({"a": gradient["a"]}, of_new)
        older, of_old = together.update({"b": gradient["b"]}, of_old)
        expected = vector({**newer, **older})
        np.testing.assert_allclose(direction, expected, rtol=1e-4, atol=1e-6)
    assert state[1].count.tolist() == [8, 3]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"freeze": ("a/**", "a/bias")}, "freeze 'a/bias' changes nothing: without it a/\\*\\* f"),
        ({"freeze": ("b", "!a/bias")}, "freeze '!a/bias' changes nothing"),
        ({"learning_rate_scale": ("b=1",)}, "learning_rate_scale 'b=1' changes nothing"),
        ({"learning_rate_scale": ("b=2", "**=3")}, "learning_rate_scale 'b=2' changes nothing"),
        ({"freeze": ("b",), "learning_rate_scale": ("b=2",)}, "is never trained"),
        ({"learning_rate_scale": ("normalizer/**=2",)}, "is never trained"),
    ],
)
def test_a_pattern_that_changes_nothing_is_refused(given: dict, told: str):
    with pytest.raises(UsageError, match=told):
        TrainingPlan.of(PPOConfig(**given), (*PATHS, "normalizer/observation/mean"))


def test_a_pattern_may_be_for_what_is_trained_later():
    given = {"freeze": ("a/**",), "unfreeze": ("a/bias@5",), "learning_rate_scale": ("a/bias=2",)}
    assert TrainingPlan.of(PPOConfig(**given), PATHS).scales["a/bias"] == 2


@pytest.mark.parametrize("text", ["a@x", "@5", "a@1.5", "a@inf", "a@-1"])
def test_what_is_no_step_is_refused(text: str):
    with pytest.raises(ValueError, match="PATTERN@STEP was expected"):
        PPOConfig(freeze=("a",), unfreeze=(text,))
