import dataclasses

import pytest
from small_policy import build

from heredity.policies import Lineage, Policy
from heredity.policies.card import model_card

yaml = pytest.importorskip("yaml")


def card(policy: Policy) -> str:
    return model_card(policy.spec, policy.lineage, policy.policy_hash, policy.parameter_count)


def front_matter(text: str) -> dict:
    _, matter, _ = text.split("---\n", 2)
    return yaml.safe_load(matter)


def test_the_card_tells_what_the_policy_is():
    policy = build()
    text = card(policy)
    for told in (
        "PPO policy for probe/observation-reward",
        "Return 12.50 ± 1.25 over 7 episodes.",
        "position, velocity",
        f"| parameters | {policy.parameter_count:,} |",
        "| trained for | 4,096 steps |",
        f"sha256:{policy.policy_hash}",
        "1. **train** at step 0",
        "1. **snapshot** at step 4,096",
        "hd.Policy.from_pretrained",
        '"length": 3',
    ):
        assert told in text


def test_the_front_matter_is_what_the_hub_reads():
    matter = front_matter(card(build()))
    assert matter["library_name"] == "heredity"
    assert matter["pipeline_tag"] == "reinforcement-learning"
    assert "probe/observation-reward" in matter["tags"]
    result = matter["model-index"][0]["results"][0]
    assert result["dataset"]["name"] == "probe/observation-reward"
    assert result["metrics"][0] == {
        "type": "mean_reward", "value": "12.50 +/- 1.25", "name": "mean_reward",
    }  # fmt: skip


def test_without_history_or_environment_it_is_still_a_card():
    policy = build()
    bare = dataclasses.replace(policy.spec, environment=None, algorithm="")
    text = model_card(bare, Lineage(), policy.policy_hash, 3)
    assert "model-index" not in front_matter(text)
    assert "policy for an environment" in text


def test_a_score_of_other_weights_is_not_told():
    policy = build()
    text = model_card(policy.spec, policy.lineage.up_to("e" * 64), "e" * 64, 3)
    assert "Return" not in text and "model-index" not in front_matter(text)
    assert f"| weights | `sha256:{'e' * 64}` |" in text
    assert "1. **edit** at step 4,096: `eeeeeeeeeeee`" in text


def test_a_score_stays_with_its_weights_when_nothing_was_changed():
    policy = build()
    last = policy.lineage.entries[-1]
    resumed = dataclasses.replace(last, operation="resume", parent=last.hash, score=None)
    text = model_card(policy.spec, policy.lineage.then(resumed), policy.policy_hash, 3)
    assert "Return 12.50" in text


def test_names_cannot_break_the_front_matter():
    policy = build()
    odd = 'x"\\ : [#] & *\nlicense: mine\t'
    spec = dataclasses.replace(policy.spec, environment={"id": odd, "options": {}})
    matter = front_matter(model_card(spec, policy.lineage, policy.policy_hash, 3))
    assert odd in matter["tags"]
