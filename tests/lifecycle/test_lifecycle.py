"""Every operation on weights, for every kind of network, with both kinds of actions.

What is refused is refused for the reason that docs/weights.md gives.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from cells import ACTIONS, FOLDERS, KINDS, SPACES, STEPS, Toy, model_of, observations
from heredity.common.errors import MismatchError, UsageError
from heredity.common.run_folder import RunFolder
from heredity.policies import ActorCritic, Policy
from heredity.policies.behaviour import compare
from heredity.policies.importers import ImportOptions, import_policy
from heredity.spaces import Box, Dict, Discrete
from heredity.training.checkpoints import read_checkpoint
from heredity.training.session import resume_run
from heredity.training.start import Start
from heredity.training.transfer import transfer as transfer_of_checkpoints
from heredity.weights import (
    Rule,
    WeightReport,
    content_hash,
    diff,
    export,
    find,
    flatten,
    subtree,
    write_safetensors,
)

TOTAL = 3 * STEPS
CELLS = [(network, actions) for network in KINDS for actions in ACTIONS]


class Cell(NamedTuple):
    """One run of a cell, of three iterations: a folder is frozen for two, and then trained."""

    network: str
    actions: str
    folder: str
    directory: Path
    policy: Policy
    goes_on: tuple[str, ...]

    def checkpoint(self, step: int) -> Path:
        return RunFolder(self.directory).checkpoint(step)

    def policy_at(self, step: int) -> Policy:
        return Policy.from_pretrained(self.checkpoint(step) / "policy")

    def sees(self) -> Any:
        return observations(self.network)


@pytest.fixture(scope="module", params=CELLS, ids="-".join)
def cell(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cell]:
    network, actions = request.param
    directory = tmp_path_factory.mktemp(f"{network}-{actions}")
    folder = FOLDERS[network]
    frozen = {"freeze": (f"{folder}/**",), "unfreeze": (f"{folder}/**@{2 * STEPS}",)}
    model = model_of(network, actions, **frozen)
    model.learn(
        TOTAL, directory=directory, evaluation_episodes=0, checkpoint_every=STEPS, keep_last=9
    )
    goes_on = ("slow_critic", "return_range") if network == "dreamer" else ()
    yield Cell(network, actions, folder, directory, model.policy, goes_on)


def report_of(policy: Policy, operation: str) -> WeightReport:
    entries = [entry for entry in policy.lineage.entries if entry.operation == operation]
    assert entries, f"the lineage has no {operation}"
    return WeightReport.from_json(entries[-1].arguments["report"])


def hash_of(policy: Policy, folder: str) -> str:
    return content_hash(subtree(policy.params, folder))


def test_freeze(cell: Cell):
    first = cell.policy_at(STEPS)
    fresh = ActorCritic(first.spec).init(0)
    frozen, drawn = (flatten(subtree(params, cell.folder)) for params in (first.params, fresh))
    assert frozen.keys() == drawn.keys()
    for path, leaf in frozen.items():  # two programs may round differently
        np.testing.assert_allclose(leaf, drawn[path], rtol=1e-6, atol=1e-7)
    assert not diff(fresh, first.params).is_empty, "the rest has learnt"
    state = read_checkpoint(cell.checkpoint(STEPS)).state
    slots = [path for path in state if path.startswith("optimizer/") and cell.folder in path]
    assert not slots


def test_unfreeze(cell: Cell):
    last = cell.policy_at(TOTAL)
    first = cell.policy_at(STEPS)
    assert hash_of(cell.policy_at(2 * STEPS), cell.folder) == hash_of(first, cell.folder)
    assert hash_of(last, cell.folder) != hash_of(first, cell.folder)
    state = read_checkpoint(cell.checkpoint(2 * STEPS)).state
    assert [path for path in state if path.startswith("optimizer/") and cell.folder in path]
    report = report_of(last, "unfreeze")
    changed = {row.path for row in report.rows if row.action == "trained"}
    assert changed == set(find(last.params, f"{cell.folder}/**"))


def test_resume(cell: Cell, tmp_path: Path):
    """From before the unfreezing to after it."""
    directory = tmp_path / "resumed"
    shutil.copytree(cell.directory, directory, symlinks=True)
    for step in (2 * STEPS, TOTAL):
        shutil.rmtree(RunFolder(directory).checkpoint(step))
    list(resume_run(directory, environment=Toy(cell.network, cell.actions)))
    for name in ("policy/model.safetensors", "training_state/state.safetensors"):
        place = RunFolder(directory).checkpoint(TOTAL) / name
        assert place.read_bytes() == (cell.checkpoint(TOTAL) / name).read_bytes()


def test_inject(cell: Cell):
    fresh = Policy(cell.policy.spec, ActorCritic(cell.policy.spec).init(7))
    given = subtree(cell.policy.params, cell.folder)
    child, report = fresh.inject(given, into=cell.folder)
    assert hash_of(child, cell.folder) == hash_of(cell.policy, cell.folder)
    touched = {row.path for row in report.rows if row.action == "copied"}
    assert touched == {f"{cell.folder}/{path}" for path in flatten(given)}
    assert report_of(child, "inject") == report and report.guarantee.kind == "exact"
    behaviour = compare(fresh, child, cell.sees())
    assert behaviour.kl_largest is not None and behaviour.kl_largest > 0


def test_diff(cell: Cell):
    before, after = cell.policy_at(STEPS), cell.policy_at(TOTAL)
    changed = {leaf.path for leaf in diff(before.params, after.params).leaves if leaf.relative}
    assert any(path.startswith(f"{cell.folder}/") for path in changed)
    assert diff(after.params, cell.policy.params).is_empty
    behaviour = compare(before, after, cell.sees())
    assert behaviour.kl_largest is not None and behaviour.kl_largest > 0
    assert (behaviour.largest is None) == (cell.actions == "discrete")


def test_export_to_safetensors_and_import(cell: Cell, tmp_path: Path):
    rules = (Rule("{*path}", "{*path}"),)
    arrays, exported = export(cell.policy.params, rules)
    assert exported.coverage == 1.0
    write_safetensors(tmp_path / "weights.safetensors", arrays)
    options = ImportOptions(spec=cell.policy.spec, rules=rules)
    imported = import_policy(tmp_path / "weights.safetensors", "safetensors", options)
    assert imported.policy.policy_hash == cell.policy.policy_hash
    assert report_of(imported.policy, "import").coverage == 1.0
    assert compare(cell.policy, imported.policy, cell.sees()).same == 1.0
    assert imported.policy.lineage.entries[0].operation == "import"


def outputs_of(policy: Policy, seen: Any) -> np.ndarray:
    """Parameters of the distributions, of first moments ``(B, ...)``."""
    count = len(jax.tree.leaves(seen)[0])
    carry = policy.functions.initial_carry((count,), acting=True)
    distribution = jax.jit(policy.distribution)
    return np.asarray(distribution(policy.params, seen, carry, is_first=np.ones(count, bool))[0])


def test_transfer_to_other_sensors(cell: Cell):
    space = SPACES[cell.network]
    seen, shown = cell.sees(), None
    wind = np.full((len(jax.tree.leaves(seen)[0]), 1), 7.0, np.float32)
    if isinstance(space, Dict):
        new: Any = Dict({**dict(space.entries), "wind": Box((1,), names=("wind",))})
        shown = {**seen, "wind": wind}
    elif cell.network in ("cnn", "vit"):
        # Pictures have no named sensors; their resolution may be another one.
        new = Box((12, 12, 3), 0, 255, "uint8")
    else:
        assert isinstance(space, Box)
        new = Box((4,), names=(*space.names, "wind"))
        shown = np.concatenate([seen, wind], axis=-1)
    plan = cell.policy.plan_transfer(new)
    moved, report = cell.policy.transfer(plan)
    assert plan.guarantee.kind == ("exact" if shown is not None else "approximate")
    assert report_of(moved, "transfer").rows == report.rows
    if shown is None:
        # The same smooth picture, in both sizes.
        corners = np.random.default_rng(0).uniform(0, 255, (32, 2, 2, 3))
        seen, shown = (
            np.asarray(jax.image.resize(corners, (32, side, side, 3), "linear")).astype(np.uint8)
            for side in (8, 12)
        )
        before, after = outputs_of(cell.policy, seen), outputs_of(moved, shown)
        # Of the range of the outputs. A cnn sees edges of another steepness, and averages.
        tolerance = {"cnn": 0.2, "vit": 0.02}[cell.network]
        assert np.abs(after - before).max() <= tolerance * np.ptp(before, axis=0).max()
    else:
        before, after = outputs_of(cell.policy, seen), outputs_of(moved, shown)
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_transfer_to_fewer_sensors(cell: Cell):
    space = SPACES[cell.network]
    if cell.network in ("cnn", "vit"):
        with pytest.raises(UsageError, match="has no named columns to change"):
            cell.policy.plan_transfer(drop=["speed"])
        return
    entry = "body/" if isinstance(space, Dict) else ""
    mean, means = 0.7, None
    if cell.network == "dreamer":
        with pytest.raises(MismatchError, match=r"does not normalise .*no statistics of them"):
            cell.policy.plan_transfer(drop=["speed"])
        means = {"speed": mean}
    else:
        statistics = cell.policy.params["normalizer"]["observation"]
        mean = (statistics["body"] if entry else statistics)["mean"][1]
    plan = cell.policy.plan_transfer(drop=[f"{entry}speed"], means=means)
    moved, report = cell.policy.transfer(plan)
    kind = "approximate" if cell.network in ("gru", "dreamer") else "bounded"
    assert report.guarantee.kind == kind, report
    # What stands for the sensor is its mean: where it shows that, nothing changes.
    seen = cell.sees()
    body = seen["body"] if entry else seen
    body[:, 1] = mean
    fewer = np.delete(body, 1, axis=1)
    shown = {**seen, "body": fewer} if entry else fewer
    before, after = outputs_of(cell.policy, seen), outputs_of(moved, shown)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_transfer_to_wider_layers(cell: Cell):
    if cell.network == "dreamer":
        # A norm sees all units: half as many more would leave two thirds of each mean square.
        with pytest.raises(MismatchError, match="a norm over all units follows each"):
            cell.policy.plan_transfer(hidden=(9,))
        return
    moved, report = cell.policy.transfer(cell.policy.plan_transfer(hidden=(9,)))
    assert report.guarantee.kind in ("exact", "rounding"), report
    assert moved.parameter_count > cell.policy.parameter_count
    behaviour = compare(cell.policy, moved, cell.sees())
    assert behaviour.kl_largest is not None and behaviour.kl_largest < 1e-6
    assert behaviour.largest is None or behaviour.largest < 1e-6


def test_transfer_to_other_actions(cell: Cell):
    old = ACTIONS[cell.actions]
    if isinstance(old, Discrete):
        new: Any = Discrete(4, names=(*old.names, "jump"))
    else:
        assert isinstance(old, Box)
        new = Box((3,), -1.0, 1.0, names=(*old.names, "jump"))
    plan = cell.policy.plan_transfer(new_action_space=new)
    moved, report = cell.policy.transfer(plan)
    expected = ("bounded",) if cell.actions == "discrete" else ("exact", "rounding")
    assert report.guarantee.kind in expected, report
    one = jax.tree.map(lambda leaf: leaf[0], cell.sees())
    (before, _), (after, _) = cell.policy.predict(one), moved.predict(one)
    if cell.actions == "discrete":
        assert before == after
    else:
        np.testing.assert_allclose(after[:2], before, atol=1e-6)


def test_a_whole_checkpoint_moves_after_an_unfreezing(cell: Cell):
    """Its optimiser has an age for each unfreezing; where it goes on there is one, from zero."""
    checkpoint = read_checkpoint(cell.checkpoint(TOTAL))
    state = checkpoint.state
    (ages,) = (path for path in state if path.startswith("optimizer/") and path.endswith("/count"))
    assert len(state[ages]) == 2
    if cell.network == "dreamer":
        plan = cell.policy.plan_transfer(add=["wind"])
        kept, short = "optimizer/squares/", "optimizer/momentum/"
        assert any(state[path].any() for path in state if path.startswith(short))
    else:
        plan = cell.policy.plan_transfer(hidden=(9,))
        kept, short = "optimizer/1/mu/", ()
    moved, _ = transfer_of_checkpoints(checkpoint, plan)
    assert moved.state[ages].tolist() == [0]
    assert not any(path.startswith("experience/") for path in moved.state)
    moments = [path for path in moved.state if path.startswith(kept)]
    trained = {path.removeprefix(kept) for path in moments}
    assert trained == {path for path in moved.policy if not path.startswith("normalizer/")}
    # Both begin a run: the moved one, and the one of before where weights have one age again.
    for source in (moved, checkpoint):
        fresh = {path: np.zeros_like(leaf) for path, leaf in source.state.items()}
        fresh[ages] = np.zeros(1, np.int32)
        begun = Start.given(source).first_state(fresh, cell.goes_on)
        assert begun[ages].tolist() == [0]
        going_on = [path for path in begun if path.startswith((kept, *cell.goes_on))]
        assert all(np.array_equal(begun[path], source.state[path]) for path in going_on)
        assert all(
            any(begun[p].any() for p in going_on if p.startswith(part))
            for part in (kept, *cell.goes_on)
        )
        assert not any(begun[path].any() for path in begun if path.startswith(short))
