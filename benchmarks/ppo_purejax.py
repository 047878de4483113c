"""PPO the PureJaxRL way: everything is one compiled scan, in one file, on gymnax; prints JSON.

Written for this comparison from the description in PureJaxRL's README: gymnax resets by itself in
`step`, one network module holds actor and critic, and an update is two nested scans over epochs and
shuffled minibatches.
"""

import measure  # isort: skip  # first: the clock sees the imports

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from gymnax_play import environment_of, player
from gymnax_run import run

problem, seed = measure.chosen()
clock = measure.Clock()
settings = problem.settings
sizes = settings["network"]
env, env_params = environment_of(problem)
num_envs, num_steps = settings["num_envs"], settings["num_steps"]
discount, gae_lambda, clip = settings["discount"], settings["gae_lambda"], settings["clip_range"]
activation = getattr(nn, sizes["activation"])


class ActorCritic(nn.Module):
    """Two towers of the same module: logits and a value."""

    @nn.compact
    def __call__(self, seen):
        def tower(widths, size, scale):
            x = seen
            for width in widths:
                x = activation(nn.Dense(width, kernel_init=nn.initializers.orthogonal(2**0.5))(x))
            return nn.Dense(size, kernel_init=nn.initializers.orthogonal(scale))(x)

        logits = tower(sizes["hidden"], env.action_space(env_params).n, 0.01)
        return logits, tower(sizes["critic_hidden"], 1, 1.0)[..., 0]


class Transition(NamedTuple):
    """One step of all environments."""

    seen: jax.Array
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array


network = ActorCritic()
optimizer = optax.chain(
    optax.clip_by_global_norm(settings["max_grad_norm"]),
    optax.adam(settings["learning_rate"], eps=settings["adam_epsilon"]),
)


def chosen_log_prob(logits, action):
    return jnp.take_along_axis(jax.nn.log_softmax(logits), action[..., None], -1)[..., 0]


def begin(key):
    key, net_key, env_key = jax.random.split(key, 3)
    params = network.init(net_key, jnp.zeros(env.observation_space(env_params).shape))
    keys = jax.random.split(env_key, num_envs)
    seen, state = jax.vmap(env.reset, in_axes=(0, None))(keys, env_params)
    return params, optimizer.init(params), state, seen, key


def act(carry, _):
    params, state, seen, key = carry
    key, act_key, step_key = jax.random.split(key, 3)
    logits, value = network.apply(params, seen)
    action = jax.random.categorical(act_key, logits)
    keys = jax.random.split(step_key, num_envs)
    following, state, reward, done, _ = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
        keys, state, action, env_params
    )
    kept = Transition(seen, action, chosen_log_prob(logits, action), value, reward, done)
    return (params, state, following, key), kept


def advantages_of(rollout, last_value):
    def back(carry, now):
        advantage, following = carry
        goes_on = 1.0 - now.done
        error = now.reward + discount * following * goes_on - now.value
        advantage = error + discount * gae_lambda * goes_on * advantage
        return (advantage, now.value), advantage

    start = (jnp.zeros_like(last_value), last_value)
    _, advantages = jax.lax.scan(back, start, rollout, reverse=True, unroll=16)
    return advantages


def loss(params, batch, advantages, targets):
    logits, values = network.apply(params, batch.seen)
    ratio = jnp.exp(chosen_log_prob(logits, batch.action) - batch.log_prob)
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    clipped = jnp.clip(ratio, 1 - clip, 1 + clip)
    policy_loss = -jnp.minimum(ratio * advantages, clipped * advantages).mean()
    log_probs = jax.nn.log_softmax(logits)
    entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
    value_loss = jnp.square(values - targets).mean()
    return (
        policy_loss
        + settings["value_coefficient"] * value_loss
        - settings["entropy_coefficient"] * entropy
    )


def iteration(carry, _):
    params, opt_state, state, seen, key = carry
    (_, state, seen, key), rollout = jax.lax.scan(act, (params, state, seen, key), None, num_steps)
    advantages = advantages_of(rollout, network.apply(params, seen)[1])
    data = (rollout, advantages, advantages + rollout.value)
    flat = jax.tree.map(lambda leaf: leaf.reshape(num_envs * num_steps, *leaf.shape[2:]), data)

    def epoch(carry, _):
        params, opt_state, key = carry
        key, shuffle = jax.random.split(key)
        order = jax.random.permutation(shuffle, num_envs * num_steps)

        def cut(leaf):
            leaf = jnp.take(leaf, order, axis=0)
            return leaf.reshape(settings["num_minibatches"], -1, *leaf.shape[1:])

        def minibatch(carry, data):
            params, opt_state = carry
            gradients = jax.grad(loss)(params, *data)
            updates, opt_state = optimizer.update(gradients, opt_state)
            return (optax.apply_updates(params, updates), opt_state), None

        (params, opt_state), _ = jax.lax.scan(
            minibatch, (params, opt_state), jax.tree.map(cut, flat)
        )
        return (params, opt_state, key), None

    (params, opt_state, key), _ = jax.lax.scan(
        epoch, (params, opt_state, key), None, settings["num_epochs"]
    )
    episodes = rollout.done.sum()  # what is logged
    return (params, opt_state, state, seen, key), episodes


def train(carry):
    return jax.lax.scan(iteration, carry, None, problem.chunk // problem.steps_per_iteration)


play = player(
    env,
    env_params,
    problem.episodes,
    lambda params, seen: network.apply(params, seen)[0].argmax(-1),
)
run(problem, seed, clock, begin, train, play, weights_of=lambda carry: carry[0])
clock.report(
    problem,
    "PureJaxRL-style loop",
    measure.packages_of(problem),
    [
        "values are computed while acting (ours: once for the whole rollout)",
        "advantages are normalised by the deviation with n (ours: n - 1)",
        "an episode that reaches its time limit counts as ended (ours: bootstrapped)",
        "of an update only the number of episodes is logged (ours: eight means and the norm)",
    ],
)
