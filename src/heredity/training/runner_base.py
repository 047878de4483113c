"""What runners and drivers are, and what runners share: weights and state in and out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from heredity.algorithms.contract import NUMBERS, Algorithm, AlgorithmState
from heredity.algorithms.training_plan import TrainingPlan
from heredity.common import counters
from heredity.common.shared_files import SharedFile
from heredity.environments import Exactness
from heredity.training.metrics import LAST_VALUES
from heredity.training.room import check_room_to_train
from heredity.weights import (
    Params,
    merge,
    to_host,
    tree_from_host,
    tree_to_host,
    unflatten,
)

# Most runners train any algorithm; one that acts on the host knows its own.
Trained = TypeVar("Trained", bound=Algorithm)
State = TypeVar("State", bound=AlgorithmState)

NONE_SHARED: Mapping[str, SharedFile] = MappingProxyType({})


class Learner(Protocol):
    """One policy that is being trained: what of it goes into files."""

    @property
    def constants(self) -> Params:
        """Weights that training does not change."""
        ...

    def policy_leaves(self) -> dict[str, np.ndarray]:
        """All weights by path, copies of their own."""
        ...

    def save(self) -> dict[str, np.ndarray]:
        """Everything else that a resume needs, by path, copies of their own."""
        ...

    def shared(self) -> Mapping[str, SharedFile]:
        """What a resume needs beside that, and never changes, by name."""
        ...


class Runner(Learner, Protocol):
    """Trains one policy."""

    @property
    def algorithm(self) -> Algorithm:
        """What is run."""
        ...

    @property
    def step(self) -> int:
        """Environment steps so far."""
        ...

    @property
    def restarts(self) -> int:
        """How often a process of the environment was started again."""
        ...

    def iterate(self, iterations: int) -> dict[str, float]:
        """Run whole iterations; stops early when something is not finite.

        Returns:
            Means of what is logged (of `LAST_VALUES` the last one); sums ``episodes``,
            ``episode_returns``, ``episode_lengths``; ``iterations`` made; ``finite`` 1 or 0. For a
            mean of other than one number an iteration, with `NUMBERS` before its name, of how many.
        """
        ...

    def keep_in(self, folder: Path) -> None:
        """Before anything else: put files there that checkpoints are to share."""
        ...

    def load(
        self,
        policy: dict[str, np.ndarray],
        state: dict[str, np.ndarray],
        attempt: int | None,
        shared: Mapping[str, SharedFile] = NONE_SHARED,
    ) -> Exactness:
        """Go on from what `policy_leaves`, `save` and `shared` gave."""
        ...

    def go_on_at(self, stage: int) -> None:
        """Train more weights from now on: those that this stage of the algorithm trains."""
        ...

    def go_back_to(self, stage: int) -> None:
        """Train what this stage, an earlier one, trains; to be followed by `load`."""
        ...


class Driver(Protocol):
    """Trains all policies of a run, in step with each other; most runs have one."""

    @property
    def algorithm(self) -> Algorithm:
        """What is run."""
        ...

    @property
    def learners(self) -> Sequence[Learner]:
        """The policies, in the order of their seeds."""
        ...

    @property
    def step(self) -> int:
        """Environment steps of each policy so far."""
        ...

    @property
    def restarts(self) -> int:
        """How often a process of the environment was started again; see `HostEnvironment`."""
        ...

    def iterate(self, iterations: int) -> list[dict[str, float]]:
        """Run whole iterations; stops early when something of some policy is not finite.

        Returns:
            For each policy what `Runner.iterate` gives.
        """
        ...

    def keep_in(self, folder: Path) -> None:
        """Before anything else: put files there that checkpoints are to share."""
        ...

    def load(
        self,
        policies: Sequence[dict[str, np.ndarray]],
        states: Sequence[dict[str, np.ndarray]],
        shared: Sequence[Mapping[str, SharedFile]] = (),
    ) -> Exactness:
        """Go on from what the `learners` gave, in their order."""
        ...

    def go_on_at(self, stage: int) -> None:
        """Train more weights from now on: those that this stage of the algorithm trains."""
        ...


class Alone:
    """The driver of a run with one policy.

    Args:
        runner: Trains it.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    @property
    def algorithm(self) -> Algorithm:
        """What is run."""
        return self.runner.algorithm

    @property
    def learners(self) -> Sequence[Runner]:
        """The one policy."""
        return [self.runner]

    @property
    def step(self) -> int:
        """Environment steps so far."""
        return self.runner.step

    @property
    def restarts(self) -> int:
        """How often a process of the environment was started again."""
        return self.runner.restarts

    def iterate(self, iterations: int) -> list[dict[str, float]]:
        """Run whole iterations."""
        return [self.runner.iterate(iterations)]

    def keep_in(self, folder: Path) -> None:
        """Put files there that checkpoints are to share."""
        self.runner.keep_in(folder)

    def load(
        self,
        policies: Sequence[dict[str, np.ndarray]],
        states: Sequence[dict[str, np.ndarray]],
        shared: Sequence[Mapping[str, SharedFile]] = (),
    ) -> Exactness:
        """Go on from a saved state."""
        return self.runner.load(policies[0], states[0], None, *shared)

    def go_on_at(self, stage: int) -> None:
        """Train more weights from now on."""
        self.runner.go_on_at(stage)


class BaseRunner(Generic[Trained, State]):
    """What all runners of one policy share: weights and state in and out."""

    SPILLS = False
    """Whether experience that has no room in memory lies in files."""

    constants: Params
    state: State

    def __init__(self, algorithm: Trained) -> None:
        self._use(algorithm)

    def _use(self, algorithm: Trained) -> None:
        """Make the programs that train what an algorithm trains."""
        self.algorithm = algorithm
        # One program instead of some forty small ones.
        self._init = jax.jit(algorithm.init)
        weights = shapes_of_weights(self._init)
        check_room_to_train(algorithm, weights, spills=self.SPILLS)
        self._options = training_program(algorithm, weights)

    def go_on_at(self, stage: int) -> None:
        """Train more weights from now on: those that this stage of the algorithm trains."""
        before = self.constants, self.state
        self._use(self.algorithm.at_stage(stage))
        self.constants, self.state = self.algorithm.unfrozen(*before)

    def go_back_to(self, stage: int) -> None:
        """Train what this stage, an earlier one, trains; to be followed by `load`."""
        self._use(self.algorithm.at_stage(stage))
        state = jax.eval_shape(self._init, np.uint32(0))[1]
        self.state = dataclasses.replace(state, experience=self.state.experience)

    @property
    def step(self) -> int:
        """Environment steps so far."""
        return counters.to_int(self.state.steps)

    @property
    def restarts(self) -> int:
        """How often a process of the environment was started again."""
        return 0

    def policy_leaves(self) -> dict[str, np.ndarray]:
        """All weights by path, copies of their own."""
        return to_host(merge(self.constants, self.state.params, self.state.statistics))

    def save(self) -> dict[str, np.ndarray]:
        """The state without the weights, which stand in the policy's own file."""
        return saved(self.state)

    def keep_in(self, folder: Path) -> None:
        """Nothing is kept in files of its own, unless a runner says otherwise."""

    def shared(self) -> Mapping[str, SharedFile]:
        """None."""
        return NONE_SHARED

    def _load_state(
        self, policy: dict[str, np.ndarray], state: dict[str, np.ndarray], attempt: int | None
    ) -> None:
        plan = self.algorithm.plan
        self.constants, self.state = restored(plan, self.state, policy, state)
        if attempt is not None:
            self.state = dataclasses.replace(self.state, attempt=jnp.uint32(attempt))


def saved(state: AlgorithmState) -> dict[str, np.ndarray]:
    """A state by path without the weights, which stand in the policy's own file."""
    return tree_to_host(dataclasses.replace(state, params={}, statistics={}))


# Operations in a gradient step below which threads cost more than they save on a CPU.
_SMALL_STEP = 30e6


def shapes_of_weights(init: Callable[..., tuple[Params, AlgorithmState]]) -> Params:
    """Shapes and dtypes of the weights that an algorithm's `init`, compiled or to be, makes."""
    return jax.eval_shape(init, np.uint32(0))[1].params


def training_program(algorithm: Algorithm, params: Params) -> dict[str, Any]:
    """How XLA is asked to compile programs that learn; only those for a CPU change.

    XLA keeps to vectors of half the width that processors have, because the widest once slowed them
    down. It also orders operations such that two threads find something to do. Where these are
    small (CartPole), handing them over takes longer than doing them; where they are not (reacher of
    brax), actor and critic then run side by side. `benchmarks/changes.py` measures both.

    Args:
        algorithm: What is trained.
        params: Its weights, or their shapes.

    Returns:
        Options for `jax.jit`.
    """
    return {
        "xla_cpu_prefer_vector_width": 512,
        "xla_cpu_enable_concurrency_optimized_scheduler": algorithm.work(params) > _SMALL_STEP,
    }


def restored(
    plan: TrainingPlan,
    template: State,
    policy: dict[str, np.ndarray],
    state: dict[str, np.ndarray],
) -> tuple[Params, State]:
    """Frozen weights and state from what was saved of them.

    Args:
        plan: Says which weights are frozen.
        template: A state of the same shapes; its weights are not looked at.
        policy: What `Learner.policy_leaves` gave.
        state: What `Learner.save` gave.

    Raises:
        MismatchError: when the state does not fit the template.
    """
    template = dataclasses.replace(template, params={}, statistics={})
    found: State = tree_from_host(template, state, "training_state/state.safetensors")
    params = unflatten({path: jnp.array(leaf) for path, leaf in policy.items()})
    frozen, trained, statistics = plan.split(params)
    return frozen, dataclasses.replace(found, params=trained, statistics=statistics)


def means(sums: dict[str, float]) -> dict[str, float]:
    """Means over the iterations made, of everything that is neither a count nor a last value.

    Of what is logged with `NUMBERS`, over so many numbers.
    """
    counts = ("episodes", "episode_returns", "episode_lengths", "iterations", "finite")
    made = max(sums["iterations"], 1)

    def mean(name: str, total: float) -> float:
        if name in counts or name in LAST_VALUES or name.startswith(NUMBERS):
            return total
        return total / max(sums.get(f"{NUMBERS}{name}", made), 1)

    return {name: mean(name, total) for name, total in sums.items()}
