"""Weights that are trained one after the other: what is the same in every algorithm."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, Generic, Self, TypeVar

from heredity.algorithms.contract import AlgorithmConfig
from heredity.algorithms.freezing import Unfreezing, read_unfreezing
from heredity.algorithms.training_plan import TrainingPlan
from heredity.policies import ActorCritic, PolicySpec
from heredity.spaces import Space
from heredity.weights import Params, flatten, merge

Config = TypeVar("Config", bound=AlgorithmConfig)


class Staged(abc.ABC, Generic[Config]):
    """Settings for given spaces, at one of the stages of training that they unfreeze.

    Args:
        config: Settings.
        observation_space: Of one environment.
        action_space: Of one environment.
        schedule_timesteps: Over how many steps schedules run, where there are any.
        action_repeat: Environment steps of one decision.
        environment: Id and options, to be remembered by the policy.
        stage: How many of the settings' unfreezings there were already.

    Raises:
        UnknownNameError: when a pattern of `freeze`, `unfreeze` or `learning_rate_scale` matches no
            weight.
        UsageError: when nothing is left to train, or settings do not fit each other.

    Attributes:
        spec: Of the policy that is trained.
        functions: Of its networks.
        plan: Which weights are trained, since when, and how fast.
    """

    def __init__(
        self,
        config: Config,
        observation_space: Space,
        action_space: Space,
        *,
        schedule_timesteps: int = 0,
        action_repeat: int = 1,
        environment: dict[str, Any] | None = None,
        stage: int = 0,
    ) -> None:
        self.config = config
        self.stage = stage
        self.schedule_timesteps = schedule_timesteps
        self.action_repeat = action_repeat
        self.spec = self._policy_spec(config, observation_space, action_space, environment)
        self.functions = ActorCritic(self.spec)
        self.plan = TrainingPlan.of(config, flatten(self.functions.shapes()), stage)

    @abc.abstractmethod
    def _policy_spec(self, *given: Any) -> PolicySpec:
        """Of settings, the spaces of observations and actions, and the environment."""

    @property
    def unfreezing(self) -> tuple[Unfreezing, ...]:
        """What is frozen at first and trained later, in the order of the steps."""
        return read_unfreezing(self.config.unfreeze)

    def at_stage(self, stage: int) -> Self:
        """The same after so many unfreezings."""
        spec = self.spec
        return type(self)(
            self.config,
            spec.observation_space,
            spec.action_space,
            schedule_timesteps=self.schedule_timesteps,
            action_repeat=self.action_repeat,
            environment=None if spec.environment is None else dict(spec.environment),
            stage=stage,
        )

    def unfrozen(self, constants: Params, state: Any) -> tuple[Params, Any]:
        """Constants and state of an earlier stage, as this one has them.

        Weights stay as they are; those that are trained from now on get slots in the optimiser.
        """
        frozen, trained, statistics = self.plan.split(self.all_params(constants, state))
        optimizer = self._grown(state.optimizer, trained)
        return frozen, dataclasses.replace(
            state, params=trained, statistics=statistics, optimizer=optimizer
        )

    def _grown(self, optimizer: Any, params: Params) -> Any:
        """The state of an optimiser of fewer stages, with slots for weights that are new."""
        return self.plan.grown(optimizer, params)

    def all_params(self, constants: Params, state: Any) -> Params:
        """Frozen weights, trained weights and statistics as one nested dict."""
        return merge(constants, state.params, state.statistics)
