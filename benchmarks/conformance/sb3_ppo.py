"""Let Stable-Baselines3 learn from chosen data and write down what went in and what came out.

Needs, installed by hand: ``torch==2.13.0 stable_baselines3==2.9.2 safetensors``. Run it as
``python benchmarks/conformance/sb3_ppo.py [FOLDER]``; see README.md beside it.

The environment replays a script, whatever the actions are, so `PPO.learn` itself collects: with its
own draws, its own bootstrapping of truncated episodes and its own schedules. Only the order of the
transitions in each epoch and the norms of the gradients are taken down on the way.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from safetensors.numpy import save_file
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "ppo"
NUM_ENVS, NUM_STEPS, OBSERVATION, HIDDEN = 4, 16, 5, (16, 16)
UPDATES = 3  # a linear schedule is then at 2/3, 1/3 and 0


@dataclasses.dataclass(frozen=True)
class Case:
    """One run: an action space and the settings in which the cases differ."""

    name: str
    action_space: spaces.Space
    linear: bool = False  # learning rate and clip range go to zero over the run
    seed: int = 0
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


CASES = (
    Case(
        "sb3_discrete",
        spaces.Discrete(3),
        linear=True,
        settings={
            "learning_rate": 6e-3,
            "ent_coef": 0.01,
            "clip_range": 0.1,
            "max_grad_norm": 0.5,
        },
    ),
    Case(
        "sb3_box",
        spaces.Box(-0.5, 0.5, (2,), np.float32),
        seed=1,
        settings={
            "learning_rate": 3e-3,
            "ent_coef": 0.005,
            "clip_range_vf": 0.05,
            "max_grad_norm": 0.3,
            "clip_range": 0.1,
        },
    ),
    Case(
        "sb3_multi_discrete",
        spaces.MultiDiscrete([3, 2, 4]),
        seed=2,
        settings={
            "learning_rate": 3e-3,
            "ent_coef": 0.0,
            "clip_range": 0.05,
            "normalize_advantage": False,
            "max_grad_norm": 1000.0,
            "vf_coef": 1.0,
        },
    ),
    Case(
        "sb3_target_kl",
        spaces.Discrete(4),
        seed=3,
        settings={"learning_rate": 6e-3, "target_kl": 0.006},
    ),
)


class Script(VecEnv):
    """Plays back arrays of shape (T, B, ...); resets as SB3's own vectors of environments do."""

    def __init__(self, arrays: dict[str, np.ndarray], action_space: spaces.Space) -> None:
        self.arrays, self.t = arrays, 0
        observation_space = spaces.Box(-np.inf, np.inf, (OBSERVATION,), np.float32)
        super().__init__(NUM_ENVS, observation_space, action_space)

    def reset(self) -> np.ndarray:
        return self.arrays["observations"][0].copy()

    def step_async(self, actions: np.ndarray) -> None:
        del actions

    def step_wait(self) -> Any:
        now, t = self.arrays, self.t
        self.t += 1
        done = now["terminated"][t] | now["truncated"][t]
        infos: list[dict[str, Any]] = [{} for _ in range(NUM_ENVS)]
        for i in np.flatnonzero(done):
            infos[i]["terminal_observation"] = now["final_observations"][t, i]
            infos[i]["TimeLimit.truncated"] = bool(now["truncated"][t, i])
        return now["observations"][t + 1].copy(), now["rewards"][t].copy(), done, infos

    def close(self) -> None: ...

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kw: Any) -> list[Any]:
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def script(seed: int) -> dict[str, np.ndarray]:
    """Random arrays for all updates; both kinds of endings, the last step of an update included."""
    draw = np.random.default_rng(seed)
    steps = UPDATES * NUM_STEPS
    shape = (steps, NUM_ENVS)
    ends = draw.random(shape)
    ends[NUM_STEPS - 1, :2] = (0.05, 0.15)
    return {
        "observations": draw.normal(size=(steps + 1, NUM_ENVS, OBSERVATION)).astype(np.float32),
        "final_observations": draw.normal(size=(*shape, OBSERVATION)).astype(np.float32),
        "rewards": draw.normal(1.0, 1.0, size=shape).astype(np.float32),
        "terminated": ends < 0.1,
        "truncated": (ends >= 0.1) & (ends < 0.2),
    }


def weights(model: PPO) -> dict[str, np.ndarray]:
    """The state dict under our paths; torch keeps kernels as (output, input)."""
    names = {
        "mlp_extractor.policy_net.0": "actor/hidden_0",
        "mlp_extractor.policy_net.2": "actor/hidden_1",
        "action_net": "actor/output",
        "mlp_extractor.value_net.0": "critic/hidden_0",
        "mlp_extractor.value_net.2": "critic/hidden_1",
        "value_net": "critic/output",
    }
    leaves = {}
    for name, tensor in model.policy.state_dict().items():
        if name == "log_std":
            leaves["actor/log_std"] = tensor.numpy().copy()
            continue
        layer, kind = name.rsplit(".", 1)
        leaf = "kernel" if kind == "weight" else "bias"
        leaves[f"{names[layer]}/{leaf}"] = np.ascontiguousarray(tensor.numpy().T).copy()
    return leaves


class Recorded(PPO):
    """PPO whose `train` writes down what it was given and what it did."""

    def train(self) -> None:
        buffer, update = self.rollout_buffer, len(self.records)
        record = {
            name: np.array(getattr(buffer, name))
            for name in ("actions", "log_probs", "values", "advantages", "returns")
        }
        orders: list[np.ndarray] = []
        norms: list[float] = []
        permutation, clip = np.random.permutation, torch.nn.utils.clip_grad_norm_

        def recorded_permutation(size: int) -> np.ndarray:
            orders.append(permutation(size))
            return orders[-1]

        def recorded_clip(*args: Any) -> torch.Tensor:
            norm = clip(*args)
            norms.append(norm.item())
            return norm

        np.random.permutation = recorded_permutation  # what the buffer shuffles with
        torch.nn.utils.clip_grad_norm_ = recorded_clip
        try:
            super().train()
        finally:
            np.random.permutation, torch.nn.utils.clip_grad_norm_ = permutation, clip
        record["orders"] = np.array(orders, np.int32)
        record["gradient_norms"] = np.array(norms, np.float64)
        self.records.append((record, weights(self), dict(self.logger.name_to_value)))
        print(f"  update {update}: {len(norms)} gradient steps, norms up to {max(norms):.3f}")


def run(case: Case) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Learn, and return the tensors and what is said of them."""
    settings = {
        "learning_rate": 1e-3,
        "clip_range": 0.2,
        "gamma": 0.97,
        "gae_lambda": 0.9,
        "n_epochs": 3,
        "batch_size": NUM_ENVS * NUM_STEPS // 4,
        "vf_coef": 0.5,
        "max_grad_norm": 0.5,
        **case.settings,
    }
    scheduled = {
        name: (lambda remaining, value=settings[name]: value * remaining)
        for name in ("learning_rate", "clip_range")
        if case.linear
    }
    arrays = script(case.seed)
    model = Recorded(
        "MlpPolicy",
        Script(arrays, case.action_space),
        n_steps=NUM_STEPS,
        seed=case.seed,
        device="cpu",
        policy_kwargs={"net_arch": {"pi": list(HIDDEN), "vf": list(HIDDEN)}},
        **{**settings, **scheduled},
    )
    model.records = []
    # A first policy that is nearly uniform would hide mistakes in the loss.
    with torch.no_grad():
        model.policy.action_net.weight.mul_(50.0)
        for parameter in model.policy.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    initial = weights(model)
    model.set_logger(Logger(None, []))
    total = UPDATES * NUM_STEPS * NUM_ENVS
    model.learn(total)

    tensors = {f"initial/{path}": leaf for path, leaf in initial.items()}
    tensors |= {
        name: array.astype(np.uint8) if array.dtype == bool else array
        for name, array in arrays.items()
    }
    logged = []
    for update, (record, after, values) in enumerate(model.records):
        tensors |= {f"{update}/{name}": array for name, array in record.items()}
        tensors |= {f"{update}/after/{path}": leaf for path, leaf in after.items()}
        logged.append({name: float(value) for name, value in values.items() if "train/" in name})
    return tensors, {
        "settings": {**settings, "linear": case.linear, "total_timesteps": total},
        "logged": logged,
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    versions = {
        "stable_baselines3": stable_baselines3.__version__,
        "torch": torch.__version__,
        "gymnasium": gymnasium.__version__,
    }
    for case in CASES:
        print(case.name)
        tensors, said = run(case)
        path = folder / f"{case.name}.safetensors"
        about = {"made_by": "benchmarks/conformance/sb3_ppo.py", "versions": versions, **said}
        save_file(tensors, path, metadata={"about": json.dumps(about)})
        print(f"  {path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
