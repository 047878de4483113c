"""Driving PPO: whole iterations on the device, or acting on the host and learning on the device.

Both runners do the same for the loop above them: iterate, give the policy's weights, save, load.
"""

from __future__ import annotations

from heredity.algorithms.ppo.algorithm import PPO
from heredity.environments import HostEnvironment, JaxEnvironment
from heredity.training.device_runner import DeviceRunner
from heredity.training.host_runner import HostRunner
from heredity.training.runner_base import Runner

__all__ = ["DeviceRunner", "HostRunner", "Runner", "make_runner"]


def make_runner(
    algorithm: PPO, environment: JaxEnvironment | HostEnvironment, seed: int
) -> DeviceRunner | HostRunner:
    """The runner that suits an environment."""
    if isinstance(environment, JaxEnvironment):
        return DeviceRunner(algorithm, environment, seed)
    return HostRunner(algorithm, environment, seed)
