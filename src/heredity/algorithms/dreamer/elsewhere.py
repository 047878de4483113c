"""What the authors' code calls our settings, for those who come from there."""

from __future__ import annotations

RENAMED = {
    "actent": "entropy_coefficient",
    "agc": "gradient_clip",
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
    "horizon": "give discount = 1 - 1 / horizon",
    "policy": "networks are sized by deter, hidden, units, classes and depth, or by a preset",
    "replay_size": "give replay_capacity, in steps",
    "size": "give replay_capacity, in steps; sizes of networks are presets, such as size12m",
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
