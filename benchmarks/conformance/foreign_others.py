"""Write small files as CleanRL's scripts and the official DreamerV3 do, and what the first do.

Run as ``python benchmarks/conformance/foreign_others.py FOLDER``; see README.md beside it.

CleanRL is scripts, not a library: the modules here have the names and shapes of the `Agent` in its
``ppo.py`` and ``ppo_continuous_action.py``, and are saved as the latter saves them. DreamerV3's
checkpoints are written by the library that writes them there, `elements`; the arrays are small and
random, with names as its agent gives them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import elements
import numpy as np
import torch
from foreign_common import OBSERVATIONS, write_case, write_versions
from torch import nn

SIZE, WIDTH = 5, 64


def layers(outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(SIZE, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(),
        nn.Linear(WIDTH, outputs),
    )  # fmt: skip


class Discrete(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.critic, self.actor = layers(1), layers(4)


class Continuous(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.critic, self.actor_mean = layers(1), layers(2)
        self.actor_logstd = nn.Parameter(torch.tensor([[-0.5, 0.25]]))


def cleanrl(folder: Path) -> None:
    generator = np.random.default_rng(11)
    torch.manual_seed(11)
    seen = generator.normal(size=(OBSERVATIONS, SIZE)).astype(np.float32)
    for name, agent in (("cleanrl_ppo", Discrete()), ("cleanrl_ppo_continuous", Continuous())):
        (folder / name).mkdir(parents=True, exist_ok=True)
        torch.save(agent.state_dict(), folder / name / "agent.cleanrl_model")
        with torch.no_grad():
            if isinstance(agent, Discrete):
                actions = agent.actor(torch.from_numpy(seen)).argmax(-1).numpy()
                write_case(folder / name, seen, actions)
                continue
            # What its wrappers do: observations normalised and clipped before the network, actions
            # clipped to the bounds after it.
            raw = seen * 3 + 1
            mean, var = np.full(SIZE, 0.75), np.linspace(2.0, 12.0, SIZE)
            normal = np.clip((raw - mean) / np.sqrt(var + 1e-8), -10, 10).astype(np.float32)
            actions = agent.actor_mean(torch.from_numpy(normal)).clip(-1.0, 1.0).numpy()
            np.savez(folder / name / "statistics.npz", mean=mean, var=var, count=np.float64(500))
            write_case(folder / name, raw, actions)


def dreamer(folder: Path) -> None:
    generator = np.random.default_rng(12)
    shapes = {
        "dyn/dynin0/kernel": (8, 16),
        "dyn/dynin0norm/scale": (16,),
        "dyn/dynhid0/kernel": (2, 4, 4),
        "enc/cnn0/kernel": (5, 5, 3, 4),
        "enc/cnn0/bias": (4,),
        "pol/mlp/linear0/kernel": (16, 8),
        "pol/head/action/mean/kernel": (8, 2),
        "opt/state/0/mu/pol/mlp/linear0/kernel": (16, 8),
    }
    params = {
        name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()
    }
    params["opt/state/0/count"] = np.array(7, np.int32)
    params["retnorm/corr"] = np.float32(0.5)
    counters = {"updates": 7, "batches": 8, "actions": 900}

    class Agent:
        def save(self) -> dict:
            return {"params": params, "counters": counters}

        def load(self, data: dict) -> None:
            raise NotImplementedError

    target = folder / "dreamerv3"
    shutil.rmtree(target, ignore_errors=True)
    step = elements.Counter()
    step.increment(900)
    checkpoint = elements.Checkpoint(target / "ckpt", step=step)
    checkpoint.step = step
    checkpoint.agent = Agent()
    checkpoint.save()
    # A folder with a time in its name would make every copy of this file another one.
    (written,) = [path for path in (target / "ckpt").iterdir() if path.is_dir()]
    written.rename(target / "ckpt" / "20260101T000000F000000-000000000900")
    (target / "ckpt" / "latest").write_text("20260101T000000F000000-000000000900")
    np.savez_compressed(target / "expected.npz", **{f"params/{k}": v for k, v in params.items()})


def main(folder: Path) -> None:
    write_versions(folder, "others", "torch", "elements", "numpy", cleanrl="fe8d8a03")
    cleanrl(folder)
    dreamer(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
