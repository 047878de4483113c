"""What happened, kept on the host to be learnt from again.

Each environment has its own pace: an episode's end is a record that no decision follows from, so
environments whose episodes end more often have more records.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from heredity.algorithms.dreamer.mixture import UNIFORM, Mixture, age
from heredity.algorithms.dreamer.replay import Place, Record
from heredity.algorithms.dreamer.segments import Segments, layout_of
from heredity.common.errors import MismatchError, RefusedError
from heredity.common.files import remove_tree
from heredity.common.shared_files import SharedFile
from heredity.common.words import counted

# Bytes of states that a checkpoint writes anew at most, for a resume that is exact.
STATES = 2**30


class HostReplay:
    """Records of all environments: rows of each, counted from the first one on.

    Args:
        example: One step of all environments, leaves ``(E, ...)``; shapes will do.
        rows: Records of each environment that are kept at least, where all have the same pace.
        memory: Bytes that they may take; above that the oldest lie in files.
        folder: For these files, and for those that checkpoints share; None if nothing is saved.
        mixture: Which sequences are learnt from again.

    Attributes:
        written: Records of each environment so far, ``(E,)``.
        served: So many of them were given out because they were new, ``(E,)``.

    Raises:
        UsageError: when the memory is not enough for the newest records.
    """

    def __init__(
        self,
        example: Record,
        rows: int,
        memory: float,
        folder: Path | None = None,
        mixture: Mixture = UNIFORM,
    ) -> None:
        self._layout = layout_of(example, rows, memory)
        self._folder = folder or Path(tempfile.mkdtemp(prefix="heredity-replay-"))
        if folder is None:
            weakref.finalize(self, _remove, self._folder, os.getpid())
        self._segments = Segments(example, self._layout, self._folder, at_once=folder is not None)
        environments = example.reward.shape[0]
        # Of each segment: its first rows, and whether what was before them is lost. In rings.
        self._begins = np.zeros((self._layout.segments, environments), np.int64)
        self._cut = np.zeros(self._layout.segments, bool)
        self.written = np.zeros(environments, np.int64)
        self.served = np.zeros(environments, np.int64)
        # In memory whatever the layout, because all of them decide what is drawn. In rings.
        kept = self._layout.segments * self._layout.rows if mixture.priority else 1
        self._priorities = np.zeros((environments, kept), np.float32)
        self._most = np.float32(1.0)
        self._mixture = mixture

    @property
    def _numbers(self) -> np.ndarray:
        """Of the segments that are kept, ascending."""
        newest = self._segments.newest
        return np.arange(max(0, newest - self._layout.segments + 1), newest + 1)

    @property
    def _oldest(self) -> np.ndarray:
        return self._begins[self._numbers[0] % self._layout.segments]

    @property
    def _filled(self) -> np.ndarray:
        """Rows of each environment in the newest segment."""
        return self.written - self._begins[self._segments.newest % self._layout.segments]

    def _starts(self, length: int) -> np.ndarray:
        """How many sequences of a length there are of each environment."""
        return np.maximum(self.written - self._oldest - length + 1, 0)

    def starts(self, length: int) -> int:
        """How many sequences of a length there are."""
        return int(self._starts(length).sum())

    def add(self, record: Record, which: np.ndarray | None = None) -> None:
        """One more step of all environments, or of some; the oldest go where there is no room.

        Args:
            record: Leaves ``(E, ...)``.
            which: Of which environments, ``(E,)`` bool; all if not given.

        Raises:
            StorageError: when the disk refuses.
        """
        chosen = np.arange(len(self.written)) if which is None else np.flatnonzero(which)
        if (self._filled[chosen] == self._layout.rows).any():
            self._segments.begin_next()
            slot = self._segments.newest % self._layout.segments
            self._begins[slot], self._cut[slot] = self.written, False
        self._segments.put(record, chosen, self._filled[chosen])
        # As if most was to be learnt of what nobody has learnt from yet.
        self._priorities[chosen, self.written[chosen] % self._priorities.shape[1]] = self._most
        self.written[chosen] += 1

    def draw(self, chance: np.random.Generator, count: int, length: int) -> Place:
        """Sequences to learn from: those that are new, once; then any, each as likely as others.

        Args:
            chance: Decides which.
            count: How many.
            length: Of each; there is one at least.
        """
        starts = self._starts(length)
        ends = np.cumsum(starts)
        drawn = chance.integers(0, ends[-1], count)
        environments = np.searchsorted(ends, drawn, side="right")
        first = self._oldest[environments] + drawn - (ends - starts)[environments]
        if not self._mixture.is_uniform:
            first, environments = self._mixed(chance, first, environments, length)
        # Every environment's records are cut into new sequences, one after the other.
        self.served = np.maximum(self.served, self._oldest)
        waiting = (self.written - self.served) // length
        new = np.repeat(np.arange(len(waiting)), waiting)[:count]
        earlier = np.arange(len(new)) - np.searchsorted(new, new)
        environments[: len(new)] = new
        first[: len(new)] = self.served[new] + earlier * length
        self.served += np.bincount(new, minlength=len(waiting)) * length
        return Place(first + np.arange(length)[:, None], environments)

    def _mixed(
        self,
        chance: np.random.Generator,
        first: np.ndarray,
        environments: np.ndarray,
        length: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where some sequences begin: some as given, some by their age, some by their priority."""
        starts, oldest = self._starts(length), self._oldest
        kind, of_age, of_priority = chance.random((3, len(first)))
        back = age(of_age, starts[environments].astype(float)).astype(np.int64)
        newer = oldest[environments] + np.maximum(starts[environments] - 1 - back, 0)
        first = np.where(self._mixture.is_recent(kind), newer, first)
        chosen = self._mixture.is_prioritised(kind)
        if chosen.any():
            in_order = self._in_order()
            sums = np.pad(np.cumsum(in_order, axis=1, dtype=float), ((0, 0), (1, 0)))
            chances = np.maximum(sums[:, length:] - sums[:, :-length], 0.0)
            begins = np.arange(chances.shape[1]) < starts[:, None]
            ends = np.cumsum(np.where(begins, chances, 0.0))
            # Not where all are 0, nor after a loss that is no number, which ends the iteration.
            chosen &= ends[-1] > 0.0
            found = np.searchsorted(ends, of_priority[chosen] * ends[-1], side="right")
            environments[chosen], start = np.divmod(found, chances.shape[1])
            first[chosen] = oldest[environments[chosen]] + start
        return first, environments

    def _in_order(self) -> np.ndarray:
        """Priorities of the records that are kept, from the oldest on, ``(E, most of any E)``."""
        count = (self.written - self._oldest).max()
        rows = self._oldest[:, None] + np.arange(count)
        found = np.take_along_axis(self._priorities, rows % self._priorities.shape[1], axis=1)
        return np.where(rows < self.written[:, None], found, np.float32(0.0))

    def _where(self, place: Place) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of segments, and the rows in them, ``(L, B)`` each."""
        kept = self._numbers
        begins = self._begins[kept % self._layout.segments]
        numbers = np.empty_like(place.rows)
        for sequence, environment in enumerate(place.environments):
            # Of several that begin there all but the last have no row of this environment.
            after = np.searchsorted(begins[:, environment], place.rows[:, sequence], side="right")
            numbers[:, sequence] = kept[after - 1]
        first = self._begins[numbers % self._layout.segments, place.environments]
        return numbers, place.rows - first

    def read(self, place: Place) -> Record:
        """The records ``(L, B, ...)`` of a place.

        An episode that goes on in no record, because another begins in the next one, ended.

        Raises:
            RefusedError: when a file is not what it was.
        """
        numbers, rows = self._where(place)
        found = self._segments.read(numbers, rows, place.environments)
        is_first = found.is_first | (self._cut[numbers % self._layout.segments] & (rows == 0))
        follows = np.concatenate([is_first[1:], np.zeros_like(is_first[:1])])
        return found._replace(is_first=is_first, is_last=found.is_last | follows)

    def put_states(
        self,
        place: Place,
        deter: np.ndarray,
        stoch: np.ndarray,
        priorities: np.ndarray | None = None,
    ) -> None:
        """Newer states ``(L, B, ...)`` of a place, packed, for those who begin there.

        Those in files stay as they are.

        Args:
            place: Where.
            deter: Of the world model there.
            stoch: The same.
            priorities: ``(L, B)``; needed where they are kept.
        """
        numbers, rows = self._where(place)
        self._segments.put_states(numbers, rows, place.environments, deter, stoch)
        if self._mixture.priority:
            found = np.asarray(priorities) ** np.float32(self._mixture.exponent)
            ring = place.rows % self._priorities.shape[1]
            self._priorities[place.environments, ring] = found
            self._most = max(self._most, found.max())

    # --- saving -----------------------------------------------------------------------------------

    def save(self) -> dict[str, np.ndarray]:
        """All that is not in `shared`, by name."""
        kept = self._numbers % self._layout.segments
        newest = self._segments.filled(int(self._filled.max()))
        return {
            **{f"newest/{name}": leaf for name, leaf in newest.items()},
            "begins": self._begins[kept],
            "cut": self._cut[kept],
            "written": self.written.copy(),
            "served": self.served.copy(),
            "states_in_memory": np.array(self._states_in_memory),
            **self._saved_priorities(),
        }

    @property
    def _states_in_memory(self) -> int:
        """Segments whose states are renewed; all of them count as one number."""
        return self._layout.states if self._layout.states < self._layout.segments else -1

    def _saved_priorities(self) -> dict[str, np.ndarray]:
        if not self._mixture.priority:
            return {}
        return {"priorities": self._in_order(), "most": np.asarray(self._most)}

    def shared(self) -> dict[str, SharedFile]:
        """Files by name: of records that do not change any more, and of their states as they are.

        Raises:
            StorageError: when the disk refuses.
        """
        full = self._numbers[:-1]
        files = {_name(place): self._segments.file(number) for place, number in enumerate(full)}
        states = self._segments.states(STATES)
        return files | {_name(number - full[0], "-states"): file for number, file in states.items()}

    def load(
        self, saved: Mapping[str, np.ndarray], shared: Mapping[str, SharedFile], what: str
    ) -> list[str]:
        """Go on from what `save` and `shared` gave.

        Files that are torn or missing are left out; their records are lost.

        Returns:
            Why it is not what it was; nothing if it is.

        Raises:
            MismatchError: when it is of another replay.
        """
        begins, cut, written, served = self._counters(saved, what)
        counts = np.diff(begins, axis=0)
        files, refused = dict[int, SharedFile](), list[RefusedError]()
        for place in range(len(counts)):
            try:
                files[place] = _checked(shared, _name(place)).taken(self._folder)
            except RefusedError as error:
                refused.append(error)
        states, torn = dict[int, SharedFile](), list[RefusedError]()
        for number, place in enumerate(files):
            if (name := _name(place, "-states")) not in shared:
                continue  # those in the segment's own file are taken
            try:
                states[number] = _checked(shared, name)
            except RefusedError as error:
                torn.append(error)
        newest = _below("newest/", saved)
        older = self._segments.load(list(files.values()), newest, states, what)
        told: list[str] = []
        if refused:
            told.append(
                f"{len(refused)} of {len(counts)} files of the replay could not be read, their "
                f"records are lost ({refused[0]})"
            )
        if int(saved.get("states_in_memory", -1)) != self._states_in_memory:
            told.append("the replay has another budget of memory than before")
        if torn:
            told.append(
                f"{counted(len(torn), 'file')} of newer states of the replay could not be read "
                f"({torn[0]})"
            )
        if older:
            told.append(
                f"states in {older} of {len(counts)} files of the replay are as they were when "
                "these were written"
            )
        lost = np.array([place not in files for place in range(len(counts))], bool)
        # Rows after those that are lost are counted as if these had never been.
        gone = counts * lost[:, None]
        self.written = written - gone.sum(axis=0)
        self.served = served - np.clip(served - begins[:-1], 0, gone).sum(axis=0)
        if self._mixture.priority:
            self._load_priorities(saved, begins, written, lost, what)
        begins -= np.vstack([np.zeros_like(written), np.cumsum(gone, axis=0)])
        kept = np.append(~lost, True)
        self._begins[: kept.sum()] = begins[kept]
        self._cut[: kept.sum()] = (cut | np.append(False, lost))[kept]
        return told

    def _load_priorities(
        self,
        saved: Mapping[str, np.ndarray],
        begins: np.ndarray,
        written: np.ndarray,
        lost: np.ndarray,
        what: str,
    ) -> None:
        found, most = (np.asarray(saved.get(name, ())) for name in ("priorities", "most"))
        rows = begins[0][:, None] + np.arange((written - begins[0]).max())
        if found.shape != rows.shape or most.shape != ():
            raise MismatchError(
                f"{what} does not fit: priorities are {found.dtype}{list(found.shape)}, "
                f"float32{list(rows.shape)} was expected",
                "It belongs to another configuration or environment",
            )
        self._most = np.float32(most)
        for environment, row in enumerate(found):
            there = rows[environment] < written[environment]
            segments = np.searchsorted(begins[:, environment], rows[environment], side="right") - 1
            left = row[there & ~np.append(lost, False)[segments]]
            ring = (begins[0, environment] + np.arange(len(left))) % self._priorities.shape[1]
            self._priorities[environment, ring] = left

    def _counters(self, saved: Mapping[str, np.ndarray], what: str) -> list[np.ndarray]:
        environments = len(self.written)
        segments = len(saved.get("cut", ()))
        expected = {
            "begins": (np.dtype(np.int64), (segments, environments)),
            "cut": (np.dtype(bool), (segments,)),
            "written": (np.dtype(np.int64), (environments,)),
            "served": (np.dtype(np.int64), (environments,)),
        }
        found = {name: np.array(saved.get(name, ())) for name in expected}
        fits = all((leaf.dtype, leaf.shape) == expected[name] for name, leaf in found.items())
        if not fits or not 0 < segments <= self._layout.segments:
            raise MismatchError(
                f"{what} does not fit: its replay is not of {environments} environments, or of "
                "another size",
                "It belongs to another configuration or environment",
            )
        return list(found.values())


def _checked(shared: Mapping[str, SharedFile], name: str) -> SharedFile:
    """A file of a checkpoint, if it is what it was.

    Raises:
        RefusedError: when it is not.
    """
    if name not in shared:
        raise RefusedError(name, "is not in the checkpoint")
    shared[name].check()
    return shared[name]


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker holds a copy of everything
        remove_tree(folder)


def _name(place: int, part: str = "") -> str:
    return f"replay/{place:08d}{part}.safetensors"


def _below(prefix: str, leaves: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {n.removeprefix(prefix): leaf for n, leaf in leaves.items() if n.startswith(prefix)}
