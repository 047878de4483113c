"""What other libraries call our settings, for those who come from there."""

from __future__ import annotations

RENAMED = {
    "clip_range_vf": "clip_range_value",
    "clipping_epsilon": "clip_range",
    "discounting": "discount",
    "ent_coef": "entropy_coefficient",
    "entropy_cost": "entropy_coefficient",
    "gamma": "discount",
    "lam": "gae_lambda",
    "learning_rate_schedule_max_lr": "learning_rate_max",
    "learning_rate_schedule_min_lr": "learning_rate_min",
    "lr": "learning_rate",
    "n_envs": "num_envs",
    "n_epochs": "num_epochs",
    "n_steps": "num_steps",
    "normalize_advantage": "normalize_advantages",
    "num_updates_per_batch": "num_epochs",
    "reward_scaling": "reward_scale",
    "unroll_length": "num_steps",
    "vf_coef": "value_coefficient",
}
"""Names in Stable-Baselines3 and brax whose meaning is that of one field of `PPOConfig`."""

_NETWORKS = "networks are shaped by network=dict(kind=..., hidden=..., activation=...)"

_OTHERWISE = {
    "activation": "it is a part of network: network=dict(activation=...)",
    "activation_fn": "it is a part of network: network=dict(activation=...)",
    "actor_hidden": "it is a part of network: network=dict(hidden=...)",
    "critic_hidden": "it is a part of network: network=dict(critic_hidden=...)",
    "kernel_init": "it is a part of network: network=dict(kernel_init=...)",
    "net_arch": "it is a part of network: network=dict(hidden=..., critic_hidden=...)",
    "action_repeat": "it is an option of brax environments: hd.make(id, action_repeat=...)",
    "batch_size": (
        "give num_minibatches = num_envs * num_steps / transitions in a minibatch, which is what "
        "batch_size means in Stable-Baselines3"
    ),
    "clipping_epsilon_value": (
        "clip_range_value is the same limit, with another loss: the clipped error alone, where "
        "brax takes the larger of both"
    ),
    "device": "JAX chooses it: set the environment variable JAX_PLATFORMS",
    "episode_length": (
        "it is an option of the environment: hd.make(id, episode_length=...) for brax, "
        "hd.make(id, max_episode_steps=...) for others"
    ),
    "num_evals": "give evaluate_every, in steps, to learn() or run()",
    "num_timesteps": "give total_timesteps to learn() or run()",
    "policy": _NETWORKS,
    "policy_kwargs": _NETWORKS,
    "tensorboard_log": "TensorBoard's files go to the directory that is given to learn() or run()",
    "verbose": "give progress_bar=True to learn()",
    "vf_loss_coefficient": (
        "value_coefficient is half of it here, because brax halves the squared error"
    ),
}


def our_way(name: str) -> str:
    """What to do instead of giving a setting of that name; empty when nobody knows it.

    Example:
        >>> our_way("gamma")
        "it is 'discount' here"
        >>> our_way("verbose")
        'give progress_bar=True to learn()'
    """
    if name in RENAMED:
        return f"it is {RENAMED[name]!r} here"
    return _OTHERWISE.get(name, "")
