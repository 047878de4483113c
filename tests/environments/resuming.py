"""Whether an environment can be led back to where it was, and goes on there as it did."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from heredity.environments import Exactness, HostEnvironment, SeededEpisodes, gymnasium, make


def actions_of(env: HostEnvironment, count: int, seed: int = 0) -> list[np.ndarray]:
    """Random actions for the whole vector, (num_envs, ...) each."""
    generator = np.random.default_rng(seed)
    return [
        np.stack([env.action_space.sample(generator) for _ in range(env.num_envs)])
        for _ in range(count)
    ]


def played(episodes: SeededEpisodes, actions: Sequence[np.ndarray]) -> list[bytes]:
    """What each step led to, as bytes; finished episodes are followed by new ones."""
    told = []
    for action in actions:
        result = episodes.step(action)
        told.append(pickle.dumps(tuple(result[:4])))
        episodes.reset_finished(result.terminated | result.truncated)
    return told


def restored(id: str, steps: int = 30, more: int = 20, **options: Any) -> tuple[Exactness, bool]:
    """Play, save, come back in another vector, and go on in both.

    Returns:
        What restoring answered, and whether both went on the same.
    """
    first, second = (make(id, num_envs=2, **options) for _ in range(2))
    try:
        assert isinstance(first, HostEnvironment) and isinstance(second, HostEnvironment)
        one, other = SeededEpisodes(first, 3), SeededEpisodes(second, 3)
        one.start()
        played(one, actions_of(first, steps))
        one.reset_finished(np.array([True, False]))  # so that the two are not in step
        played(one, actions_of(first, 5, seed=1))
        answer = other.restore(one.save())
        coming = actions_of(first, more, seed=2)
        return answer, played(one, coming) == played(other, coming)
    finally:
        first.close()
        second.close()


def maker_survives_pickling(monkeypatch: Any, module: Any, id: str, **options: Any) -> bool:
    """Whether what makes an environment can be sent to a worker process, and makes it there."""
    seen: list[Any] = []
    real = gymnasium.make_vector

    def spy(name: str, maker: Any, *rest: Any) -> Any:
        seen.append(maker(False))
        return real(name, maker, *rest)

    monkeypatch.setattr(module, "make_vector", spy)
    make(id, 1, **options).close()
    pickle.loads(pickle.dumps(seen[0]))().close()
    return True
