"""Proximal policy optimisation."""

from heredity.algorithms.ppo.config import PPOConfig

__all__ = ["PPOConfig"]
