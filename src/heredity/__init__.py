"""Reinforcement learning where weights are handed down.

Names are loaded when they are first used, so that ``import heredity`` and the commands that only
read files start at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heredity import weights as weights
    from heredity.algorithms.dreamer.config import DreamerConfig as DreamerConfig
    from heredity.algorithms.ppo.config import PPOConfig as PPOConfig
    from heredity.api import PPO as PPO
    from heredity.api import Dreamer as Dreamer
    from heredity.api import evaluate_policy as evaluate_policy
    from heredity.api import resume as resume
    from heredity.environments import list_environments as list_environments
    from heredity.environments import make as make
    from heredity.environments import register as register_environment
    from heredity.policies import Policy as Policy
    from heredity.policies.behaviour import compare as compare_policies
    from heredity.policies.importers import ImportOptions as ImportOptions
    from heredity.policies.importers import import_policy as import_policy
    from heredity.policies.transfer import changed_space as changed_space
    from heredity.training import callbacks as callbacks
    from heredity.training.transfer import transfer_checkpoint as transfer_checkpoint
    from heredity.viewer import view as view
    from heredity.viewer import write_report as write_report
    from heredity.viewer import write_rollout as write_rollout

__version__ = "0.1.0"

_NAMES = {
    "Dreamer": "heredity.api:Dreamer",
    "DreamerConfig": "heredity.algorithms.dreamer.config:DreamerConfig",
    "ImportOptions": "heredity.policies.importers:ImportOptions",
    "PPO": "heredity.api:PPO",
    "PPOConfig": "heredity.algorithms.ppo.config:PPOConfig",
    "Policy": "heredity.policies:Policy",
    "callbacks": "heredity.training.callbacks",
    "changed_space": "heredity.policies.transfer:changed_space",
    "compare_policies": "heredity.policies.behaviour:compare",
    "evaluate_policy": "heredity.api:evaluate_policy",
    "import_policy": "heredity.policies.importers:import_policy",
    "list_environments": "heredity.environments:list_environments",
    "make": "heredity.environments:make",
    "register_environment": "heredity.environments:register",
    "resume": "heredity.api:resume",
    "transfer_checkpoint": "heredity.training.transfer:transfer_checkpoint",
    "view": "heredity.viewer:view",
    "weights": "heredity.weights",
    "write_report": "heredity.viewer:write_report",
    "write_rollout": "heredity.viewer:write_rollout",
}

__all__ = [
    "PPO",
    "Dreamer",
    "DreamerConfig",
    "ImportOptions",
    "PPOConfig",
    "Policy",
    "callbacks",
    "changed_space",
    "compare_policies",
    "evaluate_policy",
    "import_policy",
    "list_environments",
    "make",
    "register_environment",
    "resume",
    "transfer_checkpoint",
    "view",
    "weights",
    "write_report",
    "write_rollout",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'heredity' has no attribute {name!r}")
    module, _, attribute = _NAMES[name].partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
