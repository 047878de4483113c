"""Which weights are trained when, and how fast: the same for all algorithms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from heredity.algorithms.contract import AlgorithmConfig, OptimizerState
from heredity.algorithms.freezing import read_scales, read_unfreezing
from heredity.common.errors import UsageError
from heredity.weights import Params, flatten, select, unflatten

STATISTICS = "normalizer/"
"""What begins like this is no weight that has a gradient: it counts what was seen."""

State = TypeVar("State", bound=OptimizerState)


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """What settings say of each weight; where they say nothing, all are trained from the start.

    Args:
        begins: The stage at which it begins to be trained, by path: 0 for the start, n for the nth
            unfreezing; None for never.
        scales: What its learning rate is multiplied by, by path.
        stage: How many unfreezings there were.
    """

    begins: Mapping[str, int | None]
    scales: Mapping[str, float]
    stage: int = 0

    @classmethod
    def of(cls, config: AlgorithmConfig, paths: Iterable[str], stage: int = 0) -> TrainingPlan:
        """The plan of settings.

        Args:
            config: Settings.
            paths: Of all weights.
            stage: How many unfreezings there were.

        Raises:
            UnknownNameError: when a pattern matches nothing.
            UsageError: when one changes nothing; when nothing is left to train.
        """
        known = list(paths)
        # That each pattern changes something is seen to below, for all kinds of patterns.
        frozen = select(known, config.freeze, idle=True)
        for pattern, others in _each_without(config.freeze):
            if select(known, others, idle=True) == frozen:
                raise UsageError(
                    f"freeze {pattern!r} changes nothing: without it {' '.join(others) or 'none'} "
                    "freezes the same weights; leave it out"
                )
        begins: dict[str, int | None] = {path: None if path in frozen else 0 for path in known}
        for number, (pattern, step) in enumerate(read_unfreezing(config.unfreeze), start=1):
            new = [path for path in select(known, [pattern]) if begins[path] is None]
            if not new:
                raise UsageError(
                    f"unfreeze '{pattern}@{step}' finds no weight that is still frozen then: "
                    f"freeze is {' '.join(config.freeze) or 'empty'}"
                )
            begins |= dict.fromkeys(new, number)
        scales = _scales(known, config.learning_rate_scale)
        learn = [p for p in known if begins[p] is not None and not p.startswith(STATISTICS)]
        for text, others in _each_without(config.learning_rate_scale):
            without = _scales(known, others)
            if all(scales[path] == without[path] for path in learn):
                raise UsageError(
                    f"learning_rate_scale {text!r} changes nothing: what it matches is never "
                    "trained, or learns at that rate without it; leave it out"
                )
        plan = cls(begins, scales, stage)
        if all(path in plan.frozen for path in known if not path.startswith(STATISTICS)):
            raise UsageError(f"freeze {config.freeze} leaves nothing to train")
        return plan

    @property
    def frozen(self) -> frozenset[str]:
        """The paths that are not trained at this stage."""
        return frozenset(
            path for path, begin in self.begins.items() if begin is None or begin > self.stage
        )

    def split(self, params: Params) -> tuple[Params, Params, Params]:
        """Frozen weights, trained weights, and statistics that are not frozen."""
        frozen = self.frozen
        parts: tuple[dict[str, Any], ...] = ({}, {}, {})
        for path, leaf in flatten(params).items():
            part = 0 if path in frozen else 2 if path.startswith(STATISTICS) else 1
            parts[part][path] = leaf
        kept, trained, statistics = map(unflatten, parts)
        return kept, trained, statistics

    def rates(self, params: Params) -> jax.Array:
        """What the learning rate of each weight is multiplied by: a vector, or one number for all.

        Args:
            params: The weights that are trained.
        """
        return _spread(self.scales, _sizes(params), jnp.float32)

    def of_stages(self, numbers: jax.Array, params: Params) -> jax.Array:
        """For each weight the number of the stage that it began in, as `rates` has them.

        Args:
            numbers: One for each stage, (stages,), such as how long ago it began.
            params: The weights that are trained.
        """
        return _spread(self.begins, _sizes(params), lambda begin: numbers[begin or 0])

    def grown(self, state: State, params: Params) -> State:
        """The moments of an optimiser of earlier stages, with slots for weights that are new.

        Args:
            state: Of fewer stages: its ``count`` is (stages,), everything else in it is shaped like
                the weights; of several seeds, with an axis before the others.
            params: All weights that are trained at this one.
        """
        stages = state.count.shape[-1]
        new = jnp.zeros((*state.count.shape[:-1], self.stage + 1 - stages), state.count.dtype)
        trained = flatten(params)

        def with_slots(moments: Params) -> Params:
            there = flatten(moments)
            return unflatten(
                {path: there.get(path, jnp.zeros_like(leaf)) for path, leaf in trained.items()}
            )

        names = [field.name for field in dataclasses.fields(state) if field.name != "count"]
        moments = {name: with_slots(getattr(state, name)) for name in names}
        count = jnp.concatenate([state.count, new], axis=-1)
        return dataclasses.replace(state, count=count, **moments)


def _scales(paths: Sequence[str], texts: Sequence[str]) -> dict[str, float]:
    """What the learning rate of each weight is multiplied by; of several patterns the last one."""
    scales = dict.fromkeys(paths, 1.0)
    for pattern, scale in read_scales(texts):
        scales |= dict.fromkeys(select(paths, [pattern]), scale)
    return scales


def _each_without(texts: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """Each of them, and the others."""
    return [(text, [*texts[:at], *texts[at + 1 :]]) for at, text in enumerate(texts)]


def _sizes(params: Params) -> dict[str, int]:
    return {path: leaf.size for path, leaf in flatten(params).items()}


def _spread(
    kinds: Mapping[str, Any], sizes: Mapping[str, int], number: Callable[[Any], jax.Array]
) -> jax.Array:
    """The number of its kind for each weight, in the order of the vector; of one kind, one number.

    Args:
        kinds: By path.
        sizes: Of the weights, by path.
        number: Of a kind.
    """
    found = {kinds[path] for path in sizes}
    if len(found) == 1:
        return number(found.pop())
    parts = [jnp.broadcast_to(number(kinds[path]), (size,)) for path, size in sizes.items()]
    return jnp.concatenate(parts)
