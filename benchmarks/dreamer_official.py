"""How long the official DreamerV3 takes for an update, and to act; prints JSON.

Needs the official repository and its libraries; see conformance/README.md. Run it as
``PYTHONPATH=CHECKOUT:benchmarks/conformance python benchmarks/dreamer_official.py walker size1m``.

Its own agent is measured, through `train` and `policy`, with the batch on the device already: what
it does every update is in, such as fetching what is logged, and filling the replay is not.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import sys
from typing import Any

import dreamerv3.agent
import elements
import jax
import numpy as np
from dreamerv3_setup import COMMIT, FLAGS, PRESETS, PROBLEMS, agent_settings, settings
from embodied.jax import internal

from timing import largest_megabytes, quartiles

ENVS = 16


def accept_positions() -> None:
    """Let `jax.jit` take shardings by position, as the official code gives them to it."""
    original = jax.jit
    names = ("in_shardings", "out_shardings", "static_argnums", "static_argnames", "donate_argnums")

    def jit(function: Any, *positions: Any, **named: Any) -> Any:
        given = dict(zip(names, positions, strict=False))
        return original(function, **{k: v for k, v in given.items() if v is not None}, **named)

    jax.jit = jit


def official_agent(problem: str, preset: str, device: str, dtype: str) -> Any:
    """With its own settings, but without reports, a profiler and assertions about the device."""
    config = agent_settings(settings(preset))
    changes = {"platform": device, "compute_dtype": dtype, "prealloc": False}
    unlisted = {"profiler": False, "precompile": False}
    config = elements.Config({**config, "jax": {**config.jax, **changes, **unlisted}})
    observed, actions = PROBLEMS[problem]
    return dreamerv3.agent.Agent(observed | FLAGS, actions, config)


def random_batch(spaces: dict[str, Any], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    found = {key: np.zeros((*shape, *s.shape), s.dtype) for key, s in spaces.items()}
    for key, space in spaces.items():
        if key in FLAGS or key in ("consec", "stepid"):
            continue
        if space.dtype == np.float32:
            found[key] = draw.normal(size=found[key].shape).astype(np.float32)
        else:
            found[key] = draw.integers(0, space.high, found[key].shape, space.dtype)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("problem", choices=PROBLEMS)
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    accept_positions()
    with contextlib.redirect_stdout(sys.stderr):
        agent = official_agent(given.problem, given.preset, given.device, given.dtype)
        config = agent.config
        shape = (config.batch_size, config.replay_context + config.batch_length)
        batch = internal.device_put(random_batch(agent.spaces, shape), agent.train_sharded)
        seed = agent._seeds(0, agent.train_mirrored)
        carries = {"train": agent.init_train(config.batch_size), "act": agent.init_policy(ENVS)}

        def update() -> None:
            carries["train"], *_ = agent.train(carries["train"], {**batch, "seed": seed})
            jax.block_until_ready(agent.params)

        seen = random_batch(agent.obs_space, (ENVS,))

        def act() -> None:
            carries["act"], *_ = agent.policy(carries["act"], seen)

        updates = quartiles(update, given.seconds)
        acting = quartiles(act, given.seconds / 4)
    libraries = ("jax", "ninjax", "optax", "elements", "numpy")
    result = {
        "what": "DreamerV3, official",
        "problem": given.problem,
        "preset": given.preset,
        "dtype": given.dtype,
        "device": str(jax.devices()[0].device_kind),
        "load_before": round(load, 2),
        "batch": [config.batch_size, config.batch_length],
        "update": updates,
        "acting": {"environments": ENVS, **acting},
        "largest_megabytes": largest_megabytes(),
        "dreamerv3": COMMIT,
        "versions": {name: importlib.metadata.version(name) for name in libraries},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
