"""``heredity evaluate``."""

import shutil
from pathlib import Path

import pytest

from heredity.common.errors import RefusedError
from heredity.policies import Policy


def test_evaluate_tells_the_return(policy: Path, heredity):
    words = ("evaluate", policy, "--episodes", "3", "--seed", "7")
    found = heredity(*words, "--json").json
    assert found["episodes"] == 3 and found["mean_length"] == 5.0
    assert found["policy_hash"] == Policy.from_pretrained(policy).policy_hash
    assert found["environment"] == "probe/observation-action-reward"
    assert (found["deterministic"], found["seed"], found["cut"]) == (True, 7, 0)
    assert -5 <= found["mean_return"] <= 5 and found["std_return"] >= 0
    assert heredity(*words, "--json").json == found
    told = heredity(*words)
    assert told.code == 0 and f"{found['mean_return']:.2f} ±" in told.told
    assert heredity(*words, "--json", "--stochastic").json["deterministic"] is False


def test_of_a_run_the_choice_is_told(trained: Path, heredity):
    best = (trained / "checkpoints" / "best").resolve()
    told = f"best checkpoint of {trained}, step {int(best.name):,}"
    for command in (["evaluate", "--episodes", "1"], ["lineage"]):
        done = heredity(command[0], trained, *command[1:])
        assert done.out.splitlines()[0] == told
        assert "checkpoint of" not in heredity(command[0], best, *command[1:]).out
    found = heredity("evaluate", trained, "--episodes", "1", "--json").json
    assert found["path"] == str(trained / "checkpoints" / "best" / "policy")
    for name in ("best", "last"):
        with pytest.raises(RefusedError, match=f"Did you mean {trained}/checkpoints/{name}/policy"):
            Policy.from_pretrained(trained)
        (trained / "checkpoints" / name).unlink()
        if name == "best":
            assert heredity("lineage", trained).out.startswith("last checkpoint of")
    with pytest.raises(RefusedError, match="is a run folder without a checkpoint"):
        Policy.from_pretrained(trained)
    shutil.rmtree(trained / "checkpoints")
    with pytest.raises(RefusedError, match="describes a run, not a policy"):
        Policy.from_pretrained(trained)


def test_with_its_links_broken_a_run_stands_for_its_newest_checkpoint(trained: Path, heredity):
    newest = (trained / "checkpoints" / "last").resolve()
    for name in ("best", "last"):
        (trained / "checkpoints" / name).unlink()
        (trained / "checkpoints" / name).symlink_to(name)
    told = f"newest checkpoint of {trained}, step {int(newest.name):,}"
    assert heredity("evaluate", trained, "--episodes", "1").out.splitlines()[0] == told


@pytest.mark.parametrize("place", [".", "checkpoints/best", "snapshots/000000000512"])
def test_any_folder_with_a_policy_will_do(trained: Path, heredity, place: str):
    assert heredity("evaluate", trained / place, "--episodes", "1", "--json").json["episodes"] == 1


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--episodes", "0"], 2, "episodes 0: a whole number >= 1"),
        (["--episodes", "-3"], 2, "episodes -3"),
        (["--episodes", "1.5"], 2, "whole number such as"),
        (["--seed", "-1"], 2, "seed -1"),
        (["--seed", "1e10"], 2, "seed 10000000000"),
        (["--env", "gymnax/CartPole-v1"], 3, "observations are not the policy's"),
        (["--env", "probe/continuous-action"], 3, "actions are not the policy's"),
        (["--env", "probe/constant-rewrad"], 2, "did you mean 'probe/constant-reward'"),
        (["--env", "probe/constant-reward", "--env.length", "x"], 2, "--env.length"),
        (["--env.length", "3"], 2, "--env.length"),
        (["--episods", "3"], 2, "--episodes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_answered(policy: Path, heredity, words: list[str], code: int, told: str):
    done = heredity("evaluate", policy, *words, "--json")
    assert done.code == code and told in done.told and done.out == ""


def test_another_environment_can_be_named(policy: Path, heredity):
    found = heredity(
        "evaluate", policy, "--env", "probe/constant-reward", "--env.length", "2",
        "--episodes", "2", "--json",
    ).json  # fmt: skip
    assert (found["environment"], found["mean_return"]) == ("probe/constant-reward", 2.0)


def test_a_return_that_is_no_number_is_told(
    policy: Path, heredity, monkeypatch: pytest.MonkeyPatch
):
    import dataclasses

    from heredity.training.evaluation import Evaluator

    real = Evaluator.evaluate

    def evaluate(self, params, seed=0, **given):
        evaluation = real(self, params, seed, **given)
        return dataclasses.replace(evaluation, returns=evaluation.returns * float("nan"))

    monkeypatch.setattr(Evaluator, "evaluate", evaluate)
    done = heredity("evaluate", policy, "--episodes", "1", "--json")
    assert done.code == 1 and "is not finite" in done.err and done.out == ""
