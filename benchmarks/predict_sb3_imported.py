"""Time Stable-Baselines3's `predict` of the policies that `predict_imported.py` imports.

Run as ``predict_sb3_imported.py THREADS``; the better of one and two is taken.
"""

import json
import sys

import stable_baselines3
import torch
from stable_baselines3 import PPO, SAC

from imported import CASES, FOREIGN, shown
from timing import microseconds_per_call

torch.set_num_threads(int(sys.argv[1]))
found = {}
for name, (_, calls) in CASES.items():
    kind = SAC if name.startswith("sb3_sac") else PPO
    model = kind.load(FOREIGN / name / "model.zip", device="cpu")
    seen = shown(name)
    found[name] = {
        "one": microseconds_per_call(
            lambda model=model, one=seen[0]: model.predict(one, deterministic=True), calls, 5
        ),
        "batch": microseconds_per_call(
            lambda model=model, seen=seen: model.predict(seen, deterministic=True),
            max(calls // 5, 5),
            5,
        ),
    }
library = f"stable-baselines3 {stable_baselines3.__version__}"
print(json.dumps({"library": library, "microseconds": found}))
