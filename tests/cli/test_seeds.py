"""Several seeds on the command line."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import TINY, damage

from heredity.cli.main import main
from heredity.cli.places import kind_of, policy_folder
from heredity.common.errors import UsageError
from heredity.common.group_folder import GroupFolder


@pytest.fixture(scope="module")
def _group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("seeds") / "three"
    words = ["--seeds", "3", "--total-timesteps", "256", "--snapshot-every", "128"]
    assert main(["train", *TINY, *words, "--seed", "2", "--directory", str(directory)]) == 0
    return directory


@pytest.fixture
def group(_group: Path, tmp_path: Path) -> Path:
    """The seeds 2, 3 and 4, at step 256 of 256."""
    return Path(shutil.copytree(_group, tmp_path / "three", symlinks=True))


def test_resume_goes_on_with_all_and_says_what_to_look_at(group: Path, heredity):
    done = heredity("resume", group, "--total-timesteps", "384", "--progress", "--report")
    assert done.code == 0 and done.out == ""
    assert f"{group}/seed-*/checkpoints/best/policy" in done.err
    assert f"heredity view {group}" in done.err and f"report   {group}/report.html" in done.err
    assert "95 % " in done.err and "of 3 seeds" in done.err
    for seed in (2, 3, 4):
        assert GroupFolder(group).member(seed).checkpoint_steps()[-1] == 384
        assert (group / f"seed-{seed}" / "report.html").is_file()
    done = heredity("resume", group, "--seeds", "4")
    assert done.code == 2 and "--seeds cannot be changed by a resume" in done.told


def test_inspect_tells_of_each_seed(group: Path, heredity):
    assert kind_of(group) == "group" and kind_of(group / "seed-3") == "run"
    found = heredity("inspect", group, "--json").json
    assert (found["kind"], found["seeds"]) == ("group", [2, 3, 4])
    assert {name: one["step"] for name, one in found["members"].items()} == {
        "seed-2": 256, "seed-3": 256, "seed-4": 256,
    }  # fmt: skip
    told = heredity("inspect", group).told
    assert "seeds 3: 2 … 4" in told and told.count("exact ") == 3
    assert found["members"]["seed-3"]["policy_hash"][:12] in told


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("flipped", "seed-3/config.json: "),
        ("missing", "seed-3: is missing: "),
        ("elsewhere", "seed-3/config.json: is of the run "),
        ("no checkpoint", "seed-3: has no whole checkpoint: "),
    ],
)
def test_a_seed_that_is_damaged_is_named_and_the_others_are_shown(
    group: Path, heredity, how: str, told: str
):
    member = GroupFolder(group).member(3)
    if how == "flipped":
        damage(member.config, how)
    elif how == "missing":
        shutil.rmtree(member.root)
    elif how == "elsewhere":
        shutil.copyfile(group / "seed-4" / "config.json", member.config)
    else:
        for step in member.checkpoint_steps():
            damage(member.checkpoint(step) / "policy" / "model.safetensors", "truncated")
    done = heredity("inspect", group)
    assert done.code == 3 and told in done.err and done.err.startswith(f"heredity: {group}/seed-3")
    assert "seed-3 refused" in done.told and done.told.count("exact ") == 2
    members = heredity("inspect", group, "--json").json["members"]
    assert [one["step"] for one in members.values()] == [256, None, 256]
    # Nor is a mean over the others given as if it were that of all.
    done = heredity("evaluate", group, "--episodes", "2")
    assert done.code == 3 and "seed-3" in done.err and done.out == ""


def test_a_damaged_checkpoint_of_a_seed_is_listed(group: Path, heredity):
    damage(group / "seed-3" / "checkpoints" / f"{256:012d}" / "policy" / "config.json", "flipped")
    done = heredity("inspect", group)
    assert done.code == 0 and f"refused {group}/seed-3/checkpoints/{256:012d}" in done.told


def test_evaluate_plays_each_and_tells_the_mean(group: Path, heredity):
    found = heredity("evaluate", group, "--episodes", "3", "--json").json
    assert list(found["seeds"]) == ["2", "3", "4"]
    means = [one["mean_return"] for one in found["seeds"].values()]
    assert found["mean_return"] == pytest.approx(sum(means) / 3)
    low, high = found["interval"]
    assert (low + high) / 2 == pytest.approx(found["mean_return"])
    one = heredity("evaluate", group / "seed-3", "--episodes", "3", "--json").json
    assert one == found["seeds"]["3"]
    told = heredity("evaluate", group, "--episodes", "3").told
    assert told.count("over 3 episodes") == 3 and "mean of 3 seeds" in told


def test_a_lineage_is_that_of_one_seed(group: Path, heredity):
    done = heredity("lineage", group)
    assert done.code == 2
    assert (
        "holds a run of 3 seeds, each with a policy of its own: give one of them, such as "
        in (done.told)
        and f"{group}/seed-2" in done.told
    )
    with pytest.raises(UsageError, match="3 seeds"):
        policy_folder(group)
    verified = heredity("lineage", group / "seed-4", "--verify", "--json").json
    assert {entry["verified"] for entry in verified["entries"]} == {"verified"}


def test_what_cannot_be_trained_together(heredity, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--seeds", "2", "--total-timesteps", "64")
    done = heredity("train", *TINY, *words, "--env.host")
    assert done.code == 2 and "Start 2 runs, with --seed 0 to --seed 1" in done.told
    done = heredity("train", *TINY, *words, "--on-divergence", "rollback")
    assert done.code == 2 and "stop together" in done.told
    assert list(tmp_path.rglob("config.json")) == []


def test_config_json_holds_the_seeds(group: Path):
    record = json.loads((group / "config.json").read_text())
    assert (record["seed"], record["seeds"], record["run"]["seeds"]) == (2, [2, 3, 4], 3)
