"""The losses of DreamerV3 (Hafner et al. 2023), each as a pure function of one batch.

Sequences are time-major: ``(T, B, ...)``. Record t holds what was seen at t, the reward on arriving
there, and the action that was chosen there.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from heredity.algorithms.dreamer.returns import ReturnRange, lambda_returns
from heredity.algorithms.dreamer.world import World
from heredity.networks.world_model import State, latents
from heredity.networks.world_model.heads import expectation, two_hot_loss
from heredity.weights import Params

stop = jax.lax.stop_gradient


class Batch(NamedTuple):
    """Sequences to learn from, and what was known before each.

    Args:
        observations: ``(T, B, ...)``.
        actions: Done before each moment, as features ``(T, B, A)``.
        rewards: On arriving at each moment, ``(T, B)``.
        is_first: Where an episode begins.
        is_last: Where one ends, for whatever reason.
        is_terminal: Where the task itself ended.
        context: The state before the first moment, ``(B, ...)``.
        tokens: What the encoder makes of the observations, ``(T, B, N)``, where it is known
            already; else None.
    """

    observations: Any
    actions: jax.Array
    rewards: jax.Array
    is_first: jax.Array
    is_last: jax.Array
    is_terminal: jax.Array
    context: State
    tokens: jax.Array | None = None


class Learnt(NamedTuple):
    """What a gradient step needs besides the gradient.

    Args:
        states: Of the moments of the batch, ``(T, B, ...)``, to be written back.
        returns: Of the imagined moments, ``(H, N)``.
        return_range: Moved on.
        losses: Each ``(T, B)`` or, of what was imagined, its mean over moments ``(N,)``.
        logged: Numbers for people.
    """

    states: State
    returns: jax.Array
    return_range: ReturnRange
    losses: dict[str, jax.Array]
    logged: dict[str, jax.Array]


class Imagined(NamedTuple):
    """What was dreamt of, from N states; nothing in it has a gradient.

    Args:
        features: ``(H + 1, N, F)``; the first are those of the states it began from.
        actions: Raw, those that were done, ``(H, N, ...)``.
    """

    features: jax.Array
    actions: jax.Array


def imagine(
    world: World, params: Params, starts: State, horizon: int, key: jax.Array | None
) -> Imagined:
    """Act in the world model for some moments.

    Args:
        world: The functions.
        params: All weights.
        starts: ``(N, ...)``.
        horizon: How many moments.
        key: Decides what is drawn; None for the most likely of everything.
    """
    params, starts = stop((params, starts))
    rssm, family = world.rssm, world.family
    count = len(starts.deter)
    of_latents = of_actions = None
    if key is not None:
        for_latents, for_actions = jax.random.split(key)
        of_latents = latents.noise(for_latents, (horizon, count, rssm.options.groups))
        of_actions = family.noise(for_actions, (horizon, count))

    def act(features: jax.Array, chance: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        parameters = world.action_parameters(params, features)
        action = family.mode(parameters) if chance is None else family.draw(parameters, chance)
        return action, family.features(action)

    chances = (of_actions, of_latents)
    return Imagined(*rssm.imagine(params["trunk"], starts, act, chances, horizon))


def disagreement(predicted: jax.Array, tokens: jax.Array, redundancy: float) -> jax.Array:
    """How far features are from saying the same, each something else (Barlow Twins 2021).

    Args:
        predicted: ``(..., N)``.
        tokens: ``(..., N)``, without a gradient.
        redundancy: Weight of what different features have in common.

    Returns:
        One number; 0 where both are the same, and their features uncorrelated.
    """

    def standardised(x: jax.Array) -> jax.Array:
        x = x.reshape((-1, x.shape[-1])).astype(jnp.float32)
        return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-5)

    left, right = standardised(predicted), standardised(stop(tokens))
    correlation = left.T @ right / len(left)
    own = jnp.eye(len(correlation))
    squares = jnp.square(correlation - own)
    return jnp.sum(squares * (own + redundancy * (1.0 - own)))


def world_losses(
    world: World, params: Params, batch: Batch, tokens: jax.Array, states: State, logits: jax.Array
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """How well what is seen, earned, and drawn is predicted: losses ``(T, B)``, and numbers to log.

    Args:
        world: The functions.
        params: All weights.
        batch: What there was.
        tokens: What the encoder made of it.
        states: What `Rssm.observe` made of that.
        logits: What the states were drawn from.
    """
    rssm, config = world.rssm, world.config
    posterior = rssm.log_probs(logits)
    prior = rssm.log_probs(rssm.prior(params["trunk"], states.deter))
    free = config.free_nats
    losses = {
        "dynamics": jnp.maximum(latents.divergence(stop(posterior), prior), free),
        "representation": jnp.maximum(latents.divergence(posterior, stop(prior)), free),
    }
    features = states.features
    losses["reward"] = two_hot_loss(world.logits("reward", params, features), batch.rewards)
    goes_on = (1.0 - batch.is_terminal.astype(jnp.float32)) * config.discount
    logit = world.logits("continue", params, features)[..., 0]
    losses["continue"] = -(
        goes_on * jax.nn.log_sigmoid(logit) + (1.0 - goes_on) * jax.nn.log_sigmoid(-logit)
    )
    if config.objective == "reconstruction":
        for path, loss in world.reconstruction(params, features, batch.observations).items():
            losses[f"reconstruction/{path}"] = loss
    else:
        predicted = world.logits("projection", params, features)
        losses["barlow_twins"] = disagreement(predicted, tokens, config.redundancy_scale)
    logged = {
        "prior_entropy": latents.entropy(prior).mean(),
        "posterior_entropy": latents.entropy(posterior).mean(),
    }
    return losses, logged


def imagined_losses(
    world: World,
    params: Params,
    slow_critic: Params,
    dream: Imagined,
    return_range: ReturnRange,
) -> tuple[dict[str, jax.Array], jax.Array, ReturnRange, dict[str, jax.Array]]:
    """What actor and critic learn from what was imagined.

    Returns:
        Losses ``(H, N)``; the returns ``(H, N)``; the moved range; numbers to log.
    """
    config, family = world.config, world.family
    features = dream.features
    frozen = stop(params)
    rewards = expectation(world.logits("reward", frozen, features))
    goes_on = jax.nn.sigmoid(world.logits("continue", frozen, features)[..., 0])
    value_logits = world.logits("critic", params, features)
    values = stop(expectation(value_logits))
    slow = expectation(world.logits("critic", {"critic": slow_critic}, features))
    # The discount is in the chance to go on, which the model was taught with it.
    weights = jnp.cumprod(goes_on, axis=0)[:-1]
    always = jnp.ones_like(goes_on)
    returns = lambda_returns(rewards, goes_on, always, values, config.gae_lambda)
    return_range = return_range.moved(returns, config.return_range_rate)
    advantages = (returns - values[:-1]) / return_range.scale

    # Of the last moment as well, and then without it: to leave it out before would copy features.
    parameters = world.action_parameters(params, features)[:-1]
    log_probs = family.log_prob(parameters, dream.actions)
    entropies = family.entropy(parameters, jax.random.key(0))
    wish = log_probs * advantages + config.entropy_coefficient * entropies
    valued = two_hot_loss(value_logits, jnp.concatenate([returns, values[-1:]]), slow)[:-1]
    losses = {"actor": -weights * wish, "critic": weights * valued}
    logged = {
        "advantage": advantages.mean(),
        "advantage_size": jnp.abs(advantages).mean(),
        "entropy": entropies.mean(),
        "imagined_reward": rewards.mean(),
        "imagined_continue": goes_on.mean(),
        "imagined_value": values.mean(),
        "imagined_return": returns.mean(),
        "return_scale": return_range.scale,
    }
    return losses, returns, return_range, logged


def replayed_loss(
    world: World,
    params: Params,
    slow_critic: Params,
    batch: Batch,
    features: jax.Array,
    starts: jax.Array,
) -> jax.Array:
    """What the critic, and the world model through it, learn from what really happened.

    Args:
        world: The functions.
        params: All weights.
        slow_critic: Weights of the slow one.
        batch: What there was.
        features: Of its states, ``(T, B, F)``.
        starts: Returns imagined from each moment, ``(T, B)``, that stand for what came after.

    Returns:
        ``(T - 1, B)``.
    """
    config = world.config
    live = (1.0 - batch.is_terminal.astype(jnp.float32)) * config.discount
    ends = batch.is_last.astype(jnp.float32)
    returns = lambda_returns(batch.rewards, live, 1.0 - ends, stop(starts), config.gae_lambda)
    logits = world.logits("critic", params, features)[:-1]
    slow = expectation(world.logits("critic", {"critic": slow_critic}, stop(features)))[:-1]
    return (1.0 - ends[:-1]) * two_hot_loss(logits, returns, slow)


def total_loss(
    world: World,
    params: Params,
    slow_critic: Params,
    return_range: ReturnRange,
    batch: Batch,
    key: jax.Array | None,
) -> tuple[jax.Array, Learnt]:
    """Everything that one gradient step lowers, weighed, and what comes with it.

    Args:
        world: The functions.
        params: All weights.
        slow_critic: Weights of the slow one.
        return_range: As it was.
        batch: What there was.
        key: Decides what is drawn; None for the most likely of everything, to compare with others.
    """
    config, rssm = world.config, world.rssm
    moments, sequences = batch.rewards.shape
    of_batch = for_dream = None
    if key is not None:
        for_batch, for_dream = jax.random.split(key)
        of_batch = latents.noise(for_batch, (moments, sequences, rssm.options.groups))
    tokens = batch.tokens
    if tokens is None:
        tokens = rssm.tokens(params["trunk"], batch.observations)
    states, logits = rssm.observe(
        params["trunk"], tokens, batch.context, batch.actions, batch.is_first, of_batch
    )
    losses, logged = world_losses(world, params, batch, tokens, states, logits)
    starts = State(*(part.reshape((-1, *part.shape[2:])) for part in states))
    dream = imagine(world, params, starts, config.imagination_length, for_dream)
    imagined, returns, return_range, more = imagined_losses(
        world, params, slow_critic, dream, return_range
    )
    losses |= {name: loss.mean(axis=0) for name, loss in imagined.items()}
    losses["replayed_critic"] = replayed_loss(
        world,
        params,
        slow_critic,
        batch,
        states.features,
        returns[0].reshape((moments, sequences)),
    )
    scales = config.loss_scales
    weighed = [scales[name.split("/")[0]] * loss.mean() for name, loss in losses.items()]
    logged |= more | {f"{name}_loss": loss.mean() for name, loss in losses.items()}
    learnt = Learnt(stop(states), returns, return_range, losses, logged)
    return functools.reduce(jnp.add, weighed), learnt
