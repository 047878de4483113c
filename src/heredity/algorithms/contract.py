"""What an algorithm is to those who train with it: the loop, runners, files and commands.

Importing this loads no numerical library, so that a command line can read settings at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    import jax

    from heredity.algorithms.freezing import Unfreezing
    from heredity.algorithms.training_plan import TrainingPlan
    from heredity.environments.contract import JaxEnvironment
    from heredity.policies import PolicySpec
    from heredity.weights import Params


# Before the name of something logged: that is a sum, of so many numbers, and not a mean.
NUMBERS = "numbers/"


class AlgorithmConfig(Protocol):
    """Settings: a frozen dataclass. What of it is a dataclass as well is a group of settings.

    Attributes:
        algorithm: Name of the algorithm in files and commands, as in `registry.ALGORITHMS`.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    algorithm: ClassVar[str]

    @property
    def num_envs(self) -> int:
        """Environments stepped side by side."""
        ...

    @property
    def freeze(self) -> tuple[str, ...]:
        """Patterns of weights that are not trained."""
        ...

    @property
    def unfreeze(self) -> tuple[str, ...]:
        """Frozen weights that are trained from a step on, each as ``PATTERN@STEP``."""
        ...

    @property
    def learning_rate_scale(self) -> tuple[str, ...]:
        """What the learning rate of some weights is multiplied by, each as ``PATTERN=NUMBER``."""
        ...

    @property
    def own_networks(self) -> tuple[str, ...]:
        """Networks of a person's own that settings name, each as ``package.module:name``."""
        ...

    @property
    def divided(self) -> Mapping[str, int]:
        """What several devices divide among themselves, by how a person sets it."""
        ...


@runtime_checkable
class OfKinds(Protocol):
    """A group of settings of which each kind has some."""

    @property
    def kind(self) -> str:
        """Which."""
        ...

    def as_kind(self, kind: str) -> dict[str, Any]:
        """These settings by name, without those that another kind does not have."""
        ...


class OptimizerState(Protocol):
    """What an optimiser keeps: a dataclass whose other fields are moments, shaped like weights."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def count(self) -> jax.Array:
        """Steps since each stage began, (stages,) int32."""
        ...


class AlgorithmState(Protocol):
    """Everything that training changes: a registered, frozen dataclass.

    Every leaf has the same shape for as long as a stage lasts. What the optimiser has learnt stands
    under ``optimizer``: it goes on where a run starts from a checkpoint.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def params(self) -> Params:
        """Weights that are trained."""
        ...

    @property
    def statistics(self) -> Params:
        """``normalizer/…``; {} without."""
        ...

    @property
    def experience(self) -> Any:
        """What belongs to the environments; made by `Algorithm.begin`."""
        ...

    @property
    def steps(self) -> jax.Array:
        """Counter of environment steps."""
        ...

    @property
    def attempt(self) -> jax.Array:
        """How often training was rolled back, uint32. Every draw depends on it."""
        ...


class Room(NamedTuple):
    """What an algorithm keeps in memory beside its weights.

    Args:
        bytes: How much.
        told: What it is, in words and numbers.
        advice: What to change where that is too much.
        limit: Bytes that a person allows.
    """

    bytes: float
    told: str
    advice: str
    limit: float = math.inf


class Algorithm(Protocol):
    """Settings and spaces as pure functions over one state.

    States are of the algorithm's own class, an `AlgorithmState`. Constants are weights that are not
    trained; they never change. An algorithm on JAX environments runs through this alone: on one
    device, for several seeds under `jax.vmap` with the axis of `common.seeds`, and over a mesh of
    `common.devices`. One on environments of the host has a runner of its own
    (`training.runners`).
    """

    @property
    def config(self) -> AlgorithmConfig:
        """Settings."""
        ...

    @property
    def spec(self) -> PolicySpec:
        """Of the policy that is trained."""
        ...

    @property
    def plan(self) -> TrainingPlan:
        """Which weights are trained, since when, and how fast."""
        ...

    @property
    def stage(self) -> int:
        """How many of the settings' unfreezings there were."""
        ...

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps, those that an action is repeated for among them."""
        ...

    @property
    def unfreezing(self) -> Sequence[Unfreezing]:
        """What is frozen at first and trained later, in the order of the steps."""
        ...

    @property
    def goes_on(self) -> tuple[str, ...]:
        """Paths in the state that go on with the optimiser where a run starts from a checkpoint."""
        ...

    @property
    def copied(self) -> Mapping[str, str]:
        """Folders of the state that begin as copies of weights, with the folders of these."""
        ...

    def check_all_used(self) -> None:
        """Refuse settings of which only the built networks show that they do nothing.

        To be asked when a run begins; one that an early version began so may go on.

        Raises:
            UsageError: naming the first of them.
        """
        ...

    def at_stage(self, stage: int) -> Self:
        """The same after so many unfreezings."""
        ...

    def init(self, seed: jax.Array | int) -> tuple[Params, Any]:
        """Constants and a fresh state, without experience."""
        ...

    def unfrozen(self, constants: Params, state: Any) -> tuple[Params, Any]:
        """Constants and state of an earlier stage, as this one has them."""
        ...

    def all_params(self, constants: Params, state: Any) -> Params:
        """Constants, trained weights and statistics as one nested dict."""
        ...

    def begin(self, environment: JaxEnvironment, seed: jax.Array | int) -> Any:
        """The first experience: environments at the start of their episodes."""
        ...

    def iteration(
        self, environment: JaxEnvironment, constants: Params, state: Any
    ) -> tuple[Any, dict[str, jax.Array]]:
        """Act and learn, as one pure function.

        Returns:
            The new state, and what is logged: single numbers by name, means over the iteration;
            or sums, of so many numbers as is logged under `NUMBERS` and the name.
            Among them are ``finite`` (whether loss and weights are), and sums over the episodes
            that ended: ``episodes``, ``episode_returns``, ``episode_lengths``.
        """
        ...

    def placed(self, whole: Any, split: Any) -> Any:
        """Where the parts of the state are, as a prefix of its tree.

        Args:
            whole: For what every device has.
            split: For what is divided among devices along its first axis.
        """
        ...

    def work(self, params: Params) -> float:
        """Operations in one gradient step, roughly.

        Args:
            params: The weights that are trained, or their shapes.
        """
        ...

    def room(self) -> Room:
        """What is kept in memory beside the weights."""
        ...
