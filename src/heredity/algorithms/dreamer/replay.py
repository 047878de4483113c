"""What happened, kept on the device to be learnt from again: a ring for each environment."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from heredity.algorithms.dreamer.mixture import UNIFORM, Mixture, age
from heredity.networks.world_model import State


class Record(NamedTuple):
    """One step of an environment; leaves have any leading axes.

    Args:
        observation: What was seen.
        action: Raw, what was chosen then.
        reward: On arriving here, float32.
        is_first: Whether an episode begins.
        is_last: Whether one ends, for whatever reason.
        is_terminal: Whether the task itself ended.
        deter: The state of the world model here, the bits of bfloat16 as uint16.
        stoch: Its drawn part, the number of each choice, uint8.
        tokens: What a frozen encoder made of what was seen, kept as `deter` is; else ().
        version: How many gradient steps the policy had made that chose the action, uint32.
    """

    observation: Any
    action: jax.Array
    reward: jax.Array
    is_first: jax.Array
    is_last: jax.Array
    is_terminal: jax.Array
    deter: jax.Array
    stoch: jax.Array
    tokens: Any = ()
    version: Any = ()


def halved(numbers: jax.Array) -> jax.Array:
    """Numbers as the bits of bfloat16.

    They are kept as uint16: a processor without bfloat16 would make float32 of a whole ring to
    write some of it.
    """
    return jax.lax.bitcast_convert_type(numbers.astype(jnp.bfloat16), jnp.uint16)


def doubled(bits: Any, dtype: Any) -> jax.Array:
    """The numbers that `halved` made smaller."""
    return jax.lax.bitcast_convert_type(bits, jnp.bfloat16).astype(dtype)


def packed(state: State) -> tuple[jax.Array, jax.Array]:
    """A state in little memory: the bits of bfloat16, and the numbers of choices."""
    chosen = jnp.argmax(state.stoch, axis=-1).astype(jnp.uint8)
    # Zeros are no choice: the state before anything was drawn.
    drawn = jnp.where(state.stoch.any(axis=-1), chosen, jnp.uint8(255))
    return halved(state.deter), drawn


def unpacked(deter: jax.Array, stoch: jax.Array, classes: int, dtype: Any) -> State:
    """The state that `packed` made smaller."""
    return State(doubled(deter, dtype), jax.nn.one_hot(stoch, classes, dtype=dtype))


class Place(NamedTuple):
    """Where sequences of records lie.

    Args:
        rows: ``(L, B)``.
        environments: ``(B,)``.
    """

    rows: Any
    environments: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Replay:
    """Rings of records; those of all environments are written in step.

    Args:
        records: Leaves ``(rows, E, ...)``.
        written: Steps of each environment so far, int32.
        served: Sequences that were given out because they were new, int32.
        priorities: Of each record, ``(rows, E)``; () where nobody asks for them.
        most: The largest one so far; () as well.
        mixture: Which sequences are learnt from again.
    """

    records: Record
    written: jax.Array
    served: jax.Array
    priorities: Any = ()
    most: Any = ()
    mixture: Mixture = dataclasses.field(default=UNIFORM, metadata={"static": True})

    @classmethod
    def empty(cls, example: Record, rows: int, mixture: Mixture = UNIFORM) -> Replay:
        """Room for so many steps of each environment.

        Args:
            example: A step of all of them, leaves ``(E, ...)``; shapes will do.
            rows: How many.
            mixture: Which sequences are learnt from again.
        """

        def room(leaf: Any) -> jax.Array:
            return jnp.zeros((rows, *leaf.shape), leaf.dtype)

        priorities, most = (), ()
        if mixture.priority:
            priorities, most = jnp.zeros((rows, *example.reward.shape)), jnp.float32(1.0)
        records = jax.tree.map(room, example)
        return cls(records, jnp.int32(0), jnp.int32(0), priorities, most, mixture)

    @property
    def _rows(self) -> int:
        return self.records.reward.shape[0]

    @property
    def _environments(self) -> int:
        return self.records.reward.shape[1]

    def starts(self, length: int) -> jax.Array:
        """How many sequences of a length there are."""
        kept = jnp.minimum(self.written, self._rows)
        return jnp.maximum(kept - length + 1, 0) * self._environments

    def with_records(self, records: Record) -> Replay:
        """With steps ``(N, E, ...)`` added, over the oldest ones where there is no room."""
        count = records.reward.shape[0]
        rows = (self.written + jnp.arange(count)) % self._rows
        put = jax.tree.map(lambda ring, new: ring.at[rows].set(new), self.records, records)
        priorities = self.priorities
        if self.mixture.priority:
            # As if most was to be learnt of what nobody has learnt from yet.
            priorities = priorities.at[rows].set(self.most)
        return dataclasses.replace(
            self, records=put, priorities=priorities, written=self.written + count
        )

    def draw(self, key: jax.Array, count: int, length: int) -> tuple[Place, Replay]:
        """Sequences to learn from: those that are new, once; then any.

        Every environment's steps are cut into new sequences one after the other, so that each step
        is learnt from soon after it happened.

        Args:
            key: Decides which.
            count: How many.
            length: Of each.

        Returns:
            Where they lie; and the replay, which remembers what was new.
        """
        oldest = self.written - jnp.minimum(self.written, self._rows)
        of_start, of_environment = jax.random.split(key)
        within = jnp.maximum(self.written - oldest - length + 1, 1)
        start = oldest + jax.random.randint(of_start, (count,), 0, within)
        environment = jax.random.randint(of_environment, (count,), 0, self._environments)
        if not self.mixture.is_uniform:
            start, environment = self._mixed(key, start, environment, within, length)
        # New ones are numbered: those of all environments for the first piece, for the second, ….
        there = (self.written // length) * self._environments
        lost = -(-oldest // length) * self._environments
        served = jnp.maximum(self.served, lost)
        number = served + jnp.arange(count)
        is_new = number < there
        start = jnp.where(is_new, number // self._environments * length, start)
        environment = jnp.where(is_new, number % self._environments, environment)
        rows = (start + jnp.arange(length)[:, None]) % self._rows
        served = served + is_new.sum(dtype=jnp.int32)
        return Place(rows, environment), dataclasses.replace(self, served=served)

    def _mixed(
        self,
        key: jax.Array,
        start: jax.Array,
        environment: jax.Array,
        within: jax.Array,
        length: int,
    ) -> tuple[jax.Array, jax.Array]:
        """Where some sequences begin: some as given, some by their age, some by their priority."""
        oldest = self.written - jnp.minimum(self.written, self._rows)
        kind, of_age, of_priority = jax.random.uniform(jax.random.fold_in(key, 2), (3, len(start)))
        back = age(of_age, within.astype(jnp.float32)).astype(jnp.int32)
        newer = oldest + jnp.maximum(within - 1 - back, 0)
        start = jnp.where(self.mixture.is_recent(kind), newer, start)
        if self.mixture.priority:
            in_order = jnp.roll(self.priorities, -(oldest % self._rows), axis=0)
            sums = jnp.pad(jnp.cumsum(in_order, axis=0), ((1, 0), (0, 0)))
            chances = jnp.maximum(sums[length:] - sums[:-length], 0.0)
            begins = jnp.arange(len(chances))[:, None] < within
            ends = jnp.cumsum(jnp.where(begins, chances, 0.0).reshape(-1))
            found = jnp.searchsorted(ends, of_priority * ends[-1], side="right")
            found = jnp.minimum(found, within * self._environments - 1)
            chosen = self.mixture.is_prioritised(kind) & (ends[-1] > 0.0)
            start = jnp.where(chosen, oldest + found // self._environments, start)
            environment = jnp.where(chosen, found % self._environments, environment)
        return start, environment

    def read(self, place: Place) -> Record:
        """The records ``(L, B, ...)`` of a place.

        An episode that goes on in no record, because another begins in the next one, ended.
        """
        found = jax.tree.map(lambda ring: ring[place.rows, place.environments], self.records)
        follows = jnp.concatenate([found.is_first[1:], jnp.zeros_like(found.is_first[:1])])
        return found._replace(is_last=found.is_last | follows)

    def with_states(self, place: Place, states: State, priorities: Any = None) -> Replay:
        """With newer states ``(L, B, ...)`` of a place, for those who begin there.

        Args:
            place: Where.
            states: Of the world model there.
            priorities: ``(L, B)``; needed where they are kept.
        """
        deter, stoch = packed(states)
        rows, environments = place
        records = self.records._replace(
            deter=self.records.deter.at[rows, environments].set(deter),
            stoch=self.records.stoch.at[rows, environments].set(stoch),
        )
        if not self.mixture.priority:
            return dataclasses.replace(self, records=records)
        found = priorities**self.mixture.exponent
        return dataclasses.replace(
            self,
            records=records,
            priorities=self.priorities.at[rows, environments].set(found),
            most=jnp.maximum(self.most, found.max()),
        )
