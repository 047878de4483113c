"""Let brax save small PPO policies, and write down what they do.

Run as ``python benchmarks/conformance/foreign_brax.py FOLDER``; see README.md beside it. Each case
becomes a folder: ``checkpoint/000000000100`` as `ppo.checkpoint.save` writes it, or ``params.pkl``
as `brax.io.model.save_params` does, and ``expected.npz`` with observations and the actions of the
deterministic inference function.
"""

from __future__ import annotations

import functools
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from brax.io import model
from brax.training import checkpoint as brax_checkpoint
from brax.training.acme import running_statistics
from brax.training.agents.ppo import checkpoint, networks
from flax import linen
from foreign_common import OBSERVATIONS, write_case, write_versions

ACTIONS = 3
DICT = {"state": (6,), "privileged_state": (9,)}


def case(
    folder: Path,
    observation_size: Any = 6,
    *,
    normalize: bool = True,
    pickled: str = "",
    constant: bool = False,
    **settings: Any,
) -> None:
    settings = {
        "policy_hidden_layer_sizes": (16, 8),
        "value_hidden_layer_sizes": (12,),
        **settings,
    }
    factory = functools.partial(networks.make_ppo_networks, **settings)
    preprocess = running_statistics.normalize if normalize else (lambda seen, _: seen)
    made = factory(observation_size, ACTIONS, preprocess_observations_fn=preprocess)
    keys = jax.random.split(jax.random.key(len(folder.name)), 4)
    policy, value = made.policy_network.init(keys[0]), made.value_network.init(keys[1])
    policy = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(keys[2], x.shape), policy)
    generator = np.random.default_rng(len(folder.name))
    sizes = observation_size if isinstance(observation_size, dict) else {"": (observation_size,)}

    def draw(count: int) -> dict[str, np.ndarray]:
        drawn = {
            name: generator.normal(1.0, 2.0, (count, *shape)).astype(np.float32)
            for name, shape in sizes.items()
        }
        if constant:  # a sensor that does not move: its deviation is cut off at 1e-6
            for part in drawn.values():
                part[:, 0] = 0.25
        return drawn

    def whole(seen: dict[str, np.ndarray]) -> Any:
        return seen if isinstance(observation_size, dict) else seen[""]

    shapes = jax.tree.map(lambda part: jnp.zeros(part.shape[1:]), whole(draw(1)))
    statistics = running_statistics.init_state(shapes)
    for _ in range(4):
        statistics = running_statistics.update(statistics, whole(draw(64)))
    params = (statistics, policy, value)
    folder.mkdir(parents=True, exist_ok=True)
    if pickled == "library":
        model.save_params(str(folder / "params.pkl"), params)
    elif pickled == "arrays":
        plain = {
            "mean": statistics.mean,
            "std": statistics.std,
            "count": statistics.count.lo,
            "summed_variance": statistics.summed_variance,
        }
        arrays = jax.tree.map(np.asarray, (plain, policy, value))
        model.save_params(str(folder / "params.pkl"), arrays)
    else:
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        config = brax_checkpoint.network_config(observation_size, ACTIONS, normalize, factory)
        checkpoint.save((folder / "checkpoint").resolve(), 100, params, config)
    seen = draw(OBSERVATIONS)
    act = networks.make_inference_fn(made)(params, deterministic=True)
    actions, _ = act(whole(seen), jax.random.key(0))
    values = np.asarray(made.value_network.apply(statistics, value, whole(seen)))
    write_case(
        folder, {name or "observation": part for name, part in seen.items()}, actions, values=values
    )


def main(folder: Path) -> None:
    write_versions(folder, "brax", "brax", "orbax-checkpoint", "jax", "flax", "numpy")
    case(folder / "brax_ppo")
    case(folder / "brax_ppo_plain", normalize=False, activation=linen.elu)
    case(folder / "brax_ppo_constant", constant=True)
    case(
        folder / "brax_ppo_dict", DICT,
        policy_obs_key="state", value_obs_key="privileged_state",
    )  # fmt: skip
    case(
        folder / "brax_ppo_normal", distribution_type="normal", noise_std_type="log",
        init_noise_std=0.6,
    )  # fmt: skip
    case(folder / "brax_ppo_pickle", pickled="library")
    case(folder / "brax_ppo_arrays", pickled="arrays")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
