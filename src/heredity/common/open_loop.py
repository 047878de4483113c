"""What a world model imagined, beside what really happened: in a snapshot, and in files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heredity.common.errors import RefusedError
from heredity.common.files import dump_json
from heredity.common.formats import OPEN_LOOP
from heredity.common.tensors import read_tensors, tensor_bytes

KINDS = ("picture", "numbers", "choice")
_NAME = "open_loop"


@dataclasses.dataclass(frozen=True)
class Entry:
    """What an entry of the observations is.

    Args:
        kind: ``picture`` (height, width, channels), ``numbers`` of any shape, or ``choice``.
        largest: Of a picture, the number that stands for full brightness.
        columns: Names of the numbers; () where they have none.
    """

    kind: str
    largest: float = 1.0
    columns: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Episode:
    """The beginning of an episode, as a world model is shown it: N moments, N - 1 decisions.

    Args:
        observations: ``(N, ...)`` by entry; an observation that is no Dict is the entry
            ``observation``.
        actions: Done after each moment but the last, ``(N - 1, A)``: the numbers that the world
            model reads, such as one-hot choices.
        rewards: On arriving at each moment but the first, ``(N - 1,)``; those learnt from.
        terminated: Whether the task itself ended at the last moment.
    """

    observations: Mapping[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool = False

    @property
    def moments(self) -> int:
        """How many there are."""
        return len(self.rewards) + 1

    def first(self, decisions: int) -> Episode:
        """The beginning of it."""
        if decisions >= len(self.rewards):
            return self
        return Episode(
            {name: values[: decisions + 1] for name, values in self.observations.items()},
            self.actions[:decisions],
            self.rewards[:decisions],
        )


class Prediction(NamedTuple):
    """What was expected of N moments.

    Args:
        observations: ``(N, ...)`` by entry, in its own units: pictures as the environment gives
            them, choices as the most likely one.
        rewards: On arriving at each moment, ``(N,)``; the first means nothing.
        goes_on: The chance that the task goes on after each moment, ``(N,)``, times the discount
            that the model was taught with.
    """

    observations: Mapping[str, np.ndarray]
    rewards: np.ndarray
    goes_on: np.ndarray


@dataclasses.dataclass(frozen=True)
class OpenLoop:
    """An episode, and what a world model made of it with open and with closed eyes.

    Args:
        episode: What really happened.
        entries: What the predicted entries are.
        context: How many moments were seen before the imagining began.
        seen: Of each moment what is expected once it has been seen: the reconstruction.
        imagined: The same while the context lasts; then what follows from the actions alone.
        seed: That decided what was drawn; None when the most likely was taken.

    Example:
        >>> episode = Episode({"x": np.zeros((3, 2))}, np.zeros((2, 1)), np.zeros(2))
        >>> right = Prediction({"x": np.zeros((3, 2))}, np.zeros(3), np.ones(3))
        >>> wrong = Prediction({"x": np.full((3, 2), 0.5)}, np.ones(3), np.ones(3))
        >>> found = OpenLoop(episode, {"x": Entry("numbers")}, 1, right, wrong)
        >>> {name: error.tolist() for name, error in found.errors(found.imagined).items()}
        {'x': [0.5, 0.5, 0.5], 'reward': [0.0, 1.0, 1.0]}
    """

    episode: Episode
    entries: Mapping[str, Entry]
    context: int
    seen: Prediction
    imagined: Prediction
    seed: int | None = None

    @property
    def moments(self) -> int:
        """How many there are."""
        return self.episode.moments

    def errors(self, prediction: Prediction) -> dict[str, np.ndarray]:
        """How far a prediction is from what happened, ``(N,)`` by entry, and of the ``reward``.

        Root of the mean squared error in the entry's own units; of choices the share that is wrong;
        of rewards the absolute error, 0 at the first moment.
        """
        found: dict[str, np.ndarray] = {}
        for name, entry in self.entries.items():
            real = np.asarray(self.episode.observations[name], np.float64)
            off = real - np.asarray(prediction.observations[name], np.float64)
            off = off.reshape((len(off), -1))
            if entry.kind == "choice":
                found[name] = (off != 0).mean(axis=1)
            else:
                found[name] = np.sqrt((off**2).mean(axis=1))
        missed = np.abs(np.asarray(prediction.rewards[1:], np.float64) - self.episode.rewards)
        return {**found, "reward": np.concatenate([[0.0], missed])}

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays by name: ``real/…``, ``reconstructed/…``, ``imagined/…``."""
        found: dict[str, np.ndarray] = {}
        for name, values in self.episode.observations.items():
            found[f"real/{name}"] = np.asarray(values)
        for title, one in (("reconstructed", self.seen), ("imagined", self.imagined)):
            for name, values in one.observations.items():
                found[f"{title}/{name}"] = np.asarray(values)
            found[f"{title}_rewards"] = np.asarray(one.rewards, np.float32)
            found[f"{title}_goes_on"] = np.asarray(one.goes_on, np.float32)
        found["actions"] = np.asarray(self.episode.actions, np.float32)
        found["rewards"] = np.asarray(self.episode.rewards, np.float32)
        return found

    def save(self, folder: Path) -> None:
        """Write ``open_loop.json`` and ``open_loop.safetensors`` into an existing folder."""
        header = {
            "schema_version": OPEN_LOOP.newest,
            "context": self.context,
            "seed": self.seed,
            "terminated": self.episode.terminated,
            "entries": {name: dataclasses.asdict(one) for name, one in self.entries.items()},
        }
        (folder / f"{_NAME}.json").write_text(dump_json(header), encoding="utf-8")
        (folder / f"{_NAME}.safetensors").write_bytes(tensor_bytes(self.arrays(), {}))

    @classmethod
    def load(cls, folder: Path) -> OpenLoop:
        """Read what `save` wrote.

        Raises:
            RefusedError: when a file is missing or torn.
        """
        path = folder / f"{_NAME}.json"
        header = OPEN_LOOP.read(path)
        tensors, _ = read_tensors(folder / f"{_NAME}.safetensors")
        try:
            found = cls(
                _episode(tensors, header["terminated"]),
                {str(name): _entry(told) for name, told in header["entries"].items()},
                int(header["context"]),
                _prediction(tensors, "reconstructed"),
                _prediction(tensors, "imagined"),
                header["seed"],
            )
            _check(found)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RefusedError(path, f"does not describe what was imagined ({error})") from None
        return found


def _below(tensors: Mapping[str, np.ndarray], folder: str) -> dict[str, np.ndarray]:
    start = f"{folder}/"
    return {name.removeprefix(start): v for name, v in tensors.items() if name.startswith(start)}


def _episode(tensors: Mapping[str, np.ndarray], terminated: Any) -> Episode:
    actions, rewards = tensors["actions"], tensors["rewards"]
    return Episode(_below(tensors, "real"), actions, rewards, bool(terminated))


def _prediction(tensors: Mapping[str, np.ndarray], title: str) -> Prediction:
    numbers = tensors[f"{title}_rewards"], tensors[f"{title}_goes_on"]
    return Prediction(_below(tensors, title), *numbers)


def _entry(told: Mapping[str, Any]) -> Entry:
    if told["kind"] not in KINDS:
        raise ValueError(f"an entry is of the kind {told['kind']!r}, known are {', '.join(KINDS)}")
    return Entry(told["kind"], float(told["largest"]), tuple(map(str, told["columns"])))


def _check(found: OpenLoop) -> None:
    """See that everything is of as many moments, so that whoever draws it need not ask."""
    moments = found.moments
    if found.episode.rewards.ndim != 1 or not 1 <= found.context < moments:
        raise ValueError(f"{found.context} of {moments} moments were seen")
    for one in (found.seen, found.imagined):
        if not one.rewards.shape == one.goes_on.shape == (moments,):
            raise ValueError("the rewards are of other moments")
        for name in found.entries:
            real, shape = found.episode.observations[name], one.observations[name].shape
            if real.shape != shape or len(real) != moments:
                raise ValueError(f"{name} was {real.shape}, and {shape} was imagined")
            if found.entries[name].kind == "picture" and len(shape) != 4:
                raise ValueError(f"{name} is a picture of shape {shape[1:]}")
