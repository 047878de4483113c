"""Small policies of every kind, to be transferred."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from heredity.common import counters
from heredity.networks import CnnOptions, DistributionSpec, GruOptions, MlpOptions, VitOptions
from heredity.policies import ActorCritic, Policy, PolicySpec
from heredity.spaces import Box, Dict, Discrete, Space
from heredity.weights import flatten, unflatten

NAMES = ("angle", "speed", "height", "wind")
SENSORS = Box((4,), names=NAMES)
CHOICES = Discrete(3, names=("left", "stay", "right"))
TORQUES = Box((2,), -1.0, 1.0, names=("hip", "knee"))
SCENE = Dict({"body": SENSORS, "goal": Box((2,), names=("x", "y"))})
PICTURE = Dict({"camera": Box((10, 10, 2), 0, 255, "uint8"), "body": SENSORS})

NETWORKS = {
    "mlp": MlpOptions((16, 16)).spec(),
    "deep": MlpOptions((16, 16), activation="relu").spec(),
    "gru": GruOptions(
        size=16, hidden=(16,), encoder={"kind": "mlp", "hidden": [16]}, activation="relu"
    ).spec(),
    "cnn": CnnOptions(hidden=(16,), convolutions=("8x3/2",)).spec(),
    "vit": VitOptions(hidden=(16,), patch=5, width=8, depth=1, heads=2).spec(),
    "pooled": CnnOptions(hidden=(16,), convolutions=("8x3/1",), pooling="mean").spec(),
}


def spec_of(
    network: str, observation: Space, action: Space, *, normalize: bool = False, **more: Any
) -> PolicySpec:
    """A specification with an actor and a critic of one kind."""
    family = "categorical" if isinstance(action, Discrete) else "normal"
    chosen = NETWORKS[network]
    return PolicySpec(
        observation,
        action,
        chosen,
        DistributionSpec(family),
        critic=chosen,
        normalize_observations=normalize,
        **more,
    )


def trained(spec: PolicySpec, seed: int = 0) -> Policy:
    """A policy with weights, biases and statistics that are all somewhere."""
    chance = np.random.default_rng(seed)
    shapes = flatten(ActorCritic(spec).shapes())
    leaves: dict[str, np.ndarray] = {}
    for path, leaf in shapes.items():
        drawn = chance.normal(size=leaf.shape)
        if path.endswith("variance"):
            drawn = 0.5 + np.abs(drawn)
        elif path.endswith("kernel"):
            drawn = drawn / np.sqrt(max(np.prod(leaf.shape[:-1]), 1))
        leaves[path] = (0.5 * drawn if path.endswith("bias") else drawn).astype(leaf.dtype)
        if path.endswith("count"):
            seen = counters.add(counters.zero(leaf.shape[:-1]), 1_000)
            leaves[path] = np.asarray(seen)
    return Policy(spec, unflatten(leaves))


def drawn(space: Space, count: int, seed: int = 1) -> Any:
    """Observations with a leading axis ``(count,)``."""
    chance = np.random.default_rng(seed)
    return jax.tree.map(
        lambda *parts: np.stack(parts), *(space.sample(chance) for _ in range(count))
    )


def means_of(policy: Policy, seen) -> np.ndarray:
    """What the actor puts out for a batch of first moments."""
    function = policy.functions.outputs_in_numpy(policy.params, batched=True)
    if function is not None:
        return np.asarray(function(seen))
    functions = policy.functions
    if policy not in _COMPILED:

        def run(params, seen):
            carry = functions.initial_carry((len(jax.tree.leaves(seen)[0]),), acting=True)
            return functions.outputs(params, functions.preprocess(params, seen), carry)[0]

        _COMPILED[policy] = jax.jit(run)
    return np.asarray(_COMPILED[policy](policy.params, seen))


_COMPILED: dict[Policy, Any] = {}
