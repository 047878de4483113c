"""Proximal policy optimisation."""

from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.network_config import NetworkConfig

__all__ = ["NetworkConfig", "PPOConfig"]
