"""Policies: specification, files, lineage, model card, hub."""

from heredity.policies.actor_critic import ActorCritic
from heredity.policies.lineage import Lineage, LineageEntry
from heredity.policies.policy import Policy
from heredity.policies.specification import PolicySpec

__all__ = ["ActorCritic", "Lineage", "LineageEntry", "Policy", "PolicySpec"]
