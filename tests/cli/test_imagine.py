"""``heredity imagine``, with a tiny world model that was never trained."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.algorithms.dreamer.networks import policy_spec
from heredity.common.open_loop import Entry, Episode, OpenLoop, Prediction
from heredity.common.run_folder import RunFolder
from heredity.environments import make
from heredity.policies import ActorCritic, Policy

TINY = DreamerConfig(depth=2, deter=8, hidden=4, units=4, groups=2, classes=3)


@pytest.fixture(scope="module")
def dreamer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy folder."""
    env = make("probe/catch")
    assert env.spec is not None
    spec = policy_spec(TINY, env.observation_space, env.action_space, env.spec.to_json())
    draws = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: draws.normal(size=leaf.shape).astype(leaf.dtype), ActorCritic(spec).shapes()
    )
    folder = tmp_path_factory.mktemp("dreamer") / "policy"
    Policy(spec, params).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def run(dreamer: Path) -> Path:
    """A run with three snapshots, of which the second kept what was imagined."""
    folder = RunFolder(dreamer.parent / "run")
    for step in (0, 10, 20):
        shutil.copytree(dreamer, folder.snapshot(step) / "policy")
    folder.config.write_text("{}")
    seen = np.zeros((6, 6, 5, 1), np.uint8)
    seen[:, 0, 2] = 255
    told = Prediction({"observation": seen}, np.zeros(6, np.float32), np.ones(6, np.float32))
    actions = np.eye(3, dtype=np.float32)[[0, 1, 2, 1, 0]]
    episode = Episode({"observation": seen}, actions, np.array([0, 0, 0, 0, 1], np.float32), True)
    place = folder.snapshot(10) / "imagined"
    place.mkdir()
    OpenLoop(episode, {"observation": Entry("picture", 255.0)}, 3, told, told).save(place)
    return folder.root


def test_of_a_run_it_is_the_newest_recorded_episode(run: Path, heredity, tmp_path: Path):
    out = tmp_path / "imagined.npz"
    words = ("imagine", run, "--out", out, "--steps", "4", "--context", "2")
    found = heredity(*words, "--json").json
    assert found["policy"] == str(run / "snapshots" / "000000000010" / "policy")
    assert (found["recorded"], found["context"], found["moments"]) == (True, 2, 5)
    assert (found["seed"], found["terminated"], found["rewards"]) == (None, False, [0, 0, 0, 0])
    assert found["environment"] == "probe/catch" and found["path"] == str(out)
    assert len(found["errors"]["imagined"]["observation"]) == 5
    with np.load(out) as arrays:
        assert arrays["imagined/observation"].shape == (5, 6, 5, 1)
        assert arrays["imagined/observation"].dtype == np.uint8
        np.testing.assert_allclose(arrays["imagined_rewards"][1:], found["imagined_rewards"])
    told = heredity(*words).told
    assert "2 moments seen, 3 imagined, of the episode of its snapshot in probe/catch" in told
    assert "observation" in told and f"written to {out}" in told.replace("\n", "")


def test_without_a_recorded_episode_one_is_played(dreamer: Path, heredity, tmp_path: Path):
    out = tmp_path / "imagined.png"
    found = heredity("imagine", dreamer, "--out", out, "--seed", "3", "--json").json
    assert (found["recorded"], found["moments"], found["context"]) == (False, 6, 3)
    assert found["terminated"] and abs(found["rewards"][-1]) == 1 and found["seed"] == 3
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--out", "x.mp4"], 2, "x.mp4 ends in '.mp4': .webp, .gif"),
        ([], 2, "--out is needed"),
        (["--out", "nowhere/x.gif"], 2, "a file in a folder that is there"),
        (["--out", "x.gif", "--steps", "0"], 2, "--steps 0: a whole number from 1"),
        (["--out", "x.gif", "--seed", "-1"], 2, "--seed -1"),
        (["--out", "x.gif", "--context", "6"], 2, "context 6: the episode has 6 moments"),
        (["--out", "x.gif", "--env", "probe/luck"], 3, "observations are not the policy's"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_answered(
    run: Path, heredity, words: list[str], code: int, told: str, monkeypatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    done = heredity("imagine", run / "snapshots" / "000000000010", *words, "--json")
    assert done.code == code and told in done.told
    assert list(tmp_path.iterdir()) == []


def test_a_policy_without_a_world_model_is_refused(policy: Path, heredity, tmp_path: Path):
    done = heredity("imagine", policy, "--out", tmp_path / "x.gif")
    assert done.code == 2 and "cannot imagine anything: it has no world model" in done.told
