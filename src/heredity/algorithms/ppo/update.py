"""One update of PPO: from a batch of transitions to new weights, as one compiled scan."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from heredity.algorithms.ppo.adam import adam
from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.training_plan import TrainingPlan
from heredity.common.devices import split, whole
from heredity.policies import ActorCritic
from heredity.weights import Params, merge


class Minibatch(NamedTuple):
    """Transitions for one gradient step; every array has the leading axis (M,).

    For networks with memory they are sequences, with leading axes (L, M).

    Args:
        seen: Observations after preprocessing.
        raw_actions: What was drawn.
        log_probs: Of what was drawn, under the acting policy.
        parameters: Of the acting policy's distributions, (M, P).
        values: Of the acting critic.
        advantages: Not normalised.
        targets: What the critic should have said.
        is_first: Where episodes begin, (L, M); () without memory.
        carry: Memory before the sequences, (M, ...); () without.
    """

    seen: Any
    raw_actions: jax.Array
    log_probs: jax.Array
    parameters: jax.Array
    values: jax.Array
    advantages: jax.Array
    targets: jax.Array
    is_first: Any = ()
    carry: Any = ()


def as_sequences(transitions: Minibatch, carries: Any) -> Minibatch:
    """Transitions ``(T, B, ...)`` cut into sequences ``(L, N, ...)``, N = T / L * B.

    Args:
        transitions: Of a rollout.
        carries: Memory before the first moment of each sequence, ``(T / L, B, ...)``.
    """
    chunks = jax.tree.leaves(carries)[0].shape[0]

    def cut(array: jax.Array) -> jax.Array:
        steps, envs, *rest = array.shape
        parts = array.reshape((chunks, steps // chunks, envs, *rest))
        return parts.swapaxes(0, 1).reshape((steps // chunks, chunks * envs, *rest))

    carry = jax.tree.map(lambda leaf: leaf.reshape((-1, *leaf.shape[2:])), carries)
    return jax.tree.map(cut, transitions)._replace(carry=carry)


def chosen_items(transitions: Minibatch, indices: jax.Array) -> Minibatch:
    """The transitions ``(N, ...)``, or sequences ``(L, N, ...)``, of one gradient step."""
    indices = split(indices)
    if isinstance(transitions.is_first, tuple):
        return split(jax.tree.map(lambda array: array[indices], transitions))
    carry = split(jax.tree.map(lambda array: array[indices], transitions.carry))
    rest = transitions._replace(carry=())
    return split(jax.tree.map(lambda array: array[:, indices], rest), 1)._replace(carry=carry)


class UpdateState(NamedTuple):
    """What an update changes.

    Args:
        params: Trained weights.
        optimizer: State of the gradient transformation.
        learning_rate: float32; moves only under adaptive_kl.
    """

    params: Params
    optimizer: optax.OptState
    learning_rate: jax.Array


def ppo_loss(
    config: PPOConfig,
    functions: ActorCritic,
    params: Params,
    batch: Minibatch,
    clip_range: jax.Array | float,
    key: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The clipped surrogate with value and entropy terms (Schulman et al. 2017, eq. 7 and 9).

    Args:
        config: Coefficients.
        functions: Of the policy.
        params: All weights, frozen ones merged in.
        batch: Transitions.
        clip_range: At this moment of its schedule.
        key: For families whose entropy is estimated.

    Returns:
        The loss, and what is logged of it.
    """
    is_first = batch.is_first if functions.has_memory else None
    parameters, values = functions.unroll(params, batch.seen, batch.carry, is_first)
    log_ratio = functions.family.log_prob(parameters, batch.raw_actions) - batch.log_probs
    ratio = jnp.exp(log_ratio)

    advantages = batch.advantages
    if config.normalize_advantages:
        # Sample deviation (n - 1), as in Stable-Baselines3.
        advantages = (advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8)
    clipped = jnp.clip(ratio, 1 - clip_range, 1 + clip_range)
    policy_loss = -jnp.minimum(advantages * ratio, advantages * clipped).mean()

    if config.clip_range_value is not None:
        moved = jnp.clip(values - batch.values, -config.clip_range_value, config.clip_range_value)
        values = batch.values + moved
    value_loss = jnp.square(batch.targets - values).mean()

    entropy = functions.family.entropy(parameters, key).mean()
    loss = (
        policy_loss + config.value_coefficient * value_loss - config.entropy_coefficient * entropy
    )
    return loss, {
        "train/loss": loss,
        "train/policy_gradient_loss": policy_loss,
        "train/value_loss": value_loss,
        "train/entropy_loss": -entropy,
        "train/approx_kl": ((ratio - 1) - log_ratio).mean(),
        "train/clip_fraction": (jnp.abs(ratio - 1) > clip_range).mean(),
        "train/kl": functions.family.kl(batch.parameters, parameters).mean(),
    }


def _adapted(config: PPOConfig, learning_rate: jax.Array, kl: jax.Array) -> jax.Array:
    slower = jnp.maximum(learning_rate / 1.5, config.learning_rate_min)
    faster = jnp.minimum(learning_rate * 1.5, config.learning_rate_max)
    learning_rate = jnp.where(kl > 2 * config.desired_kl, slower, learning_rate)
    # brax also asks for kl > 0 here, but adds 1e-5 inside the logarithm, so that it always holds.
    # Ours is exact: where nothing has moved yet, its sign is the rounding's.
    return jnp.where(kl < config.desired_kl / 2, faster, learning_rate)


# Of more items too few upper bits are left: those that drew the same would stay in order of time.
_MOST_WITH_UPPER_BITS = 2**24


def minibatch_indices(config: PPOConfig, key: jax.Array, items: int) -> jax.Array:
    """Which items each gradient step reads: every epoch cuts a shuffle of all of them.

    A shuffle sorts numbers whose upper bits are drawn and whose lower bits are the item. That is
    much faster on a CPU than sorting items by drawn numbers. Items that drew the same keep
    their order, which the mean over a minibatch does not see. Above 2^24 items, where that leaves
    fewer than eight bits, it is `jax.random.permutation`.

    Args:
        config: Settings.
        key: Decides the shuffling.
        items: How many transitions, or sequences, there are.

    Returns:
        Shape (num_epochs * num_minibatches, items / num_minibatches), int32.
    """
    if items > _MOST_WITH_UPPER_BITS:
        keys = jax.random.split(key, config.num_epochs)
        order = jax.vmap(lambda key: jax.random.permutation(key, items))(keys)
        return order.astype(jnp.int32).reshape(-1, items // config.num_minibatches)
    lower = jnp.uint32((1 << (items - 1).bit_length()) - 1)
    drawn = jax.random.bits(key, (config.num_epochs, items), jnp.uint32) & ~lower
    shuffled = jnp.sort(drawn | jnp.arange(items, dtype=jnp.uint32)[None]) & lower
    return shuffled.astype(jnp.int32).reshape(-1, items // config.num_minibatches)


def update(
    config: PPOConfig,
    functions: ActorCritic,
    plan: TrainingPlan,
    frozen: Params,
    state: UpdateState,
    transitions: Minibatch,
    clip_range: jax.Array,
    key: jax.Array,
) -> tuple[UpdateState, dict[str, jax.Array]]:
    """All epochs and minibatches.

    The trained weights and their moments are one vector meanwhile: a step of the optimiser is then
    a few operations instead of a few for each weight, which is much of the time of small networks.

    Args:
        config: Settings.
        functions: Of the policy.
        plan: Since when each weight is trained, and how fast.
        frozen: Weights that get no gradient and no optimiser slot.
        state: What changes.
        transitions: All of them, leading axis (T * B,); sequences (L, N) with memory.
        clip_range: At this moment of its schedule.
        key: Decides the shuffling.

    Returns:
        The new state, and the mean of what is logged over the minibatches that were looked at (the
        one that target_kl stopped at among them); ``train/gradient_steps`` counts the steps made.
    """
    optimizer, rates = adam(plan, config, state.params), plan.rates(state.params)
    structure = jax.tree.structure(state.params)
    as_tree = ravel_pytree(state.params)[1]

    def is_like_params(tree: Any) -> bool:
        return jax.tree.structure(tree) == structure

    def with_vectors(tree: Any) -> Any:
        return ravel_pytree(tree)[0] if is_like_params(tree) else tree

    def with_trees(before: Any, now: Any) -> Any:
        return as_tree(now) if is_like_params(before) else now

    def loss(params: Params, batch: Minibatch, key: jax.Array) -> tuple[jax.Array, dict]:
        return ppo_loss(config, functions, merge(frozen, params), batch, clip_range, key)

    def gradient_step(
        state: UpdateState, indices: jax.Array, key: jax.Array
    ) -> tuple[UpdateState, dict[str, jax.Array], jax.Array]:
        batch = chosen_items(transitions, indices)
        weights: Any = state.params  # as a vector
        gradient = jax.value_and_grad(loss, has_aux=True)
        (_, logged), gradients = gradient(as_tree(weights), batch, key)
        gradients = whole(with_vectors(gradients))
        too_far = jnp.asarray(False)
        if config.target_kl is not None:
            too_far = logged["train/approx_kl"] > 1.5 * config.target_kl
        learning_rate = state.learning_rate
        if config.learning_rate_schedule == "adaptive_kl":
            learning_rate = _adapted(config, learning_rate, logged["train/kl"])
        logged["train/grad_norm"] = optax.tree.norm(gradients)
        directions: Any
        directions, optimizer_state = optimizer.update(gradients, state.optimizer, weights)
        moved = weights - learning_rate * (rates * directions)
        moved = UpdateState(moved, optimizer_state, learning_rate)
        if config.target_kl is not None:
            # The step that is found to be too far is not made either; the rate it lowers stays so.
            moved = jax.tree.map(lambda new, old: jnp.where(too_far, old, new), moved, state)
            moved = moved._replace(learning_rate=learning_rate)
        return moved, logged, too_far

    def body(carry: tuple, now: tuple[jax.Array, jax.Array]) -> tuple[tuple, None]:
        state, sums, tried, stopped = carry
        indices, key = now

        def step(_: None) -> tuple:
            new_state, logged, too_far = gradient_step(state, indices, key)
            return new_state, jax.tree.map(jnp.add, sums, logged), tried + 1.0, too_far

        if config.target_kl is None:
            return step(None), None
        return jax.lax.cond(stopped, lambda _: carry, step, None), None

    shuffle_key, loss_key = jax.random.split(key)
    has_memory = functions.has_memory
    items = config.num_sequences if has_memory else config.num_transitions
    indices = whole(minibatch_indices(config, shuffle_key, items))
    count = config.num_epochs * config.num_minibatches
    vectors = jax.tree.map(with_vectors, state, is_leaf=is_like_params)
    logged_shapes = jax.eval_shape(gradient_step, vectors, indices[0], loss_key)[1]
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), logged_shapes)
    start = (vectors, zeros, jnp.asarray(0.0), jnp.asarray(False))
    (vectors, sums, tried, stopped), _ = jax.lax.scan(
        body, start, (indices, jax.random.split(loss_key, count))
    )
    state = jax.tree.map(with_trees, state, vectors, is_leaf=is_like_params)
    logged = jax.tree.map(lambda total: total / tried, sums)
    return state, {**logged, "train/gradient_steps": tried - stopped.astype(tried.dtype)}
