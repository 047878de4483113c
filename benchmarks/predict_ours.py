"""Time `predict` of one observation; prints JSON."""

import json

import numpy as np

import heredity as hd
from heredity.networks import DistributionSpec, MlpOptions
from heredity.policies import ActorCritic, PolicySpec
from heredity.spaces import Box, Discrete
from timing import microseconds_per_call

spec = PolicySpec(
    Box((4,)),
    Discrete(2),
    MlpOptions().spec(),
    DistributionSpec("categorical"),
    critic=MlpOptions().spec(),
)
policy = hd.Policy(spec, ActorCritic(spec).init(0))
observation = np.array([0.01, -0.02, 0.03, 0.04], np.float32)
found = microseconds_per_call(lambda: policy.predict(observation, deterministic=True))
print(json.dumps({"library": f"heredity {hd.__version__}", "microseconds": found}))
