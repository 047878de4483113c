"""Time Stable-Baselines3's `predict` of one observation, one thread, which suits it best."""

import json

import numpy as np
import stable_baselines3
import torch
from stable_baselines3 import PPO

from timing import microseconds_per_call

torch.set_num_threads(1)
model = PPO("MlpPolicy", "CartPole-v1", device="cpu")
observation = np.array([0.01, -0.02, 0.03, 0.04], np.float32)
found = microseconds_per_call(lambda: model.predict(observation, deterministic=True))
library = f"stable-baselines3 {stable_baselines3.__version__} (1 thread)"
print(json.dumps({"library": library, "microseconds": found}))
