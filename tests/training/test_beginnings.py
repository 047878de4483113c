"""What is kept of a recorded episode for a world model: it is that episode's beginning."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.algorithms.dreamer.networks import policy_spec
from heredity.common.open_loop import Episode, OpenLoop, Prediction
from heredity.common.run_folder import RunFolder
from heredity.environments import make
from heredity.policies import ActorCritic, Lineage
from heredity.policies.open_loop import Imagination
from heredity.training.evaluation import Evaluator
from heredity.training.snapshots import write_snapshot
from heredity.weights import flatten

TINY = DreamerConfig(depth=2, deter=8, hidden=4, units=4, groups=2, classes=3)


def fulfilled(imagination: Imagination, params: Any, episode: Episode, padded: int) -> OpenLoop:
    """What a model would imagine that is always right: nothing is compiled for it."""
    del params
    assert padded >= episode.moments
    rewards = np.concatenate([[0.0], episode.rewards])
    right = Prediction(episode.observations, rewards, np.ones(episode.moments))
    return OpenLoop(episode, imagination.entries, 1, right, right)


@pytest.mark.parametrize(("host", "keep"), [(False, 64), (True, 4)])
def test_it_is_the_episode_of_the_recording(
    host: bool, keep: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Imagination, "predict", fulfilled)
    env = make("probe/catch", 2, host=host)
    spec = policy_spec(TINY, env.observation_space, env.action_space)
    draws = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: draws.normal(size=leaf.shape).astype(leaf.dtype), ActorCritic(spec).shapes()
    )
    evaluator = Evaluator(spec, env, 2, deterministic=False, record=True, keep=keep)
    played = evaluator.evaluate(params, 3)
    recording, found = played.recording, played.imagined
    assert recording is not None and recording.observations is not None and found is not None
    decisions = min(keep, recording.episode_length)
    assert found.moments == decisions + 1
    episode = found.episode
    np.testing.assert_array_equal(episode.rewards, recording.rewards[:decisions])
    seen = episode.observations["observation"].reshape((decisions + 1, -1))
    np.testing.assert_array_equal(seen, recording.observations[: decisions + 1])
    assert set(np.unique(episode.actions)) <= {0.0, 1.0}
    np.testing.assert_array_equal(episode.actions.sum(axis=1), 1.0)
    assert episode.terminated == (keep == 64)

    folder = RunFolder(tmp_path)
    leaves = {path: np.asarray(leaf) for path, leaf in flatten(params).items()}
    write_snapshot(folder, 7, spec, leaves, Lineage(), played, None)
    kept = OpenLoop.load(folder.snapshot(7) / "imagined")
    np.testing.assert_array_equal(kept.imagined.rewards, found.imagined.rewards)
