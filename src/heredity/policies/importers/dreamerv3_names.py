"""Weights of the official DreamerV3, by our names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from heredity.common.errors import UnknownNameError
from heredity.weights import Params, unflatten

_LEAVES = {"kernel": "kernel", "bias": "bias", "scale": "norm"}

# Each rule: a pattern of the official path without its last part, and ours.
_RULES = (
    (r"enc/mlp(\d+)(?:norm)?", r"trunk/encoder/vectors/hidden_\1"),
    (r"enc/cnn(\d+)(?:norm)?", r"trunk/encoder/pictures/convolution_\1"),
    (r"dyn/dynin0(?:norm)?", "trunk/dynamics/from_deter"),
    (r"dyn/dynin1(?:norm)?", "trunk/dynamics/from_stoch"),
    (r"dyn/dynin2(?:norm)?", "trunk/dynamics/from_action"),
    (r"dyn/dynhid0(?:norm)?", "trunk/dynamics/mix"),
    (r"dyn/dyngru", "trunk/dynamics/gates"),
    (r"dyn/prior(\d+)(?:norm)?", r"trunk/prior/hidden_\1"),
    (r"dyn/priorlogit", "trunk/prior/logits"),
    (r"dyn/obs(\d+)(?:norm)?", r"trunk/posterior/hidden_\1"),
    (r"dyn/obslogit", "trunk/posterior/logits"),
    (r"dec/mlp/(?:linear|norm)(\d+)", r"decoder/vectors/hidden_\1"),
    (r"dec/vec/(.+)/(?:pred|logits)", r"decoder/vectors/outputs/\1"),
    (r"dec/sp0", "decoder/pictures/from_deter"),
    (r"dec/sp1(?:norm)?", "decoder/pictures/from_stoch"),
    (r"dec/sp2", "decoder/pictures/to_places"),
    (r"dec/spnorm", "decoder/pictures"),
    (r"dec/conv(\d+)(?:norm)?", r"decoder/pictures/convolution_\1"),
    (r"dec/imgout", "decoder/pictures/output"),
    (r"rew/mlp/(?:linear|norm)(\d+)", r"reward/hidden_\1"),
    (r"con/mlp/(?:linear|norm)(\d+)", r"continue/hidden_\1"),
    (r"pol/mlp/(?:linear|norm)(\d+)", r"actor/hidden_\1"),
    (r"val/mlp/(?:linear|norm)(\d+)", r"critic/hidden_\1"),
    (r"rew/head/logits", "reward/output"),
    (r"con/head/logit", "continue/output"),
    (r"val/head/logits", "critic/output"),
    (r"pol/head/[^/]+/logits", "actor/output"),
)
_MEAN, _DEVIATION = (rf"pol/head/([^/]+)/{name}" for name in ("mean", "stddev"))


def our_weights(official: Mapping[str, np.ndarray], deter: int) -> Params:
    """The weights of a policy from those of the official ``agent``, of one action.

    What the decoder's layers read is in another order there (drawn numbers first), and of
    continuous actions mean and deviation are layers of their own.

    Args:
        official: By name, such as ``dyn/dynin0/kernel``; without optimiser and slow critic.
        deter: How many numbers of the state are not drawn.

    Raises:
        UnknownNameError: for a name that the official agent does not have.
    """
    found: dict[str, Any] = {}
    parts: dict[str, dict[str, np.ndarray]] = {}
    for path, array in official.items():
        folder, leaf = path.rsplit("/", 1)
        if leaf in _LEAVES and re.fullmatch(f"{_MEAN}|{_DEVIATION}", folder):
            parts.setdefault(leaf, {})[folder.rsplit("/", 1)[1]] = array
            continue
        found[_our_name(path, folder, leaf)] = array
    for leaf, both in parts.items():
        found[f"actor/output/{leaf}"] = np.concatenate([both["mean"], both["stddev"]], axis=-1)
    first = "decoder/vectors/hidden_0/kernel"
    if first in found:
        drawn = len(found[first]) - deter
        found[first] = np.concatenate([found[first][drawn:], found[first][:drawn]])
    return unflatten({path: _shaped(path, array) for path, array in found.items()})


def _our_name(path: str, folder: str, leaf: str) -> str:
    for pattern, ours in _RULES:
        if leaf in _LEAVES and re.fullmatch(pattern, folder):
            return f"{re.sub(pattern, ours, folder)}/{_LEAVES[leaf]}"
    raise UnknownNameError("weight of DreamerV3", path, ())


def _shaped(path: str, array: np.ndarray) -> np.ndarray:
    # Scales of convolutions have the axes of pictures before their own.
    return array.reshape(-1) if path.endswith("/norm") else array
