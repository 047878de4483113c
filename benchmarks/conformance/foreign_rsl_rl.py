"""Let one version of rsl_rl save small policies, and write down what they do.

Run as ``python benchmarks/conformance/foreign_rsl_rl.py FOLDER`` once for each version that is to
be recorded, with that version first on PYTHONPATH; see README.md beside it. The runner of each
version builds the networks, learns for an iteration and writes the file, so that the layout is its
own.
"""

from __future__ import annotations

import importlib.metadata
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import rsl_rl
import torch
from foreign_common import OBSERVATIONS, write_case, write_versions
from tensordict import TensorDict

SIZE, ACTIONS, ENVIRONMENTS = 6, 3, 4


def installed_version() -> str:
    """The version of the rsl_rl that was imported, not of another that is installed as well."""
    place = str(Path(rsl_rl.__file__).parents[1])
    (found,) = importlib.metadata.distributions(name="rsl-rl-lib", path=[place])
    return found.version


VERSION = installed_version()
MAJOR = int(VERSION.split(".")[0])


class Noise:
    """Many environments that show noise and reward nothing in particular."""

    num_envs, num_actions, max_episode_length, device = ENVIRONMENTS, ACTIONS, 8, "cpu"
    num_obs, num_privileged_obs = SIZE, 0

    def __init__(self) -> None:
        self.episode_length_buf = torch.zeros(ENVIRONMENTS, dtype=torch.long)
        self.cfg: Any = SimpleNamespace()
        self._generator = torch.Generator().manual_seed(0)

    def _draw(self) -> Any:
        # Far from mean 0 and deviation 1, so that statistics matter.
        drawn = 2 + 3 * torch.randn(ENVIRONMENTS, SIZE, generator=self._generator)
        if MAJOR == 2:
            return drawn
        return TensorDict({"policy": drawn}, batch_size=[ENVIRONMENTS])

    def get_observations(self) -> Any:
        return (self._draw(), {"observations": {}}) if MAJOR == 2 else self._draw()

    def reset(self) -> Any:
        return self.get_observations()

    def step(self, actions: torch.Tensor) -> Any:
        done = torch.zeros(ENVIRONMENTS, dtype=torch.long)
        return self._draw(), -actions.square().sum(-1), done, {"observations": {}}


def configuration(*, normalize: bool, log_std: bool, distribution: str | None) -> dict[str, Any]:
    """The same settings in the words of each version."""
    networks = {"activation": "elu"}
    std_type = "log" if log_std else "scalar"
    algorithm = {"class_name": "PPO", "num_learning_epochs": 1, "num_mini_batches": 1}
    settings: dict[str, Any] = {
        "num_steps_per_env": 4,
        "save_interval": 100,
        "algorithm": algorithm,
        "multi_gpu": None,
    }
    if MAJOR <= 3:
        settings["policy"] = networks | {
            "class_name": "ActorCritic",
            "actor_hidden_dims": [16, 8],
            "critic_hidden_dims": [12],
            "noise_std_type": std_type,
            "init_noise_std": 0.7,
        }
    if MAJOR == 2:
        return settings | {"empirical_normalization": normalize}
    if MAJOR == 3:
        settings["policy"] |= {
            "actor_obs_normalization": normalize,
            "critic_obs_normalization": normalize,
        }
        return settings | {"obs_groups": {"policy": ["policy"], "critic": ["policy"]}}
    networks |= {"class_name": "MLPModel", "obs_normalization": normalize}
    actor = networks | {"hidden_dims": [16, 8]}
    if MAJOR == 4:
        actor |= {"stochastic": True, "noise_std_type": std_type, "init_noise_std": 0.7}
    else:
        chosen = {"class_name": distribution or "GaussianDistribution"}
        if distribution is None:
            chosen |= {"std_type": std_type, "init_std": 0.7}
        actor["distribution_cfg"] = chosen
    critic = networks | {"hidden_dims": [12]}
    if MAJOR == 4:
        critic["stochastic"] = False
    groups = {"actor": ["policy"], "critic": ["policy"]}
    return settings | {"actor": actor, "critic": critic, "obs_groups": groups}


def case(
    folder: Path, *, normalize: bool, log_std: bool = False, distribution: str | None = None
) -> None:
    from rsl_rl.runners import OnPolicyRunner

    torch.manual_seed(len(folder.name))
    settings = configuration(normalize=normalize, log_std=log_std, distribution=distribution)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as logs:
        runner = OnPolicyRunner(Noise(), settings, log_dir=logs, device="cpu")  # type: ignore[arg-type]
        runner.learn(num_learning_iterations=2)
        runner.save(str(folder / "model.pt"))
    policy = runner.get_inference_policy(device="cpu")
    generator = np.random.default_rng(len(folder.name))
    seen = generator.normal(2.0, 3.0, (OBSERVATIONS, SIZE)).astype(np.float32)
    given: Any = torch.from_numpy(seen)
    if MAJOR > 2:
        given = TensorDict({"policy": given}, batch_size=[OBSERVATIONS])
    with torch.no_grad():
        actions = policy(given).numpy()
        if MAJOR == 2:
            judged = runner.privileged_obs_normalizer(given) if normalize else given
            values = runner.alg.policy.evaluate(judged)
        elif MAJOR == 3:
            values = runner.alg.policy.evaluate(given)
        else:
            values = runner.alg.critic.eval()(given)
    write_case(folder, seen, actions, values=values.numpy()[:, 0])


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    write_versions(folder, f"rsl_rl_{MAJOR}", "torch", "tensordict", rsl_rl=VERSION)
    path = f"rsl_rl_{MAJOR}"
    case(folder / path, normalize=False)
    case(folder / f"{path}_normalized", normalize=True, log_std=MAJOR >= 3)
    if MAJOR == 5:
        case(folder / f"{path}_beta", normalize=False, distribution="BetaDistribution")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
