"""Where the records of a large replay lie: the newest in memory, older ones in files.

Records are cut into segments, in the order in which they came. A segment that is full never changes
and is written to a file of its own; checkpoints share that file, so that saving costs what is new.
The states of the world model beside the records do change, as long as they are in memory.
"""

from __future__ import annotations

import logging
import math
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from heredity.algorithms.dreamer.replay import Record
from heredity.common.errors import MismatchError, UsageError
from heredity.common.formats import REPLAY
from heredity.common.shared_files import SharedFile
from heredity.environments.room import GIBIBYTE
from heredity.weights import named_leaves

log = logging.getLogger("heredity")

# Bytes of a segment at most: a checkpoint writes as many anew. And of the replay at most so much.
_SEGMENT = 2**25
_SHARE = 8
# Of a segment, while it is written.
_COPIES = 3


class Layout(NamedTuple):
    """How records are cut into segments, and how many of these are in memory.

    Args:
        rows: Of each environment in a segment.
        segments: That are kept, the newest among them, which is not full yet.
        happened: Of them in memory, but for their states.
        states: Of them with their states in memory.
    """

    rows: int
    segments: int
    happened: int
    states: int

    @property
    def is_in_memory(self) -> bool:
        """Whether no record will ever be in files alone."""
        return self.happened == self.states == self.segments


def layout_of(example: Record, rows: int, memory: float) -> Layout:
    """The layout for so many records in so much memory.

    Args:
        example: One step of all environments, leaves ``(E, ...)``; shapes will do.
        rows: Records of each environment that are to be kept at least.
        memory: Bytes that they may take.

    Raises:
        UsageError: when it is not enough for the newest ones.
    """
    given = memory
    happened, states = (_bytes(part) for part in _parts(example))
    of_segment = max(1, min(-(-rows // _SHARE), _SEGMENT // (happened + states)))
    # One more than they fill: the oldest goes as a whole.
    segments = -(-rows // of_segment) + 1
    happened, states = happened * of_segment, states * of_segment
    memory -= _COPIES * (happened + states)
    # States first: those in files are never renewed.
    most = min(segments, int(memory / 2 / states))
    seen = min(segments, int((memory - most * states) / happened))
    most = min(segments, int((memory - seen * happened) / states))
    if min(most, seen) < 2:
        least = (4 * max(happened, states) + _COPIES * (happened + states)) / GIBIBYTE
        raise UsageError(
            f"replay_memory {given / GIBIBYTE:.3g} GiB is too little: {least:.3g} are needed at "
            "least for what is seen in these environments"
        )
    return Layout(of_segment, segments, seen, most)


def _parts(record: Record) -> tuple[Record, Record]:
    """What happened, and the states beside it; what is missing of a record is ()."""
    missing: dict[str, Any] = dict.fromkeys(Record._fields, ())
    states = {"deter": record.deter, "stoch": record.stoch}
    happened: dict[str, Any] = {**record._asdict(), **dict.fromkeys(states, ())}
    return Record(**happened), Record(**{**missing, **states})


def _bytes(step: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(step))


def _zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros that take memory when they are written to; numpy's may be cleared (`keep_memory`)."""
    size = max(1, math.prod(shape) * dtype.itemsize)
    place = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.ndarray(shape, dtype, buffer=place)


class _Window:
    """Arrays ``(E, rows, ...)`` of the newest segments."""

    def __init__(self, example: Any, rows: int, count: int) -> None:
        self.arrays = jax.tree.map(
            lambda leaf: _zeros((count, leaf.shape[0], rows, *leaf.shape[1:]), leaf.dtype),
            example,
        )
        self.named = named_leaves(self.arrays)
        self.count = count

    def of(self, number: int) -> Any:
        """Views of a segment."""
        return jax.tree.map(lambda array: array[number % self.count], self.arrays)

    def leaves(self, number: int) -> dict[str, np.ndarray]:
        """Views of a segment by name."""
        return {name: array[number % self.count] for name, array in self.named.items()}


class Segments:
    """Records of all environments.

    Args:
        example: One step of all environments, leaves ``(E, ...)``; shapes will do.
        layout: Of the segments.
        folder: For files of its own.
        at_once: Whether a segment is written when it is full; else when its file is asked for.

    Attributes:
        newest: Number of the segment that is being filled.
        files: Of the full segments that are kept, by number.
    """

    def __init__(self, example: Record, layout: Layout, folder: Path, *, at_once: bool) -> None:
        self.layout = layout
        self._folder = folder
        self._at_once = at_once or not layout.is_in_memory
        happened, states = _parts(example)
        self._happened = _Window(happened, layout.rows, layout.happened)
        self._states = _Window(states, layout.rows, layout.states)
        self._windows = (self._happened, self._states)
        self.newest = 0
        self.files: dict[int, SharedFile] = {}
        self._last_states: dict[int, SharedFile] = {}  # of segments whose states are in files

    def put(self, record: Record, environments: np.ndarray, rows: np.ndarray) -> None:
        """Write a step ``(E, ...)`` of some environments into the newest segment."""

        def put(array: np.ndarray, new: Any) -> None:
            array[environments, rows] = np.asarray(new)[environments]

        for window, part in zip(self._windows, _parts(record), strict=True):
            jax.tree.map(put, window.of(self.newest), part)

    def filled(self, rows: int) -> dict[str, np.ndarray]:
        """So many rows of the newest segment by name, ``(E, rows, ...)``, copies of their own."""
        return {
            name: leaf[:, :rows].copy()
            for window in self._windows
            for name, leaf in window.leaves(self.newest).items()
        }

    def begin_next(self) -> None:
        """Let the newest segment be full, and begin the next one.

        Raises:
            StorageError: when the disk refuses.
        """
        if self._at_once:
            self.file(self.newest)
        self.newest += 1
        self._spill()
        gone = self.newest - self.layout.segments
        for files in (self.files, self._last_states):
            files.pop(gone, None)
        for window in self._windows:
            for leaf in window.leaves(self.newest).values():
                leaf.fill(0)

    def _spill(self) -> None:
        """Write states that leave the memory now: they were renewed since their segment's file."""
        number = self.newest - self._states.count
        if number >= 0 and self._states.count < self.layout.segments:
            leaves = self._states.leaves(number)
            self._last_states[number] = SharedFile.written(self._folder, leaves, REPLAY)
        if self.newest == min(window.count for window in self._windows) < self.layout.segments:
            log.warning(
                "the replay has reached its budget of memory: older records are read from %s from "
                "now on, and their states are no more renewed",
                self._folder,
            )

    def read(self, numbers: np.ndarray, rows: np.ndarray, environments: np.ndarray) -> Record:
        """Sequences of records, leaves ``(L, B, ...)``.

        Args:
            numbers: Of the segments, ``(L, B)``.
            rows: In them, ``(L, B)``.
            environments: Of each sequence, ``(B,)``.

        Raises:
            RefusedError: when a file is not what it was.
        """
        happened, states = (
            self._read(window, numbers, rows, environments) for window in self._windows
        )
        return happened._replace(deter=states.deter, stoch=states.stoch)

    def _read(
        self, window: _Window, numbers: np.ndarray, rows: np.ndarray, environments: np.ndarray
    ) -> Any:
        slots = numbers % window.count
        found = jax.tree.map(lambda array: array[slots, environments, rows], window.arrays)
        in_file = numbers <= self.newest - window.count
        leaves = named_leaves(found)
        for sequence in np.flatnonzero(in_file.any(axis=0)):
            for number in np.unique(numbers[in_file[:, sequence], sequence]):
                times = np.flatnonzero(numbers[:, sequence] == number)
                begin, end = times[0], times[-1] + 1
                file = self.files[int(number)]
                if window is self._states:
                    file = self._last_states.get(int(number), file)
                tensors = file.tensors
                first = int(environments[sequence]) * self.layout.rows + int(rows[begin, sequence])
                for name, leaf in leaves.items():
                    shape = leaf.shape[2:]
                    part = tensors[name].part(first * math.prod(shape), (end - begin, *shape))
                    leaf[begin:end, sequence] = part
        return found

    def put_states(
        self,
        numbers: np.ndarray,
        rows: np.ndarray,
        environments: np.ndarray,
        deter: np.ndarray,
        stoch: np.ndarray,
    ) -> None:
        """Newer states ``(L, B, ...)``, as far as those before them are in memory."""
        kept = numbers > self.newest - self._states.count
        which = np.broadcast_to(environments, numbers.shape)
        place = (numbers % self._states.count)[kept], which[kept], rows[kept]
        self._states.arrays.deter[place] = deter[kept]
        self._states.arrays.stoch[place] = stoch[kept]

    # --- into files and from them -----------------------------------------------------------------

    def file(self, number: int) -> SharedFile:
        """That of a full segment; it is written if that was not done yet.

        Raises:
            StorageError: when the disk refuses.
        """
        if number not in self.files:
            happened, states = (window.leaves(number) for window in self._windows)
            self.files[number] = SharedFile.written(self._folder, happened | states, REPLAY)
        return self.files[number]

    def states(self, most: int) -> dict[int, SharedFile]:
        """Files of the newest states of full segments, by number.

        Those of states that are in memory are written now.

        Args:
            most: Bytes that these may take; there are none of them if they would take more.

        Raises:
            StorageError: when the disk refuses.
        """
        numbers = self._with_states()
        if sum(leaf.nbytes for leaf in self._states.leaves(0).values()) * len(numbers) > most:
            return dict(self._last_states)
        leaves = self._states.leaves
        now = {n: SharedFile.written(self._folder, leaves(n), REPLAY) for n in numbers}
        return self._last_states | now

    def _with_states(self) -> range:
        """Numbers of the full segments whose states are in memory."""
        return range(max(0, self.newest - self._states.count + 1), self.newest)

    def load(
        self,
        files: Sequence[SharedFile],
        newest: Mapping[str, np.ndarray],
        states: Mapping[int, SharedFile],
        what: str,
    ) -> int:
        """Go on with other segments, which are numbered anew.

        Args:
            files: Of the full ones.
            newest: Of the newest one by name, ``(E, rows that are full, ...)``.
            states: What `states` gave of them.
            what: What they are from, for errors.

        Returns:
            How many segments have states in memory that were not among `states`.

        Raises:
            MismatchError: when they are of other records.
        """
        self.newest = len(files)
        self.files = dict(enumerate(files))
        whole = {name: leaf for w in self._windows for name, leaf in w.leaves(0).items()}
        for file in files:
            _check(whole, file.tensors, f"{what}, {file.path.name}")
        for window in self._windows:
            for number in range(max(0, self.newest - window.count + 1), self.newest):
                _read_into(window.leaves(number), self.files[number])
        rows = min((leaf.shape[1] for leaf in newest.values() if leaf.ndim > 1), default=0)
        _check({name: leaf[:, :rows] for name, leaf in whole.items()}, newest, what)
        for window in self._windows:
            for name, leaf in window.leaves(self.newest).items():
                leaf.fill(0)
                leaf[:, :rows] = newest[name]
        there = self._with_states()
        for number, file in states.items():
            leaves = self._states.leaves(number)
            _check(leaves, file.tensors, f"{what}, {file.path.name}")
            if number in there:
                _read_into(leaves, file)
        self._last_states = {
            number: file.taken(self._folder)
            for number, file in states.items()
            if number not in there
        }
        return len([number for number in there if number not in states])


def _read_into(leaves: Mapping[str, np.ndarray], file: SharedFile) -> None:
    for name, leaf in leaves.items():
        leaf[:] = np.asarray(file.tensors[name])


def _check(expected: Mapping[str, Any], found: Mapping[str, Any], what: str) -> None:
    shapes = {name: (tuple(leaf.shape), leaf.dtype) for name, leaf in expected.items()}
    others = {name: (tuple(leaf.shape), leaf.dtype) for name, leaf in found.items()}
    if shapes == others:
        return
    name = next(n for n in sorted({*shapes, *others}) if shapes.get(n) != others.get(n))
    told = [
        "missing" if one is None else f"{one[1]}{list(one[0])}"
        for one in (others.get(name), shapes.get(name))
    ]
    raise MismatchError(
        f"{what} does not fit: {name} is {told[0]}, {told[1]} was expected",
        "It belongs to another configuration or environment",
    )
