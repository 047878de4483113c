"""Runs whose first weights are given."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.training.tiny_runs import CONFIG, SIZE, environment, final_bytes

import heredity as hd
from heredity.common.errors import MismatchError, RefusedError, UsageError
from heredity.common.run_folder import RunFolder
from heredity.policies import Policy
from heredity.training.checkpoints import read_checkpoint
from heredity.training.session import resume_run
from heredity.training.start import _first_difference
from heredity.weights import WeightReport, content_hash, flatten, inject, put

KEPT: dict[str, Any] = {"evaluation_episodes": 1, "evaluate_every": SIZE, "checkpoint_every": SIZE}
BIAS = np.linspace(-1, 1, 8).astype(np.float32)


def biased(params: dict) -> dict:
    return put(params, "actor/hidden_0/bias", BIAS)


def first_policy(directory: Path) -> Policy:
    return Policy.from_pretrained(RunFolder(directory).checkpoint(0) / "policy")


def test_a_hook_changes_the_first_weights_and_the_lineage_says_so(tmp_path: Path):
    seen: list[dict] = []

    def hook(params: dict) -> dict:
        seen.append(params)
        return biased(params)

    model = hd.PPO(environment(), config=CONFIG, post_init=hook)
    model.learn(SIZE, directory=tmp_path, **KEPT)
    first = first_policy(tmp_path)
    np.testing.assert_array_equal(first.params["actor"]["hidden_0"]["bias"], BIAS)
    assert len(seen) == 1
    train, injected = model.policy.lineage.entries[:2]
    assert (train.operation, injected.operation) == ("train", "inject")
    assert train.hash == content_hash(seen[0]) and injected.parent == train.hash
    assert injected.hash == first.policy_hash
    assert injected.arguments["post_init"].endswith("hook")
    report = WeightReport.from_json(injected.arguments["report"])
    assert [row.path for row in report.rows if row.action == "copied"] == ["actor/hidden_0/bias"]


def test_a_hook_may_give_the_report_of_what_it_did(tmp_path: Path):
    model = hd.PPO(
        environment(),
        config=CONFIG,
        post_init=lambda params: inject(params, {"bias": BIAS}, into="actor/hidden_0", allow=["*"]),
    )
    model.learn(SIZE, directory=tmp_path, **KEPT)
    report = WeightReport.from_json(model.policy.lineage.entries[1].arguments["report"])
    rows = {row.path: row for row in report.rows}
    assert rows["actor/hidden_0/bias"].source == "bias"
    assert rows["actor/hidden_0/kernel"].note == "allowed"


def test_such_a_run_resumes_without_the_hook(tmp_path: Path):
    """Killed at any moment: before its first update there is a checkpoint already."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    hd.PPO(environment(), config=CONFIG, post_init=biased).learn(2 * SIZE, directory=whole, **KEPT)
    shutil.copytree(whole, killed, symlinks=True)
    for step in RunFolder(killed).checkpoint_steps()[1:]:
        shutil.rmtree(RunFolder(killed).checkpoint(step))
    list(resume_run(killed))
    assert final_bytes(killed, 2 * SIZE) == final_bytes(whole, 2 * SIZE)
    # Without any checkpoint nobody can know the first weights: it is begun again, not resumed.
    shutil.rmtree(killed / "checkpoints")
    with pytest.raises(RefusedError, match="did not start from fresh weights"):
        list(resume_run(killed))
    hd.PPO(environment(), config=CONFIG, post_init=biased).learn(SIZE, directory=killed, **KEPT)
    assert final_bytes(killed, SIZE) == final_bytes(whole, SIZE)
    with pytest.raises(UsageError, match="holds a run already"):
        hd.PPO(environment(), config=CONFIG, post_init=biased).learn(SIZE, directory=killed)


@pytest.mark.parametrize(
    ("hook", "told"),
    [
        (lambda params: params, "changed no weight"),
        (lambda params: None, "gave NoneType, a nested dict of weights was expected"),
        (lambda params: put(params, "actor/more", np.ones(1)), "actor/more is new"),
        (lambda params: {"actor": params["actor"]}, "critic/hidden_0/bias is missing"),
        (
            lambda params: biased(params) | {"critic": {}},
            "critic/output/kernel is missing|critic/hidden_0/bias is missing",
        ),
        (
            lambda params: put(params, "actor/hidden_0/bias", np.full(8, np.nan, np.float32)),
            "actor/hidden_0/bias has NaN",
        ),
        (
            lambda params: params | {"actor": params["actor"] | {"log_std": np.ones(7)}},
            r"actor/log_std is (new|float64\[7\])",
        ),
    ],
)
def test_what_a_hook_must_not_give_is_an_error(hook: Any, told: str, tmp_path: Path):
    model = hd.PPO(environment(), config=CONFIG, post_init=hook)
    with pytest.raises((MismatchError, UsageError), match=told):
        model.learn(SIZE, directory=tmp_path, **KEPT)
    # The directory is free for the next try.
    assert not (tmp_path / "config.json").exists()


def test_training_begins_with_a_policy(tmp_path: Path):
    teacher = hd.PPO(environment(), config=CONFIG).learn(2 * SIZE, **KEPT).policy
    teacher.save_pretrained(tmp_path / "teacher")
    model = hd.PPO(environment(), config=CONFIG, seed=7, start=tmp_path / "teacher")
    model.learn(SIZE, directory=tmp_path / "run", **KEPT)
    first = first_policy(tmp_path / "run")
    assert first.policy_hash == teacher.policy_hash
    entries = model.policy.lineage.entries
    begun = entries[len(teacher.lineage.entries)]
    before = [(entry.operation, entry.hash) for entry in teacher.lineage.entries]
    assert [(entry.operation, entry.hash) for entry in entries[: len(before)]] == before
    assert (begun.operation, begun.parent, begun.step) == ("train", teacher.policy_hash, 0)
    state = read_checkpoint(RunFolder(tmp_path / "run").checkpoint(0)).state
    assert not any(state[path].any() for path in state if path.startswith("optimizer/0/"))


def test_a_policy_that_only_acts_gets_a_fresh_critic():
    teacher = hd.PPO(environment(), config=CONFIG).learn(SIZE, **KEPT).policy
    spec = dataclasses.replace(teacher.spec, critic=None, normalize_rewards=False)
    params = {name: part for name, part in teacher.params.items() if name != "critic"}
    params["normalizer"] = {"observation": params["normalizer"]["observation"]}
    actor = Policy(spec, params)
    model = hd.PPO(environment(), config=CONFIG, start=actor).learn(SIZE, **KEPT)
    report = WeightReport.from_json(model.policy.lineage.entries[0].arguments["report"])
    made = {row.path for row in report.rows if row.action == "initialised"}
    assert made == {
        path
        for path in flatten(teacher.params)
        if path.startswith(("critic/", "normalizer/reward/"))
    }


def test_another_policy_is_refused():
    teacher = hd.PPO(environment(), config=CONFIG).learn(SIZE, **KEPT).policy
    other = dataclasses.replace(CONFIG, network={"hidden": (9,)})
    with pytest.raises(
        MismatchError, match=r"has actor hidden \[8\], not the \[9\] in the settings"
    ):
        hd.PPO(environment(), config=other, start=teacher).learn(SIZE, **KEPT)
    with pytest.raises(MismatchError, match="the policy to start from sees something else"):
        hd.PPO("gymnax/CartPole-v1", config=CONFIG, start=teacher).learn(SIZE, **KEPT)


def test_a_part_that_only_one_has_is_named_without_all_that_is_in_it():
    one, other = {"heads": {"decoder": {"kind": "mlp"}}}, {"heads": {"decoder": None}}
    assert _first_difference(one, other, "") == "heads decoder, which is not"
    assert _first_difference(other, one, "") == "no heads decoder, which is"


def test_several_seeds_begin_with_the_same_policy(tmp_path: Path):
    teacher = hd.PPO(environment(), config=CONFIG).learn(SIZE, **KEPT).policy
    model = hd.PPO(environment(), config=CONFIG, start=teacher)
    model.learn(SIZE, directory=tmp_path, seeds=2, **KEPT)
    firsts = [first_policy(tmp_path / f"seed-{seed}").policy_hash for seed in (0, 1)]
    assert firsts == [teacher.policy_hash] * 2
    assert len({policy.policy_hash for policy in model.policies.values()}) == 2


def test_environments_on_the_host_begin_with_given_weights_too(tmp_path: Path):
    model = hd.PPO(environment(host=True), config=CONFIG, post_init=biased)
    model.learn(SIZE, directory=tmp_path, **KEPT)
    np.testing.assert_array_equal(first_policy(tmp_path).params["actor"]["hidden_0"]["bias"], BIAS)
