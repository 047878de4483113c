"""What happened, kept on the device to be learnt from again: a ring for each environment."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

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
    """

    records: Record
    written: jax.Array
    served: jax.Array

    @classmethod
    def empty(cls, example: Record, rows: int) -> Replay:
        """Room for so many steps of each environment.

        Args:
            example: A step of all of them, leaves ``(E, ...)``; shapes will do.
            rows: How many.
        """

        def room(leaf: Any) -> jax.Array:
            return jnp.zeros((rows, *leaf.shape), leaf.dtype)

        return cls(jax.tree.map(room, example), jnp.int32(0), jnp.int32(0))

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
        return dataclasses.replace(self, records=put, written=self.written + count)

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

    def read(self, place: Place) -> Record:
        """The records ``(L, B, ...)`` of a place.

        An episode that goes on in no record, because another begins in the next one, ended.
        """
        found = jax.tree.map(lambda ring: ring[place.rows, place.environments], self.records)
        follows = jnp.concatenate([found.is_first[1:], jnp.zeros_like(found.is_first[:1])])
        return found._replace(is_last=found.is_last | follows)

    def with_states(self, place: Place, states: State) -> Replay:
        """With newer states ``(L, B, ...)`` of a place, for those who begin there."""
        deter, stoch = packed(states)
        rows, environments = place
        records = self.records._replace(
            deter=self.records.deter.at[rows, environments].set(deter),
            stoch=self.records.stoch.at[rows, environments].set(stoch),
        )
        return dataclasses.replace(self, records=records)
