"""One small policy with everything a policy can have."""

from heredity.networks import DistributionSpec, MlpOptions
from heredity.policies import ActorCritic, Lineage, LineageEntry, Policy, PolicySpec
from heredity.spaces import Box, Discrete
from heredity.weights import content_hash


def build(seed: int = 0, width: int = 4) -> Policy:
    network = MlpOptions(hidden=(width,)).spec()
    spec = PolicySpec(
        observation_space=Box((2,), -1.0, 1.0, names=("position", "velocity")),
        action_space=Discrete(3, names=("left", "stay", "right")),
        actor=network,
        distribution=DistributionSpec("categorical"),
        critic=network,
        normalize_observations=True,
        normalize_rewards=True,
        environment={"id": "probe/observation-reward", "options": {"length": 3}},
        algorithm="ppo",
    )
    params = ActorCritic(spec).init(seed)
    score = {"mean_return": 12.5, "std_return": 1.25, "episodes": 7}
    born = LineageEntry("train", "0" * 64, None, 0, "run-1", {"seed": seed})
    saved = LineageEntry("snapshot", content_hash(params), born.hash, 4096, "run-1", score=score)
    return Policy(spec, params, Lineage((born, saved)))
