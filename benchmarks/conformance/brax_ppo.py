"""Let brax learn from data that we can write down, and write down what went in and what came out.

Needs, installed by hand: ``jax==0.10.2 flax==0.12.8 optax==0.2.8 brax==0.14.2 mujoco==3.17.0
mujoco-mjx==3.17.0 safetensors``. Run it as
``JAX_PLATFORMS=cpu python benchmarks/conformance/brax_ppo.py [FOLDER]``; see README.md beside it.

`ppo.train` runs as it is, for one update of several passes with one minibatch each. On the way the
arguments and results of its loss function are taken down, so that every pass is known.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from brax.envs.base import Env, State
from brax.training import distribution
from brax.training.acme import running_statistics, specs
from brax.training.agents.ppo import losses, networks, train
from safetensors.numpy import save_file

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "ppo"
NUM_ENVS, UNROLL, OBSERVATION, ACTION, HIDDEN = 8, 10, 4, 2, (16, 16)

SHARED = {
    "discounting": 0.97,
    "reward_scaling": 0.5,
    "entropy_cost": 0.0,  # brax estimates the entropy from a draw of its own; see `distributions`
    "normalize_advantage": False,  # by the deviation with n; ours and SB3's is that with n - 1
    "clipping_epsilon": 0.2,
    "vf_loss_coefficient": 0.5,
    "num_updates_per_batch": 8,
    "max_grad_norm": 0.4,
}
CASES: dict[str, dict[str, Any]] = {
    # With lambda = 1 brax's advantages are those of GAE; see `advantages` for any other.
    "brax_update": {"learning_rate": 5e-3, "gae_lambda": 1.0, "episode_length": 1000},
    "brax_adaptive_kl": {
        "learning_rate": 1e-3,
        "gae_lambda": 1.0,
        "episode_length": 4,  # so that episodes are truncated as well
        "learning_rate_schedule": "ADAPTIVE_KL",
        "desired_kl": 0.01,
        "learning_rate_schedule_max_lr": 3e-3,
    },
}


if not hasattr(jax, "device_put_replicated"):
    # brax 0.14.2 still calls it, jax 0.10.2 no longer has it. On one device it adds an axis.
    jax.device_put_replicated = lambda tree, devices: jax.tree.map(
        lambda leaf: jnp.stack([jnp.asarray(leaf)] * len(devices)), tree
    )


class Noise(Env):
    """Observations, rewards and terminations are noise; what matters is that they vary."""

    observation_size = OBSERVATION
    action_size = ACTION
    backend = "none"

    def reset(self, rng: jax.Array) -> State:
        observation = jax.random.normal(rng, (OBSERVATION,))
        return State(rng, observation, jnp.zeros(()), jnp.zeros(()), {}, {})

    def step(self, state: State, action: jax.Array) -> State:
        key, seen, paid, over = jax.random.split(state.pipeline_state, 4)
        reward = 1.0 + jax.random.normal(paid) - jnp.square(action).sum()
        return state.replace(
            pipeline_state=key,
            obs=jax.random.normal(seen, (OBSERVATION,)),
            reward=reward,
            done=(jax.random.uniform(over) < 0.1).astype(jnp.float32),
        )


def weights(policy: Any, value: Any) -> dict[str, np.ndarray]:
    """Both trees under our paths; the last hidden layer of brax is our output."""
    leaves = {}
    for part, tree in (("actor", policy), ("critic", value)):
        for layer, kinds in tree["params"].items():
            name = "output" if layer == f"hidden_{len(HIDDEN)}" else layer
            leaves |= {f"{part}/{name}/{kind}": np.array(leaf) for kind, leaf in kinds.items()}
    return leaves


def update(settings: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """One update by `ppo.train`: the batch, the weights before every pass and after the last."""
    passes: list[tuple[Any, Any, Any]] = []
    after: list[Any] = []
    original = losses.compute_ppo_loss

    @functools.wraps(original)
    def recorded(params: Any, normalizer: Any, data: Any, rng: Any, **options: Any) -> Any:
        loss, metrics = original(params, normalizer, data, rng, **options)
        jax.debug.callback(
            lambda *seen: passes.append(jax.tree.map(np.array, seen)), params, data, metrics
        )
        return loss, metrics

    losses.compute_ppo_loss = recorded  # read by train() as an attribute of the module
    try:
        train.train(
            Noise(),
            num_timesteps=NUM_ENVS * UNROLL,
            num_envs=NUM_ENVS,
            unroll_length=UNROLL,
            batch_size=NUM_ENVS,
            num_minibatches=1,
            max_devices_per_host=1,
            run_evals=False,
            network_factory=functools.partial(
                networks.make_ppo_networks,
                policy_hidden_layer_sizes=HIDDEN,
                value_hidden_layer_sizes=HIDDEN,
            ),
            policy_params_fn=lambda step, make, params: after.append(params),
            **settings,
        )
    finally:
        losses.compute_ppo_loss = original
    jax.effects_barrier()
    assert len(passes) == settings["num_updates_per_batch"], len(passes)

    first_params, data, _ = passes[0]
    time_first = jax.tree.map(lambda array: np.swapaxes(array, 0, 1).copy(), data)
    policy_extras = time_first.extras["policy_extras"]
    truncated = time_first.extras["state_extras"]["truncation"]
    tensors = {
        "observations": time_first.observation,
        "last_observation": time_first.next_observation[-1],
        "raw_actions": policy_extras["raw_action"],
        "log_probs": policy_extras["log_prob"],
        "distribution_parameters": policy_extras["distribution_params"],
        "rewards": time_first.reward,
        "terminated": ((1 - time_first.discount) * (1 - truncated)).astype(np.uint8),
        "truncated": truncated.astype(np.uint8),
    }
    assert tensors["terminated"].any()
    for name in ("total_loss", "policy_loss", "v_loss", "kl_mean"):
        tensors[f"passes/{name}"] = np.array([m[name] for _, _, m in passes], np.float32)
    tensors |= {
        f"initial/{k}": v for k, v in weights(first_params.policy, first_params.value).items()
    }
    _, policy, value = after[-1]
    tensors |= {f"after/{path}": leaf for path, leaf in weights(policy, value).items()}
    middle = passes[len(passes) // 2][0]
    tensors |= {f"middle/{k}": v for k, v in weights(middle.policy, middle.value).items()}
    ended = int(truncated.sum()), int(tensors["terminated"].sum())
    print(f"  {len(passes)} passes, truncated and terminated {ended},", end=" ")
    print("kl", tensors["passes/kl_mean"].round(5).tolist())
    return tensors, {"settings": settings, "middle": len(passes) // 2}


def advantages() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """`compute_gae` on random data, without truncation and with it."""
    draw = np.random.default_rng(0)
    steps, envs, settings = 14, 6, {"discount": 0.95, "lambda_": 0.8}
    tensors = {
        "rewards": draw.normal(size=(steps, envs)).astype(np.float32),
        "values": draw.normal(size=(steps, envs)).astype(np.float32),
        "last_value": draw.normal(size=envs).astype(np.float32),
    }
    ends = draw.random((steps, envs))
    ends[-1, :2] = (0.1, 0.3)
    terminated, truncated = ends < 0.15, (ends >= 0.15) & (ends < 0.35)
    tensors |= {"terminated": terminated.astype(np.uint8), "truncated": truncated.astype(np.uint8)}
    for name, cut in (("plain", np.zeros_like(truncated)), ("truncated", truncated)):
        targets, advantage = losses.compute_gae(
            truncation=cut.astype(np.float32),
            termination=terminated.astype(np.float32),
            rewards=tensors["rewards"],
            values=tensors["values"],
            bootstrap_value=tensors["last_value"],
            **settings,
        )
        tensors |= {
            f"{name}/targets": np.array(targets),
            f"{name}/advantages": np.array(advantage),
        }
    return tensors, {"settings": settings}


def distributions() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Densities, one-draw entropies, divergences and modes of brax's tanh-normal."""
    draw = np.random.default_rng(1)
    family = distribution.NormalTanhDistribution(event_size=3)
    old, new = (draw.normal(scale=1.5, size=(20, 6)).astype(np.float32) for _ in range(2))
    seed = jax.random.key(3)
    raw = np.array(family.sample_no_postprocessing(old, seed))
    return {
        "old": old,
        "new": new,
        "noise": np.array(jax.random.normal(seed, (20, 3))),
        "raw_actions": raw,
        "actions": np.array(family.postprocess(raw)),
        "log_prob": np.array(family.log_prob(new, raw)),
        "entropy": np.array(family.entropy(old, seed)),
        "kl": np.array(family.create_dist(new).kl_divergence(family.create_dist(old))),
        "mode": np.array(family.mode(new)),
    }, {}


def statistics() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Running mean and deviation after each of several batches."""
    draw = np.random.default_rng(2)
    state = running_statistics.init_state(specs.Array((3,), jnp.dtype("float32")))
    scale, shift = np.array([1.0, 30.0, 0.01]), np.array([0.0, 100.0, -0.5])
    tensors = {}
    for index, size in enumerate((7, 1, 32)):
        batch = (draw.normal(size=(size, 4, 3)) * scale + shift).astype(np.float32)
        state = running_statistics.update(state, batch)
        tensors |= {
            f"{index}/batch": batch,
            f"{index}/mean": np.array(state.mean),
            f"{index}/std": np.array(state.std),
        }
    return tensors, {}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    versions = {name: importlib.metadata.version(name) for name in ("brax", "jax", "optax")}
    makers = {name: functools.partial(update, {**SHARED, **own}) for name, own in CASES.items()}
    makers |= {
        "brax_advantages": advantages,
        "brax_distributions": distributions,
        "brax_statistics": statistics,
    }
    for name, make in makers.items():
        print(name)
        tensors, said = make()
        about = {"made_by": "benchmarks/conformance/brax_ppo.py", "versions": versions, **said}
        path = folder / f"{name}.safetensors"
        save_file(tensors, path, metadata={"about": json.dumps(about)})
        print(f"  {path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
