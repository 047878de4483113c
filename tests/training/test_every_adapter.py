"""A few iterations in every adapter; killed and resumed, the same bytes, or the reason why not."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.algorithms.dreamer.test_algorithm import TINY
from tiny_runs import CONFIG, final_bytes, resume, train

from heredity.common.run_folder import RunFolder
from heredity.environments import HostEnvironment, find_adapter, make, registry
from heredity.training.checkpoints import Checkpoint, read_checkpoint

CONFIGS = {
    "ppo": dataclasses.replace(CONFIG, num_envs=2, num_steps=8, num_minibatches=1),
    "dreamer": dataclasses.replace(TINY, num_envs=2, num_steps=8),
}
KILLED, TOTAL = 32, 64  # after 2 and 4 iterations; by the limits below, in the midst of episodes


@dataclasses.dataclass(frozen=True)
class Case:
    """One way to run an adapter.

    Args:
        id: Of the environment.
        options: Of the environment.
        inexact: A part of the reason why a resume is not exact; empty where it is.
        dreamt: Whether a world model is learnt of it as well.
    """

    id: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    inexact: str = ""
    dreamt: bool = False


CASES = {
    "probe": Case("probe/observation-action-reward", {"length": 5}),
    "probe, host": Case("probe/observation-action-reward", {"length": 5, "host": True}),
    "gymnax": Case("gymnax/CartPole-v1"),
    "brax": Case("brax/fast", dreamt=True),
    "gym": Case("gym/CartPole-v1", {"max_episode_steps": 11}),
    "gym, async": Case("gym/CartPole-v1", {"vectorization": "async", "max_episode_steps": 11}),
    "gym, mujoco": Case("gym/Hopper-v5", {"max_episode_steps": 11}),
    "atari": Case("atari/Breakout", {"max_episode_steps": 11, "resolution": 21}, dreamt=True),
    "atari, by lives": Case(
        "atari/Breakout",
        {"max_episode_steps": 11, "resolution": 21, "terminal_on_life_loss": True},
        "terminal_on_life_loss",
    ),
    "crafter": Case("crafter/CrafterReward-v1", {"max_episode_steps": 11, "size": 18}, dreamt=True),
    "dm_control": Case("dm_control/cartpole-swingup", {"max_episode_steps": 11}, dreamt=True),
    "envpool": Case("envpool/CartPole-v1", {"max_episode_steps": 11}, "seeding=episode", True),
    "envpool, by episode": Case(
        "envpool/HalfCheetah-v5", {"max_episode_steps": 11, "seeding": "episode"}, dreamt=True
    ),
    "minigrid": Case(
        "minigrid/MiniGrid-Dynamic-Obstacles-5x5-v0",
        {"max_episode_steps": 11, "mission_words": 6},
        dreamt=True,
    ),
}


def killed_after(directory: Path, step: int, copy: Path) -> Path:
    """The folder as it would lie there if the run had been killed right after a checkpoint."""
    folder = RunFolder(Path(shutil.copytree(directory, copy, symlinks=True)))
    for later in folder.checkpoint_steps():
        if later > step:
            shutil.rmtree(folder.checkpoint(later))
    last = folder.root / "checkpoints" / "last"
    last.unlink()
    last.symlink_to(folder.checkpoint(step).name)
    return folder.root


def checkpoint(directory: Path) -> Checkpoint:
    return read_checkpoint(RunFolder(directory).checkpoint(TOTAL))


def test_every_built_in_adapter_is_here():
    # Playground takes half a minute to compile, so its own tests see to this as well.
    here = {case.id.partition("/")[0] for case in CASES.values()}
    assert here == set(registry._BUILT_IN) - {"playground"}


def cases() -> Iterator[Any]:
    """What is trained, by whom."""
    for name, case in CASES.items():
        yield pytest.param(case, "ppo", id=name)
        if case.dreamt:
            yield pytest.param(case, "dreamer", id=f"{name}, dreamer")


@pytest.mark.parametrize(("case", "algorithm"), list(cases()))
def test_killed_and_resumed(
    case: Case, algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = CONFIGS[algorithm]
    missing = find_adapter(case.id).missing()
    if missing:
        pytest.skip(missing)
    if case.id.startswith("crafter/"):
        crafter = pytest.importorskip("crafter")
        # Making a world of the usual size takes a second.
        monkeypatch.setattr(crafter, "Env", functools.partial(crafter.Env, area=(24, 24)))
    env = make(case.id, config.num_envs, **case.options)
    whole = tmp_path / "whole"
    try:
        train(whole, TOTAL, config=config, env=env, checkpoint_every=KILLED, evaluation_episodes=0)
    finally:
        if isinstance(env, HostEnvironment):
            env.close()
    killed = killed_after(whole, KILLED, tmp_path / "killed")
    resume(killed)
    operations = {entry.operation: entry for entry in checkpoint(killed).lineage.entries}
    entry = operations["resume"]
    assert entry.step == KILLED
    told = (entry.arguments["exact"], entry.arguments["reason"])
    manifests = [checkpoint(directory).notes["exactness"] for directory in (whole, killed)]
    if case.inexact:
        assert not told[0] and case.inexact in told[1]
        # Said before anybody needs it, and not again and again.
        assert manifests == [{"exact": False, "reason": told[1]}] * 2
    else:
        assert told == (True, "")
        assert manifests == [{"exact": True, "reason": ""}] * 2
        assert final_bytes(killed, TOTAL) == final_bytes(whole, TOTAL)
