"""Our update beside that of brax: the same goes in, the same must come out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.algorithms.ppo.conformance import (
    LOGGED,
    assert_weights,
    first_state,
    load,
    quickly_compiled,
    under,
)

from heredity.algorithms.ppo import PPOConfig
from heredity.algorithms.ppo.advantages import generalized_advantages
from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.state import PPOState, Rollout
from heredity.networks.distributions import TanhNormal
from heredity.networks.normalizer import init_statistics, update_statistics
from heredity.spaces import Box

BRAX_CASES = ["brax_adaptive_kl", "brax_update"]


def skipped(rewards: Any, values: Any, discount: float) -> Any:
    """The final values with which a truncated step counts for nothing, as it does in brax.

    brax never sees the last observation of a truncated episode. It takes the step out: its error
    and its advantage are zero, its target is its value. That is what comes out if the value of the
    true last observation is ``(value - reward) / discount``. (Its `bootstrap_on_timeout` adds
    ``discount * V(s)`` of the observation *before* the step, where we use the one after it.)
    """
    return (values - rewards) / discount


@pytest.mark.parametrize("kind", ["plain", "truncated"])
def test_brax_advantages(kind: str):
    """Targets agree; brax's advantages are ours with one lambda less on what comes later.

    `compute_gae` gives the policy ``r + discount * target(next) - value`` (the V-trace form)
    instead of GAE's own sum. With ``A`` for GAE that is ``A + discount * (1 - lambda) * A(next)``:
    the same at lambda = 1 alone.
    """
    tensors, about = load("brax_advantages")
    discount, gae_lambda = about["settings"]["discount"], about["settings"]["lambda_"]
    terminated = tensors["terminated"].astype(bool)
    truncated = tensors["truncated"].astype(bool) & (kind == "truncated")
    rewards, values = jnp.asarray(tensors["rewards"]), jnp.asarray(tensors["values"])
    advantages, targets = generalized_advantages(
        rewards,
        values,
        jnp.asarray(tensors["last_value"]),
        jnp.asarray(terminated),
        jnp.asarray(truncated),
        skipped(rewards, values, discount),
        discount,
        gae_lambda,
    )
    np.testing.assert_allclose(targets, tensors[f"{kind}/targets"], rtol=1e-5, atol=2e-6)
    later = np.concatenate([advantages[1:], np.zeros_like(advantages[:1])])
    goes_on = 1.0 - (terminated | truncated)
    theirs = np.asarray(advantages) + discount * (1 - gae_lambda) * goes_on * later
    np.testing.assert_allclose(theirs, tensors[f"{kind}/advantages"], rtol=1e-5, atol=2e-6)
    assert truncated.any() == (kind == "truncated")


def brax_case(name: str) -> tuple[PPO, PPOState, dict[str, np.ndarray], dict[str, Any]]:
    tensors, about = load(name)
    settings = about["settings"]
    num_steps, num_envs = tensors["rewards"].shape
    adaptive = settings.get("learning_rate_schedule") == "ADAPTIVE_KL"
    config = PPOConfig(
        num_envs=num_envs,
        num_steps=num_steps,
        num_epochs=1,
        num_minibatches=1,
        learning_rate=settings["learning_rate"],
        learning_rate_schedule="adaptive_kl" if adaptive else "constant",
        desired_kl=settings.get("desired_kl", 0.01),
        learning_rate_max=settings.get("learning_rate_schedule_max_lr", 1e-2),
        discount=settings["discounting"],
        gae_lambda=settings["gae_lambda"],
        clip_range=settings["clipping_epsilon"],
        normalize_advantages=settings["normalize_advantage"],
        entropy_coefficient=settings["entropy_cost"],
        # brax halves its squared error and then applies its coefficient.
        value_coefficient=0.5 * settings["vf_loss_coefficient"],
        max_grad_norm=settings["max_grad_norm"],
        adam_epsilon=1e-8,
        reward_scale=settings["reward_scaling"],
        distribution="tanh_normal",
        network={"hidden": (16, 16), "activation": "swish"},
    )
    actions = Box((tensors["raw_actions"].shape[-1],), -1.0, 1.0)
    observations = Box((tensors["observations"].shape[-1],))
    algorithm = PPO(config, observations, actions, schedule_timesteps=10**9)
    state = first_state(algorithm, under(tensors, "initial/"))
    return algorithm, state, tensors, settings


@pytest.mark.parametrize("name", BRAX_CASES)
def test_brax_whole_update(name: str):
    """`ppo.train` passes over its batch several times and estimates advantages anew in each.

    We estimate them once an update, so that one of its passes is one update of ours from the same
    rollout. Compared are the losses and the divergence of each pass, the weights half way and at
    the end, and by them the learning rates.
    """
    algorithm, state, tensors, settings = brax_case(name)
    assert settings["gae_lambda"] == 1.0  # see test_brax_advantages
    truncated = jnp.asarray(tensors["truncated"].astype(bool))
    rewards = jnp.asarray(tensors["rewards"])
    observations = jnp.asarray(tensors["observations"])

    @quickly_compiled
    def one_pass(state: PPOState) -> Any:
        values = algorithm.value(state.params, observations)
        scaled = rewards * settings["reward_scaling"]
        rollout = Rollout(
            observations=observations,
            raw_actions=jnp.asarray(tensors["raw_actions"]),
            log_probs=jnp.asarray(tensors["log_probs"]),
            parameters=jnp.asarray(tensors["distribution_parameters"]),
            rewards=rewards,
            terminated=jnp.asarray(tensors["terminated"].astype(bool)),
            truncated=truncated,
            final_values=skipped(scaled, values, settings["discounting"]),
            last_observation=jnp.asarray(tensors["last_observation"]),
        )
        return algorithm.learn({}, state, rollout)

    theirs = under(tensors, "passes/")
    middle = settings["num_updates_per_batch"] // 2
    rates, norms = [], []
    for number in range(settings["num_updates_per_batch"]):
        if number == middle:
            assert_weights(state.params, under(tensors, "middle/"))
        state, logged = one_pass(state)
        rates.append(float(logged["train/learning_rate"]))
        norms.append(float(logged["train/grad_norm"]))
        weighted = algorithm.config.value_coefficient * logged["train/value_loss"]
        np.testing.assert_allclose(weighted, theirs["v_loss"][number], **LOGGED)
        found = logged["train/policy_gradient_loss"]
        np.testing.assert_allclose(found, theirs["policy_loss"][number], **LOGGED)
        np.testing.assert_allclose(logged["train/loss"], theirs["total_loss"][number], **LOGGED)
        # brax adds 1e-5 inside each logarithm, here of two dimensions.
        kl = logged["train/kl"]
        np.testing.assert_allclose(kl, theirs["kl_mean"][number], rtol=1e-3, atol=2.5e-5)
    assert_weights(state.params, under(tensors, "after/"))
    assert max(norms) > algorithm.config.max_grad_norm
    assert bool(truncated.any()) == (name == "brax_adaptive_kl")
    if name == "brax_adaptive_kl":  # faster, at the limit, kept, slower
        np.testing.assert_allclose(rates[:3], [1.5e-3, 2.25e-3, 3e-3], rtol=1e-6)
        assert rates[-1] < rates[3] == rates[2]
    else:
        assert set(rates) == {rates[0]}


def test_brax_distribution(monkeypatch: pytest.MonkeyPatch):
    """Densities, divergence, squashing, and the entropy estimated from the same draw."""
    tensors, _ = load("brax_distributions")
    noise = jnp.asarray(tensors["noise"])
    monkeypatch.setattr(jax.random, "normal", lambda key, shape: noise.reshape(shape))
    family = TanhNormal(Box((3,), -1.0, 1.0))
    old, new = jnp.asarray(tensors["old"]), jnp.asarray(tensors["new"])
    close = {"rtol": 1e-5, "atol": 1e-5}
    raw = family.sample(old, jax.random.key(0))
    np.testing.assert_allclose(raw, tensors["raw_actions"], **close)
    np.testing.assert_allclose(family.to_action(raw), tensors["actions"], **close)
    np.testing.assert_allclose(family.log_prob(new, raw), tensors["log_prob"], **close)
    entropy = family.entropy(old, jax.random.key(0))
    np.testing.assert_allclose(entropy, tensors["entropy"], **close)
    mode = family.to_action(family.mode(new))
    np.testing.assert_allclose(mode, tensors["mode"], **close)
    # Undo the 1e-5 that brax adds inside the logarithm of the ratio of the deviations.
    scale = [np.log1p(np.exp(p[:, 3:])) + 0.001 for p in (tensors["old"], tensors["new"])]
    ratio = scale[1] / scale[0]
    exact = tensors["kl"] - (np.log(ratio + 1e-5) - np.log(ratio)).sum(axis=-1)
    np.testing.assert_allclose(family.kl(old, new), exact, rtol=1e-4, atol=1e-4)


def test_brax_running_statistics():
    """Mean and deviation after each batch, whatever its size; features differ in scale by 3000."""
    tensors, _ = load("brax_statistics")
    statistics = init_statistics((3,))
    for index in range(3):
        statistics = update_statistics(statistics, jnp.asarray(tensors[f"{index}/batch"]))
        np.testing.assert_allclose(statistics["mean"], tensors[f"{index}/mean"], rtol=1e-5)
        deviation = np.sqrt(statistics["variance"])
        np.testing.assert_allclose(deviation, tensors[f"{index}/std"], rtol=1e-4)
