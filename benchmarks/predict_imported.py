"""Time `predict` of policies that were imported from Stable-Baselines3; prints JSON."""

import json

import heredity as hd
from heredity.policies.importers import ImportOptions, import_policy
from imported import CASES, FOREIGN, shown
from timing import microseconds_per_call

found = {}
for name, (_, calls) in CASES.items():
    names = None if name == "sb3_ppo_cnn" else ("unnamed",)
    said = ImportOptions(normalizer="none", observation_names=names)
    policy = import_policy(FOREIGN / name / "model.zip", "sb3", said).policy
    seen = shown(name)
    found[name] = {
        "one": microseconds_per_call(
            lambda policy=policy, one=seen[0]: policy.predict(one), calls, 5
        ),
        "batch": microseconds_per_call(
            lambda policy=policy, seen=seen: policy.predict(seen), max(calls // 5, 5), 5
        ),
    }
print(json.dumps({"library": f"heredity {hd.__version__}", "microseconds": found}))
