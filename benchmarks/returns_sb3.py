"""Stable-Baselines3's PPO with the zoo's settings, trained to the end; prints JSON."""

import argparse
import importlib.metadata
import json
import time

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from return_problems import RETURN_PROBLEMS

parser = argparse.ArgumentParser()
parser.add_argument("problem", choices=RETURN_PROBLEMS)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--steps", type=int, help="instead of the problem's, to see that it runs")
given = parser.parse_args()
problem = RETURN_PROBLEMS[given.problem]
steps = given.steps or problem.steps
torch.set_num_threads(1)  # what suits small networks best

settings = dict(problem.stable_baselines3)
if "policy_kwargs" in settings:
    network = dict(settings["policy_kwargs"])
    network["activation_fn"] = getattr(torch.nn, network["activation_fn"])
    settings["policy_kwargs"] = network
name = problem.environment.removeprefix("gym/")
environment = VecNormalize(make_vec_env(name, 1, seed=given.seed), gamma=settings["gamma"])


class Episodes(BaseCallback):
    """Returns of the episodes of training, as the Monitor counts them: without normalisation."""

    def __init__(self):
        super().__init__()
        self.ended = []

    def _on_step(self):
        for info in self.locals["infos"]:
            if "episode" in info:
                self.ended.append((self.num_timesteps, float(info["episode"]["r"])))
        return True


model = PPO("MlpPolicy", environment, seed=given.seed, device="cpu", **settings)
episodes = Episodes()
began, cpu_began = time.perf_counter(), time.process_time()
model.learn(steps, callback=episodes)
seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began

copies = VecNormalize(
    make_vec_env(name, 1, seed=given.seed + 1000), training=False, norm_reward=False
)
copies.obs_rms = environment.obs_rms
returns, lengths = evaluate_policy(
    model, copies, n_eval_episodes=problem.episodes, deterministic=True, return_episode_rewards=True
)

# Twenty points: the mean of the episodes that ended in each part of training.
curve = []
for part in range(20):
    low, high = steps * part // 20, steps * (part + 1) // 20
    inside = [value for step, value in episodes.ended if low < step <= high]
    if inside:
        curve.append([high, sum(inside) / len(inside)])
packages = ("stable_baselines3", "torch", "numpy", "gymnasium", "mujoco")
found = {
    "seed": given.seed,
    "library": f"stable-baselines3 {importlib.metadata.version('stable_baselines3')}",
    "versions": {name: importlib.metadata.version(name) for name in packages},
    "settings": problem.stable_baselines3
    | {"n_envs": 1, "normalize": True, "torch_threads": torch.get_num_threads()},
    "steps": model.num_timesteps,
    "seconds": round(seconds, 1),
    "cpu_seconds": round(cpu_seconds, 1),
    "returns": [round(float(value), 3) for value in returns],
    "lengths": [int(value) for value in lengths],
    "curve": [[step, round(value, 3)] for step, value in curve],
}
print(json.dumps([found]), flush=True)
