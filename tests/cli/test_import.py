"""``heredity import``."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from heredity.policies import Policy

FOREIGN = Path(__file__).parents[1] / "fixtures" / "foreign"
SB3 = FOREIGN / "sb3_ppo_box"


def test_a_policy_is_imported_and_told_as_one_object(heredity, tmp_path: Path):
    words = (SB3 / "model.zip", "--format", "sb3", "--out", tmp_path / "policy")
    said = ("--observation-names", "a, b,c,d,e", "--normalizer", SB3 / "vecnormalize.pkl")
    done = heredity("import", *words, *said, "--json")
    assert done.code == 0
    found = done.json
    policy = Policy.from_pretrained(tmp_path / "policy")
    assert found["policy_hash"] == policy.policy_hash
    assert policy.spec.observation_space.names == ("a", "b", "c", "d", "e")
    assert found["library"] == "stable-baselines3 2.9.2" and found["format"] == "sb3"
    assert found["report"]["coverage"] == 1.0 and found["recorded"]["episodes"] == 2
    assert found["score"] is None
    expected = np.load(SB3 / "expected.npz")
    action, _ = policy.predict(expected["seen/observation"][0])
    np.testing.assert_allclose(action, expected["actions"][0], atol=1e-5)
    told = heredity("lineage", tmp_path / "policy")
    assert told.code == 0 and "import" in told.told
    # What is there is not replaced, and a file is no folder to write into.
    again = heredity("import", *words, *said)
    assert again.code == 2 and "is there already" in again.told
    below = ("--out", SB3 / "model.zip" / "policy")
    done = heredity("import", SB3 / "model.zip", "--format", "sb3", *below, *said)
    assert done.code == 2 and "model.zip is a file: name" in done.told
    done = heredity("import", SB3 / "model.zip", "--format", "sb3", "--out", "n" * 400, *said)
    assert done.code == 2 and "File name too long" in done.told
    # A file that is refused is refused, wherever it was to go.
    for file, told in (("model.pt", "Check the path"), ("expected.npz", "expected.npz: ")):
        done = heredity("import", SB3 / file, "--format", "sb3", "--out", tmp_path / "policy")
        assert done.code == 3 and told in done.told
    done = heredity("import", *words, *said, "--sha256", "abc")
    assert done.code == 2 and "64 hexadecimal digits" in done.told


def test_people_see_every_row_and_what_was_recorded(heredity, tmp_path: Path):
    done = heredity(
        "import", SB3 / "model.zip", "--format", "sb3", "--out", tmp_path / "policy",
        "--observation-names", "unnamed", "--normalizer", SB3 / "vecnormalize.pkl",
    )  # fmt: skip
    assert done.code == 0
    for words in (
        "mlp_extractor.policy_net.0.weight",
        "(out, in) to (in, out)",
        "100.0% of 361 numbers from the source; exact up to rounding",
        "recorded: return 8.00 ± 0.00 over the last 2 episodes",
        "to check it: --env ID --episodes 100",
        f"wrote {tmp_path / 'policy'}",
        "sums are in another order than in stable-baselines3 2.9.2",
    ):
        assert words in done.told, words
    assert not [line for line in done.out.splitlines() if line.endswith(" ")]


def test_a_refused_file_exits_with_3_before_anything_is_asked(heredity, tmp_path: Path):
    torn = tmp_path / "model.zip"
    torn.write_bytes((SB3 / "model.zip").read_bytes()[:5000])
    for path, format in (
        (torn, "sb3"),
        (tmp_path / "missing", "rsl_rl"),
        (FOREIGN / "rsl_rl_5_beta" / "model.pt", "rsl_rl"),
        (FOREIGN / "dreamerv3" / "ckpt", "dreamerv3"),
    ):
        done = heredity("import", path, "--format", format, "--out", tmp_path / "policy")
        assert (done.code, done.out) == (3, "")
    for path, format, meant in (
        (SB3 / "model.zip", "rsl_rl", "sb3"),
        (FOREIGN / "rsl_rl_4" / "model.pt", "sb3", "cleanrl or --format rsl_rl"),
        (FOREIGN / "brax_ppo_pickle" / "params.pkl", "safetensors", "brax or --format dreamerv3"),
        (FOREIGN / "brax_ppo" / "checkpoint" / "000000000100", "dreamerv3", "brax"),
    ):
        done = heredity("import", path, "--format", format, "--out", tmp_path / "policy")
        assert done.code == 3 and f"does not look like {format}: try --format {meant}" in done.told
    asked = heredity("import", SB3 / "model.zip", "--format", "sb3", "--out", tmp_path / "policy")
    assert asked.code == 2
    assert "--normalizer:" in asked.told and "--observation-names:" in asked.told
    assert not (tmp_path / "policy").exists()


def test_bounds_are_numbers_or_none(heredity, tmp_path: Path):
    words = ("import", FOREIGN / "rsl_rl_4" / "model.pt", "--format", "rsl_rl")
    said = ("--activation", "elu", "--observation-names", "unnamed", "--critic", "drop")
    for index, (bounds, code) in enumerate(
        (("none", 0), ("-0.5,0.5", 0), ("0.5", 2), ("high,low", 2), ("1,-1", 2))
    ):
        out = tmp_path / str(index)
        done = heredity(*words, "--out", out, *said, f"--action-bounds={bounds}")
        assert done.code == code, done.told
    assert Policy.from_pretrained(tmp_path / "1").spec.action_space.high == 0.5
    assert np.isinf(Policy.from_pretrained(tmp_path / "0").spec.action_space.high)


def test_the_environment_names_sensors_and_checks_the_score(heredity, tmp_path: Path):
    """A policy of CartPole's shapes, whose weights know nothing of it."""
    from heredity.common.tensors import tensor_bytes
    from heredity.networks import DistributionSpec, MlpOptions
    from heredity.policies import PolicySpec
    from heredity.policies.actor_critic import ActorCritic
    from heredity.spaces import Box, Discrete
    from heredity.weights import to_host

    spec = PolicySpec(
        Box((4,)), Discrete(2), MlpOptions(hidden=(4,)).spec(), DistributionSpec("categorical")
    )
    weights = to_host(ActorCritic(spec).init(0))
    Policy(spec, ActorCritic(spec).init(0)).save_pretrained(tmp_path / "like")
    (tmp_path / "weights.safetensors").write_bytes(tensor_bytes(weights, {}))
    (tmp_path / "rules.json").write_text(json.dumps([{"source": "{*path}", "target": "{*path}"}]))
    words = (
        "import", tmp_path / "weights.safetensors", "--format", "safetensors",
        "--spec", tmp_path / "like" / "config.json", "--rules", tmp_path / "rules.json",
        "--env", "gymnax/CartPole-v1", "--episodes", "3",
    )  # fmt: skip
    done = heredity(*words, "--out", tmp_path / "policy", "--json")
    assert done.code == 0
    assert done.json["score"]["episodes"] == 3
    (measured,) = done.json["report"]["measurements"]
    assert measured["value"] == done.json["score"]["mean_return"] > 0
    other = heredity(*words[:-4], "--env", "gymnax/Pendulum-v1", "--out", tmp_path / "other")
    assert other.code == 3 and "not the policy's" in other.told
    assert not (tmp_path / "other").exists()


def test_names_of_an_environment_are_taken_over(heredity, tmp_path: Path):
    """rsl_rl's file has six features; an environment with four is told to be another one."""
    words = ("import", FOREIGN / "rsl_rl_4" / "model.pt", "--format", "rsl_rl")
    said = ("--activation", "elu", "--critic", "drop", "--action-bounds=none")
    done = heredity(*words, *said, "--env", "gymnax/CartPole-v1", "--out", tmp_path / "policy")
    assert done.code in (2, 3) and not (tmp_path / "policy").exists()


@pytest.mark.parametrize("flag", ["--rules", "--spec"])
def test_files_beside_the_file_are_refused_as_files(heredity, tmp_path: Path, flag: str):
    shutil.copy(FOREIGN / "versions.json", tmp_path / "some.json")
    done = heredity(
        "import", tmp_path / "x.safetensors", "--format", "safetensors",
        "--out", tmp_path / "policy", flag, tmp_path / "some.json",
    )  # fmt: skip
    assert done.code in (2, 3) and "some.json" in done.told


def test_clipping_where_nothing_is_normalised_is_refused(heredity, tmp_path: Path):
    done = heredity(
        "import", FOREIGN / "cleanrl_ppo" / "agent.cleanrl_model", "--format", "cleanrl",
        "--out", tmp_path / "policy", "--normalizer", "none", "--observation-clip", "5",
    )  # fmt: skip
    assert done.code == 2 and "nothing is clipped with --normalizer none" in done.told
