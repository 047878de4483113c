"""``heredity diff``."""

import shutil
from pathlib import Path

import numpy as np
from command_line import damage

from heredity.policies import Policy
from heredity.weights import put


def step(run: Path, number: int) -> Path:
    return run / "snapshots" / f"{number:012d}"


def test_two_snapshots_differ_in_what_learnt(trained: Path, heredity):
    found = heredity("diff", step(trained, 0), step(trained, 512), "--json").json
    assert not found["same"] and found["counts"]["changed"] > 4
    kernel = next(leaf for leaf in found["leaves"] if leaf["path"] == "actor/hidden_0/kernel")
    assert kernel["state"] == "changed" and 0 < kernel["relative"] < 10
    assert kernel["cosine"] <= 1 and kernel["norm_a"] != kernel["norm_b"]
    assert found["behaviour"]["observations"] == "1,000 drawn observations"
    assert found["behaviour"]["kl_mean"] > 0
    shown = heredity("diff", step(trained, 0), step(trained, 512))
    assert shown.code == 0 and "actor/hidden_0/kernel" in shown.out
    assert "the same action on " in shown.out and "KL " in shown.out


def test_a_policy_is_the_same_as_its_copy(policy: Path, heredity, tmp_path: Path):
    shutil.copytree(policy, tmp_path / "copy")
    done = heredity("diff", policy, tmp_path / "copy", "--json")
    assert done.json["same"] and set(done.json["counts"]) == {"same"}
    assert done.json["behaviour"]["same"] == 1.0
    shown = heredity("diff", policy, tmp_path / "copy")
    assert "actor/" not in shown.out, "what is the same is not listed"
    assert "actor/" in heredity("diff", policy, tmp_path / "copy", "--all").out


def test_one_moved_weight_is_found(policy: Path, heredity, tmp_path: Path):
    whole = Policy.from_pretrained(policy)
    bias = np.array(whole.params["actor"]["hidden_0"]["bias"])
    bias[0] += 0.5
    moved = Policy(whole.spec, put(whole.params, "actor/hidden_0/bias", bias), whole.lineage)
    moved.save_pretrained(tmp_path / "moved")
    found = heredity("diff", policy, tmp_path / "moved", "--json", "--observations", "0").json
    assert found["counts"]["changed"] == 1 and found["behaviour"] is None
    (changed,) = (leaf for leaf in found["leaves"] if leaf["state"] == "changed")
    assert changed["path"] == "actor/hidden_0/bias" and abs(changed["largest"] - 0.5) < 1e-6


def test_what_is_no_policy_is_refused(policy: Path, heredity, tmp_path: Path):
    assert heredity("diff", policy, tmp_path / "none").code == 3
    assert heredity("diff", policy, policy, "--observations", "-1").code == 2
    damage(policy / "model.safetensors", "flipped")
    done = heredity("diff", policy, policy, "--json")
    assert done.code == 3 and "model.safetensors" in done.err
