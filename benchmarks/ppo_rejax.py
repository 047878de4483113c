"""rejax's PPO on a gymnax environment; prints JSON."""

import measure  # isort: skip  # first: the clock sees the imports

import importlib.metadata

import rejax

from gymnax_play import environment_of, player
from gymnax_run import run

problem, seed = measure.chosen()
clock = measure.Clock()
settings = problem.settings
network = settings["network"]
env, env_params = environment_of(problem)
assert network["hidden"] == network["critic_hidden"]
agent = rejax.PPO.create(
    env=env,
    env_params=env_params,
    agent_kwargs={
        "activation": network["activation"],
        "hidden_layer_sizes": network["hidden"],
    },
    num_envs=settings["num_envs"],
    num_steps=settings["num_steps"],
    num_epochs=settings["num_epochs"],
    num_minibatches=settings["num_minibatches"],
    learning_rate=settings["learning_rate"],
    max_grad_norm=settings["max_grad_norm"],
    gamma=settings["discount"],
    gae_lambda=settings["gae_lambda"],
    clip_eps=settings["clip_range"],
    vf_coef=2 * settings["value_coefficient"],  # it has a half of its own before the square
    ent_coef=settings["entropy_coefficient"],
    total_timesteps=problem.chunk,
    eval_freq=problem.chunk,
    skip_initial_evaluation=True,
)
# Evaluation inside the program would be measured as training: it is done outside, between chunks.
agent = agent.replace(eval_callback=lambda *_: ())


def train(state):
    return agent.train(train_state=state)[0], None  # nothing is logged


def mode(weights, seen):
    return agent.actor.apply(weights, seen, method="_action_dist").mode()


play = player(env, env_params, problem.episodes, mode)
run(problem, seed, clock, agent.init_state, train, play, lambda state: state.actor_ts.params)
clock.report(
    problem,
    f"rejax {importlib.metadata.version('rejax')}",
    [*measure.packages_of(problem), "distrax"],
    [
        "gymnax 1.0 tells endings in two values, rejax 0.1.3 wants one: the script joins them",
        "each gradient is clipped value by value (ours: all together, by their norm)",
        "actor and critic have an optimiser each (ours: one)",
        "Adam's epsilon is 1e-8 and no argument (ours: 1e-5)",
        "the change of values is clipped as well, and no argument (ours: not)",
        "advantages are normalised by the deviation with n (ours: n - 1)",
        "an episode that reaches its time limit counts as ended (ours: bootstrapped)",
    ],
)
