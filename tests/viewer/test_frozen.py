"""What the report says of frozen weights: unmoved, without slots, and how much that saved."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

import heredity as hd
from heredity.common.run_folder import RunFolder
from heredity.common.tensors import read_tensors, tensor_bytes
from heredity.viewer.frozen import FrozenWeights, frozen_html, frozen_weights
from heredity.viewer.reading import Run, read_run
from heredity.viewer.report import render
from heredity.viewer.weight_norms import weight_norms

FROZEN = "actor/hidden_0/**"
# A kernel (1, 8) and a bias (8,) of four bytes each; two moments and a gradient for each.
BYTES = 4 * (8 + 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("frozen") / "run"
    sizes = {"num_envs": 4, "num_steps": 16, "num_minibatches": 2, "network": {"hidden": (8,)}}
    model = hd.PPO("probe/observation-action-reward", freeze=(FROZEN,), **sizes)
    model.learn(192, directory=place, snapshot_every=64, evaluation_episodes=1)
    return place


def compared(run: Run, notes: list[str]) -> FrozenWeights | None:
    found = frozen_weights(run, notes)
    weight_norms(run.snapshots, notes, found.compare if found else None)
    return found


def test_nothing_moved_nothing_has_a_slot_and_what_that_saved(folder: Path):
    run = read_run(folder)
    notes: list[str] = []
    found = compared(run, notes)
    assert found is not None and notes == []
    assert set(found.content) == {"actor/hidden_0/bias", "actor/hidden_0/kernel"}
    assert (found.moved, found.slots, found.compared) == (set(), (), 4)
    assert found.bytes == BYTES and found.saved == 3 * BYTES
    page = render(run)
    assert (
        "no byte moved, they are the same in the checkpoint at 192 steps and in 4 snapshots" in page
    )
    assert "None of them has a slot in the optimiser" in page and f"{3 * BYTES:,} bytes" in page


def test_what_moved_is_told(folder: Path, tmp_path: Path):
    other = Path(shutil.copytree(folder, tmp_path / "run", symlinks=True))
    model = RunFolder(other).snapshot(64) / "policy" / "model.safetensors"
    tensors, header = read_tensors(model)
    tensors["actor/hidden_0/bias"] = tensors["actor/hidden_0/bias"] + np.float32(1e-6)
    model.write_bytes(tensor_bytes(tensors, header))
    run = read_run(other)
    found = compared(run, [])
    assert found is not None and found.moved == {"actor/hidden_0/bias"}
    assert "MOVED: actor/hidden_0/bias" in frozen_html(found)


def test_a_run_without_frozen_weights_has_no_such_section(folder: Path):
    run = read_run(folder)
    nowhere = dataclasses.replace(run, folder=RunFolder(folder / "nowhere"))
    assert frozen_weights(nowhere, []) is None and frozen_html(None) == ""
