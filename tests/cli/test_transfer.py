"""``heredity transfer``, and runs that begin with what it gave."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from command_line import TINY

from heredity.policies import Policy


def test_a_plan_is_printed_and_nothing_written(policy: Path, heredity, tmp_path: Path):
    words = (
        "transfer",
        policy,
        "--add-sensor",
        "wind",
        "--out",
        tmp_path / "n",
    )
    done = heredity(*words, "--dry-run")
    assert done.code == 0 and "+ wind, zero" in done.out and "dry run" in done.out
    assert "actor/hidden_0/kernel" in done.out and not (tmp_path / "n").exists()
    found = heredity(*words, "--dry-run", "--json").json
    assert found["out"] is None and found["plan"]["guarantee"] == {"kind": "exact"}
    assert found["observation_space"]["names"] == ["signal", "wind"]


def test_a_policy_is_moved_measured_and_recorded(policy: Path, heredity, tmp_path: Path):
    found = heredity(
        "transfer", policy, "--add-sensor", "wind", "--hidden", "16",
        "--out", tmp_path / "new", "--json",
    ).json  # fmt: skip
    assert found["report"]["measurements"][0]["value"] < 1e-5
    moved, before = Policy.from_pretrained(tmp_path / "new"), Policy.from_pretrained(policy)
    assert moved.policy_hash == found["policy_hash"]
    assert moved.lineage.entries[-1].parent == found["source"]["policy_hash"] == before.policy_hash
    seen = np.array([0.5], np.float32)
    np.testing.assert_allclose(
        moved.predict(np.array([0.5, np.nan], np.float32))[0], before.predict(seen)[0], atol=1e-5
    )
    again = heredity("transfer", policy, "--hidden", "16", "--out", tmp_path / "new")
    assert again.code == 2 and "is there already" in again.told


def test_a_run_begins_with_a_moved_checkpoint(trained: Path, heredity, tmp_path: Path):
    last = trained / "checkpoints" / "last"
    done = heredity("transfer", last, "--hidden", "16", "--out", tmp_path / "wide")
    assert done.code == 0 and "checkpoint" in done.out and "optimiser" in done.out
    words = [word if word != "8" else "16" for word in TINY]
    begun = heredity(
        "train", *words, "--total-timesteps", "64", "--directory", tmp_path / "run",
        "--from", tmp_path / "wide",
    )  # fmt: skip
    assert begun.code == 0, begun.told
    policy = Policy.from_pretrained(tmp_path / "run" / "checkpoints" / "last" / "policy")
    operations = [entry.operation for entry in policy.lineage.entries]
    assert "transfer" in operations and operations.count("train") == 2


def test_what_would_have_to_be_guessed_is_refused(policy: Path, heredity, tmp_path: Path):
    out = ("--out", tmp_path / "new")
    whole = Policy.from_pretrained(policy)
    space: Any = whole.spec.observation_space
    nameless = dataclasses.replace(
        whole.spec, observation_space=dataclasses.replace(space, names=())
    )
    Policy(nameless, whole.params).save_pretrained(tmp_path / "nameless")
    done = heredity("transfer", tmp_path / "nameless", "--add-sensor", "wind", *out)
    assert done.code == 2 and "no named columns" in done.told and "--observation-names" in done.told
    done = heredity("transfer", policy, "--hidden", "4", *out)
    assert done.code == 3 and "wider, not narrower" in done.told
    assert heredity("transfer", policy, "--hidden", "16").code == 2
    words = ("--add-sensor", "wind", "--dry-run", "--observation-names")
    assert heredity("transfer", tmp_path / "nameless", *words, "light").code == 0
    done = heredity("transfer", tmp_path / "nameless", *words, "a", "b")
    assert done.code == 2 and "--observation-names a,b" in done.told
    words = ("--add-sensor", "wind", "--drop", "signal", "--means", "signal=bright", *out)
    assert "a number was expected" in heredity("transfer", policy, *words).told
    assert not (tmp_path / "new").exists()


def test_the_spaces_of_another_environment_and_names_are_found(
    policy: Path, heredity, tmp_path: Path
):
    """CartPole shows no signal; what is renamed to one of its columns is found in it."""
    words = ("transfer", policy, "--env", "gymnax/CartPole-v1", "--out", tmp_path / "new", "--json")
    assert heredity(*words).code == 3  # it acts by numbers, CartPole by choices
    same = ("--env", "probe/observation-action-reward", "--env.length", "7")
    found = heredity("transfer", policy, *same, "--hidden", "16", "--out", tmp_path / "same")
    assert found.code == 0, found.told
    environment = Policy.from_pretrained(tmp_path / "same").spec.environment
    assert environment is not None and environment["options"]["length"] == 7
    renamed = heredity(
        "transfer", policy, "--rename", "signal=light", "--out", tmp_path / "renamed"
    )
    assert renamed.code == 0, renamed.told
    space: Any = Policy.from_pretrained(tmp_path / "renamed").spec.observation_space
    assert space.names == ("light",)


def test_recorded_observations_are_measured_on(policy: Path, heredity, tmp_path: Path):
    np.save(tmp_path / "seen.npy", np.linspace(-1, 1, 20, dtype=np.float32)[:, None])
    found = heredity(
        "transfer", policy, "--hidden", "16", "--observations", tmp_path / "seen.npy",
        "--out", tmp_path / "new", "--json",
    ).json  # fmt: skip
    assert found["report"]["measurements"][0]["on"] == "20 recorded observations"


def test_recorded_observations_that_are_none_are_refused_by_name(
    policy: Path, heredity, tmp_path: Path
):
    seen = np.zeros((20, 1), np.float32)
    np.save(tmp_path / "wide.npy", np.zeros((20, 7), np.float32))
    np.save(tmp_path / "one.npy", seen[0])
    np.save(tmp_path / "none.npy", seen[:0])
    np.savez(tmp_path / "two.npz", a=seen, b=seen)
    np.save(tmp_path / "whole.npy", seen)
    (tmp_path / "torn.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:140])
    for name, told in (
        ("wide.npy", "has shape (20, 7)"),
        ("one.npy", "is one observation"),
        ("none.npy", "has no observations"),
        ("two.npz", "has 2 arrays, a, b: one array of observations"),
        ("torn.npy", "is no whole array of numbers"),
        ("missing.npy", "is missing"),
    ):
        words = ("--hidden", "16", "--dry-run", "--observations", tmp_path / name)
        done = heredity("transfer", policy, *words)
        assert done.code == 3 and name in done.told and told in done.told, name
