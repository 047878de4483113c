"""Several seeds of one run side by side: K policies trained by one compiled program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heredity.algorithms.contract import Algorithm, AlgorithmState
from heredity.common import counters
from heredity.common.seeds import AXIS
from heredity.common.shared_files import SharedFile
from heredity.environments import Exactness, JaxEnvironment
from heredity.training.device_runner import EXACT, repeated
from heredity.training.room import check_room_to_train
from heredity.training.runner_base import (
    NONE_SHARED,
    means,
    restored,
    shapes_of_weights,
    training_program,
)
from heredity.weights import Params, merge, to_host, tree_to_host


class SeedsRunner:
    """The driver of several seeds in a JAX environment.

    It is the program of `DeviceRunner` under `jax.vmap`: each leaf of constants and state has a
    leading axis (K,), and each seed draws what it would draw alone. All seeds stop together when
    something of one of them is not finite.

    Args:
        algorithm: What to run.
        environment: Where.
        seeds: Of the policies, K of them.
    """

    def __init__(
        self, algorithm: Algorithm, environment: JaxEnvironment, seeds: Sequence[int]
    ) -> None:
        self._environment = environment
        self.learners = [_Seed(self, index) for index in range(len(seeds))]
        self._seeds = np.array(seeds, np.uint32)
        init = self._use(algorithm)
        fresh = [init(np.uint32(seed)) for seed in seeds]
        self.constants: Params = _stacked([constants for constants, _ in fresh])
        self.state: AlgorithmState = _stacked([state for _, state in fresh])
        # Only their shapes: a resume never needs the first states of the environments.
        shapes = jax.eval_shape(self._first, self._seeds)
        self.state = dataclasses.replace(self.state, experience=shapes)
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), shapes)
        self._template = dataclasses.replace(fresh[0][1], experience=one)
        self._begun = False
        # Fetched for all seeds at once: every one of them is asked at the same moments.
        self._policies: list[dict[str, np.ndarray]] = []
        self._states: list[dict[str, np.ndarray]] = []

    def _use(self, algorithm: Algorithm) -> Callable[..., tuple[Params, AlgorithmState]]:
        """Make the programs that train what an algorithm trains; gives the one of first weights."""
        self.algorithm = algorithm
        init = jax.jit(algorithm.init)  # not under vmap: the same bits as alone
        weights = shapes_of_weights(init)
        check_room_to_train(algorithm, weights, len(self._seeds))
        environment = self._environment
        self._first = jax.jit(jax.vmap(lambda seed: algorithm.begin(environment, seed)))
        self._advance = jax.jit(
            self._many_iterations,
            donate_argnums=1,
            compiler_options=training_program(algorithm, weights),
        )
        return init

    def go_on_at(self, stage: int) -> None:
        """Train more weights from now on: those that this stage of the algorithm trains."""
        init = self._use(self.algorithm.at_stage(stage))
        self.constants, self.state = self.algorithm.unfrozen(self.constants, self.state)
        state = jax.eval_shape(init, self._seeds[0])[1]
        self._template = dataclasses.replace(state, experience=self._template.experience)
        self._policies, self._states = [], []

    @property
    def step(self) -> int:
        """Environment steps of each seed so far."""
        return counters.to_int(np.asarray(self.state.steps)[0])

    @property
    def restarts(self) -> int:
        """JAX environments have no processes that could die."""
        return 0

    def _begin_experience(self) -> None:
        if not self._begun:
            self.state = dataclasses.replace(self.state, experience=self._first(self._seeds))
            self._begun = True

    def _many_iterations(
        self, constants: Params, state: AlgorithmState, iterations: jax.Array
    ) -> tuple[AlgorithmState, dict[str, jax.Array]]:
        def one(
            constants: Params, state: AlgorithmState
        ) -> tuple[AlgorithmState, dict[str, jax.Array]]:
            return self.algorithm.iteration(self._environment, constants, state)

        all_seeds = jax.vmap(one, axis_name=AXIS, axis_size=len(self.learners))
        return repeated(lambda state: all_seeds(constants, state), state, iterations)

    def iterate(self, iterations: int) -> list[dict[str, float]]:
        """Run whole iterations of all seeds without returning to the host in between."""
        self._begin_experience()
        self._policies, self._states = [], []
        self.state, sums = self._advance(self.constants, self.state, np.int32(iterations))
        sums = jax.device_get(sums)
        made = float(sums.pop("iterations"))
        return [
            means(
                {name: float(value[index]) for name, value in sums.items()} | {"iterations": made}
            )
            for index in range(len(self.learners))
        ]

    def keep_in(self, folder: Path) -> None:
        """Nothing is kept in files of its own."""

    def load(
        self,
        policies: Sequence[dict[str, np.ndarray]],
        states: Sequence[dict[str, np.ndarray]],
        shared: Sequence[Mapping[str, SharedFile]] = (),
    ) -> Exactness:
        """Go on from saved states, environments included."""
        found = [
            restored(self.algorithm.plan, self._template, policy, state)
            for policy, state in zip(policies, states, strict=True)
        ]
        self.constants = _stacked([constants for constants, _ in found])
        self.state = _stacked([state for _, state in found])
        self._begun = True
        self._policies, self._states = [], []
        return EXACT

    def policies(self) -> list[dict[str, np.ndarray]]:
        """All weights of each seed by path, copies of their own, read only."""
        if not self._policies:
            params = merge(self.constants, self.state.params, self.state.statistics)
            self._policies = _apart(to_host(params), len(self.learners))
        return self._policies

    def states(self) -> list[dict[str, np.ndarray]]:
        """Everything else that a resume needs, of each seed by path, copies of their own."""
        if not self._states:
            self._begin_experience()
            state = dataclasses.replace(self.state, params={}, statistics={})
            self._states = _apart(tree_to_host(state), len(self.learners))
        return self._states


class _Seed:
    """One of the seeds."""

    def __init__(self, runner: SeedsRunner, index: int) -> None:
        self._runner, self._index = runner, index

    @property
    def constants(self) -> Params:
        return jax.tree.map(lambda leaf: leaf[self._index], self._runner.constants)

    def policy_leaves(self) -> dict[str, np.ndarray]:
        return self._runner.policies()[self._index]

    def save(self) -> dict[str, np.ndarray]:
        return self._runner.states()[self._index]

    def shared(self) -> Mapping[str, SharedFile]:
        return NONE_SHARED


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _apart(leaves: dict[str, np.ndarray], count: int) -> list[dict[str, np.ndarray]]:
    parts = [
        {path: np.array(leaf[index]) for path, leaf in leaves.items()} for index in range(count)
    ]
    for part in parts:
        for leaf in part.values():
            leaf.flags.writeable = False
    return parts
