"""brax's `ppo.train` on a brax environment; prints JSON."""

import measure  # isort: skip  # first: the clock sees the imports

import functools
import importlib.metadata

import jax
import jax.numpy as jnp
from brax import envs
from brax.training.agents.ppo import networks, train
from flax import linen

from brax_play import player

if not hasattr(jax, "device_put_replicated"):
    # brax 0.14.2 still calls it, jax 0.10 no longer has it. On one device it adds an axis.
    jax.device_put_replicated = lambda tree, devices: jax.tree.map(
        lambda leaf: jnp.stack([jnp.asarray(leaf)] * len(devices)), tree
    )

problem, seed = measure.chosen()
clock = measure.Clock()
settings = problem.settings
network = settings["network"]
environment = envs.get_environment(
    problem.environment.removeprefix("brax/"), backend=problem.options["backend"]
)
assert settings["distribution"] == "tanh_normal" and network["kernel_init"] == "lecun_uniform"
assert network["hidden_scale"] == network["actor_output_scale"] == 1.0
# One minibatch is `batch_size` windows of `unroll_length` steps; with batch_size * num_minibatches
# equal to num_envs there is one window an environment and update, as with us.
assert settings["num_envs"] % settings["num_minibatches"] == 0
play = None


def evaluate(step, make_policy, params):
    """After each epoch, where it is told the step; brax calls it at the start as well."""
    global play
    if step == 0:
        clock.learning()
        return
    clock.mark(step)
    with clock.stopped():
        if play is None:
            key = jax.random.key(0)  # the most likely actions need no chance

            def mode(weights, seen):
                return make_policy(weights, deterministic=True)(seen, key)[0]

            play = player(environment, problem.episodes, mode)
        returns = play(params, seed + 1000)
        clock.scored(returns.mean(), returns.std())


steps = problem.chunk * problem.chunks
train.train(
    environment,
    num_timesteps=steps,
    episode_length=1000,
    num_envs=settings["num_envs"],
    unroll_length=settings["num_steps"],
    batch_size=settings["num_envs"] // settings["num_minibatches"],
    num_minibatches=settings["num_minibatches"],
    num_updates_per_batch=settings["num_epochs"],
    learning_rate=settings["learning_rate"],
    discounting=settings["discount"],
    gae_lambda=settings["gae_lambda"],
    clipping_epsilon=settings["clip_range"],
    entropy_cost=settings["entropy_coefficient"],
    vf_loss_coefficient=2 * settings["value_coefficient"],
    max_grad_norm=settings["max_grad_norm"],
    reward_scaling=settings["reward_scale"],
    normalize_observations=settings["normalize_observations"],
    network_factory=functools.partial(
        networks.make_ppo_networks,
        policy_hidden_layer_sizes=network["hidden"],
        value_hidden_layer_sizes=network["critic_hidden"],
        activation=getattr(linen, network["activation"]),
    ),
    seed=seed,
    num_evals=problem.chunks + 1,
    run_evals=False,
    policy_params_fn=evaluate,
)
assert clock.marks[-1][0] == steps, "executed steps are counted, and are those of ours"
clock.report(
    problem,
    f"brax {importlib.metadata.version('brax')} ppo.train",
    measure.packages_of(problem),
    [
        "jax.device_put_replicated, which JAX 0.10 no longer has, is given back by the script",
        "an episode that ends begins again from the one first state its environment was given at "
        "the start (ours: from fresh ones)",
        "advantages are computed in every minibatch with the newest critic (ours: once an update)",
        "advantages are reward + discount * target of the next step - value, the form of V-trace "
        "(ours: those of GAE, the targets are the same)",
        "advantages are normalised by the deviation with n (ours: n - 1)",
        "minibatches are shuffled windows of 20 steps (ours: shuffled transitions)",
        "a truncated step gets no advantage (ours: the value of the true last observation)",
        "observation statistics learn before the update (ours: after it)",
    ],
)
