"""Driving an algorithm: whole iterations on the device, or acting in environments of the host.

All runners do the same for the loop above them: iterate, give the policy's weights, save, load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from heredity.algorithms.contract import Algorithm
from heredity.common.errors import UsageError
from heredity.environments import HostEnvironment, JaxEnvironment
from heredity.training.device_runner import DeviceRunner
from heredity.training.host_dreamer import DreamerHostRunner
from heredity.training.host_runner import HostRunner
from heredity.training.mesh import DeviceMesh
from heredity.training.runner_base import Alone, Driver, Learner, Runner
from heredity.training.seeds_runner import SeedsRunner

__all__ = [
    "Alone",
    "DeviceRunner",
    "Driver",
    "HostRunner",
    "Learner",
    "Runner",
    "SeedsRunner",
    "make_driver",
    "make_runner",
]


HOST_RUNNERS: Mapping[str, Callable[[Any, HostEnvironment, int], Runner]] = {
    "ppo": HostRunner,
    "dreamer": DreamerHostRunner,
}
"""Of each algorithm the one that acts in environments of the host; it knows its algorithm."""


def make_runner(
    algorithm: Algorithm,
    environment: JaxEnvironment | HostEnvironment,
    seed: int,
    mesh: DeviceMesh | None = None,
) -> Runner:
    """The runner that suits an algorithm and an environment."""
    if isinstance(environment, JaxEnvironment):
        return DeviceRunner(algorithm, environment, seed, mesh)
    return HOST_RUNNERS[algorithm.config.algorithm](algorithm, environment, seed)


def make_driver(
    algorithm: Algorithm,
    environment: JaxEnvironment | HostEnvironment,
    seed: int,
    seeds: int,
    mesh: DeviceMesh | None = None,
) -> Driver:
    """What trains the policies of a run.

    Args:
        algorithm: What to run.
        environment: Where.
        seed: Of the first policy.
        seeds: How many policies.
        mesh: The devices of a run of one policy; None for one.

    Raises:
        UsageError: when several seeds are to be trained in an environment that is no JAX program.
    """
    if seeds == 1:
        return Alone(make_runner(algorithm, environment, seed, mesh))
    if not isinstance(environment, JaxEnvironment):
        named = environment.spec.id if environment.spec else "this environment"
        raise UsageError(
            f"seeds {seeds} in {named}: only JAX programs (brax, gymnax, Playground) run side "
            f"by side in one program. Start {seeds} runs, with --seed {seed} to --seed "
            f"{seed + seeds - 1}"
        )
    return SeedsRunner(algorithm, environment, range(seed, seed + seeds))
