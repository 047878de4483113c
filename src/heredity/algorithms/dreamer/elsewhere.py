"""What the authors' code calls our settings, for those who come from there."""

from __future__ import annotations

RENAMED = {
    "actent": "entropy_coefficient",
    "agc": "gradient_clip",
    "compute_dtype": "dtype",
    "envs": "num_envs",
    "gamma": "discount",
    "imag_length": "imagination_length",
    "lam": "gae_lambda",
    "lr": "learning_rate",
    "n_envs": "num_envs",
    "stoch": "groups",
    "unimix": "uniform_mix",
    "warmup": "learning_rate_warmup",
}
"""Names in the official DreamerV3 whose meaning is that of one field of `DreamerConfig`."""

_OTHERWISE = {
    "contdisc": "it is always so: the discount is learnt as a part of the chance to go on",
    "configs": "a size is a preset, such as size12m",
    "horizon": "give discount = 1 - 1 / horizon",
    "logdir": "give directory to learn() (--directory)",
    "loss_scales": "each has a setting of its own, such as reconstruction_scale",
    "platform": "JAX chooses; the variable JAX_PLATFORMS=cpu makes it take the processor",
    "policy": "networks are sized by deter, hidden, units, classes and depth, or by a preset",
    "replay_size": "give replay_capacity, in steps",
    "replay_context": "it is always 1",
    "rssm": "give deter, hidden, groups, classes and blocks, or a preset such as size12m",
    "size": "give replay_capacity, in steps; sizes of networks are presets, such as size12m",
    "steps": "give total_timesteps to learn() (--total-timesteps)",
    "task": "it is the environment, such as crafter/CrafterReward-v1 (--env)",
}


def our_way(name: str) -> str:
    """What to do instead of giving a setting of that name; empty when nobody knows it.

    Example:
        >>> our_way("lr")
        "it is 'learning_rate' here"
    """
    if name in RENAMED:
        return f"it is {RENAMED[name]!r} here"
    return _OTHERWISE.get(name, "")
