"""Callbacks, with the names that people know from Stable-Baselines3. Frequencies count steps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from heredity.common.errors import UsageError
from heredity.training.events import Event
from heredity.training.metrics import MetricsSink, WandbSink
from heredity.training.settings import RunSettings


class Callback:
    """Base: override what is of interest.

    Attributes:
        every: Steps between two events of this callback's own; None when the run's suffice.
        children: Callbacks inside this one. The run does everything for them as for its own, except
            that events reach them through this one's `on_event`, or not.
    """

    every: int | None = None
    children: Sequence[Callback] = ()

    def configure(self, settings: RunSettings) -> RunSettings:
        """Change how the run is kept, before it starts."""
        return settings

    def sinks(self, run_id: str, config: dict[str, Any]) -> Sequence[MetricsSink]:
        """Further places that rows of metrics go to."""
        del run_id, config
        return ()

    def on_training_start(self, step: int, total_timesteps: int) -> None:
        """Before the first iteration of this process."""

    def on_progress(self, step: int, row: dict[str, float]) -> None:
        """About once a second, with the metrics gathered since the last row."""

    def on_event(self, event: Event) -> bool | None:
        """At each evaluation; False ends the run."""

    def on_training_end(self, step: int) -> None:
        """After the last iteration of this process, however it ended."""


EventFunction: TypeAlias = Callable[[Event], bool | None]
CallbackLike: TypeAlias = Callback | EventFunction | Sequence["Callback | EventFunction"] | None


class ConvertCallback(Callback):
    """A plain function ``(event) -> bool | None`` as a callback."""

    def __init__(self, function: EventFunction) -> None:
        self._function = function

    def on_event(self, event: Event) -> bool | None:
        return self._function(event)


def as_callbacks(callback: CallbackLike) -> list[Callback]:
    """A list of callbacks from what people pass: none, one, several, or plain functions.

    Raises:
        UsageError: for something that is neither a callback nor callable.
    """
    if callback is None:
        return []
    if isinstance(callback, Callback):
        return [callback]
    if callable(callback):
        return [ConvertCallback(callback)]
    if isinstance(callback, Sequence) and not isinstance(callback, str):
        return [one for part in callback for one in as_callbacks(part)]
    raise UsageError(f"callback {callback!r}: a Callback, a function (event) or a list of them")


def with_children(callbacks: Sequence[Callback]) -> list[Callback]:
    """Callbacks, and those inside them at any depth, each once, the outer ones first.

    Example:
        >>> inner = StopTrainingOnRewardThreshold(100)
        >>> outer = EvalCallback(callback_on_new_best=inner, callback_after_eval=inner)
        >>> with_children([outer]) == [outer, inner]
        True
    """
    found: dict[int, Callback] = {}

    def visit(callback: Callback) -> None:
        if id(callback) not in found:
            found[id(callback)] = callback
            for child in callback.children:
                visit(child)

    for callback in callbacks:
        visit(callback)
    return list(found.values())


def tell(callbacks: Sequence[Callback], event: Event) -> bool:
    """Give an event to each callback.

    Returns:
        Whether to go on: False when one of them answered False (numpy's and JAX's among them).
    """
    answers = [callback.on_event(event) for callback in callbacks]
    return all(answer is None or bool(answer) for answer in answers)


class CheckpointCallback(Callback):
    """Save everything that a resume needs every `save_freq` steps (steps, not calls)."""

    def __init__(self, save_freq: int) -> None:
        self.save_freq = save_freq

    def configure(self, settings: RunSettings) -> RunSettings:
        return dataclasses.replace(settings, checkpoint_every=self.save_freq)


class EvalCallback(Callback):
    """Evaluate every `eval_freq` steps; the best checkpoint is kept as ``checkpoints/best``.

    Args:
        eval_freq: Environment steps between two evaluations.
        n_eval_episodes: Episodes of one evaluation.
        callback_on_new_best: Called with the event of each new best.
        callback_after_eval: Called with each event.
    """

    def __init__(
        self,
        eval_freq: int = 10_000,
        n_eval_episodes: int = 10,
        callback_on_new_best: CallbackLike = None,
        callback_after_eval: CallbackLike = None,
    ) -> None:
        self._eval_freq, self._episodes = eval_freq, n_eval_episodes
        self._on_new_best = as_callbacks(callback_on_new_best)
        self._after = as_callbacks(callback_after_eval)
        self.children = [*self._on_new_best, *self._after]

    def configure(self, settings: RunSettings) -> RunSettings:
        return dataclasses.replace(
            settings, evaluate_every=self._eval_freq, evaluation_episodes=self._episodes
        )

    def on_event(self, event: Event) -> bool | None:
        return tell([*(self._on_new_best if event.is_best else []), *self._after], event)


class StopTrainingOnRewardThreshold(Callback):
    """End the run once an evaluation's mean return reaches `reward_threshold`.

    A mean that is not finite reaches nothing.
    """

    def __init__(self, reward_threshold: float) -> None:
        self.reward_threshold = reward_threshold

    def on_event(self, event: Event) -> bool | None:
        mean = event.evaluation.mean
        return not (math.isfinite(mean) and mean >= self.reward_threshold)


class StopTrainingOnNoModelImprovement(Callback):
    """End the run after `max_no_improvement_evals` evaluations in a row without a new best.

    Evaluations are those of the whole run, so that one that was interrupted and resumed ends where
    it would have ended anyway.

    Args:
        max_no_improvement_evals: How many evaluations without improvement to tolerate.
        min_evals: Evaluations before counting begins.
    """

    def __init__(self, max_no_improvement_evals: int, min_evals: int = 0) -> None:
        self._most, self._least = max_no_improvement_evals, min_evals

    def on_event(self, event: Event) -> bool | None:
        _ = event.evaluation  # a run that makes none never improves: that is told, not counted
        counted = min(event.evaluations_since_best, event.evaluations - self._least)
        return counted <= self._most


class EveryNTimesteps(Callback):
    """Evaluate every `n_steps` steps and call `callback` with the event."""

    def __init__(self, n_steps: int, callback: CallbackLike) -> None:
        if n_steps < 1:
            raise UsageError(f"n_steps {n_steps}: a whole number >= 1 was expected")
        self._steps = self.every = n_steps
        self.children = as_callbacks(callback)

    def on_event(self, event: Event) -> bool | None:
        # From the event alone: a resume may begin with one that was put off by a signal.
        if event.step // self._steps == event.previous_step // self._steps:
            return True
        return tell(self.children, event)


class WandbCallback(Callback):
    """Send metrics to Weights & Biases (extra ``wandb``)."""

    def __init__(self, project: str) -> None:
        self._project = project

    def sinks(self, run_id: str, config: dict[str, Any]) -> Sequence[MetricsSink]:
        return [WandbSink(self._project, config, run_id)]
