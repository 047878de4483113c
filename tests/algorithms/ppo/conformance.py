"""What the comparisons of our update with those of other libraries have in common.

The fixtures were made by the libraries themselves (`benchmarks/conformance/`; each file says with
which versions). Everything is float32 on both sides, where torch, XLA and numpy sum in different
orders. Seen on x86-64: after 36 Adam steps weights differ by at most 1.2e-6, what is logged by a
relative 1e-5, norms of gradients by 1e-6. The tolerances are a few times that; a setting that is a
little different moves the weights by more than ten times the tolerance
(`test_the_comparison_would_notice` in `test_sb3_conformance.py`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.state import PPOState
from heredity.common.tensors import read_tensors
from heredity.weights import Params, flatten, unflatten

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "ppo"
WEIGHTS = {"rtol": 1e-5, "atol": 5e-6}
LOGGED = {"rtol": 2e-5, "atol": 1e-6}


def load(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors of a fixture, and what is said of them."""
    tensors, metadata = read_tensors(FOLDER / f"{name}.safetensors")
    return tensors, json.loads(metadata["about"])


def quickly_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` without the passes that make programs fast; the updates of SB3 go through all."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def under(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The tensors of one folder of a fixture, by the rest of their paths."""
    return {path.removeprefix(prefix): t for path, t in tensors.items() if path.startswith(prefix)}


def assert_weights(found: Params, expected: dict[str, np.ndarray]) -> None:
    """Our weights are those of the other library, by path."""
    leaves = flatten(found)
    assert leaves.keys() == expected.keys()
    for path, leaf in leaves.items():
        np.testing.assert_allclose(np.asarray(leaf), expected[path], err_msg=path, **WEIGHTS)


def first_state(algorithm: PPO, leaves: dict[str, np.ndarray]) -> PPOState:
    """What `init` gives but for the weights, which have to fit our networks by path and shape.

    Everything else is zero at the start, and initialising networks would take seconds to compile.
    """
    shapes = jax.eval_shape(lambda: algorithm.init(0)[1])
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    params = unflatten(leaves)
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, state.params)
    rate = np.float32(algorithm.config.learning_rate)
    return dataclasses.replace(state, params=params, learning_rate=rate)
