"""The model card, written from the specification, the lineage and the score."""

from __future__ import annotations

import json

from heredity.common.files import dump_json
from heredity.common.words import space_in_words
from heredity.policies.lineage import Lineage
from heredity.policies.specification import PolicySpec
from heredity.spaces import Space, space_to_json


def _yaml_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # which is YAML too, newlines escaped


def _space_line(space: Space) -> str:
    return space_in_words(space_to_json(space)).replace("|", "\\|")


def _front_matter(environment: str, score: dict | None) -> list[str]:
    tags = ["reinforcement-learning", "deep-reinforcement-learning", "heredity"]
    lines = ["---", "library_name: heredity", "pipeline_tag: reinforcement-learning", "tags:"]
    lines += [f"- {_yaml_text(tag)}" for tag in [*tags, *([environment] if environment else [])]]
    if score and environment:
        value = f"{score['mean_return']:.2f} +/- {score['std_return']:.2f}"
        lines += [
            "model-index:",
            "- name: heredity policy",
            "  results:",
            "  - task:",
            "      type: reinforcement-learning",
            "      name: reinforcement-learning",
            "    dataset:",
            f"      name: {_yaml_text(environment)}",
            f"      type: {_yaml_text(environment)}",
            "    metrics:",
            "    - type: mean_reward",
            f"      value: {_yaml_text(value)}",
            "      name: mean_reward",
        ]
    return [*lines, "---", ""]


def model_card(spec: PolicySpec, lineage: Lineage, policy_hash: str, parameters: int) -> str:
    """The text of ``README.md``, with the front matter the Hugging Face hub reads.

    Args:
        spec: The policy's specification.
        lineage: Its history; the score is the last one measured of these very weights.
        policy_hash: Content hash of the weights.
        parameters: How many numbers the weights have.
    """
    environment = str(spec.environment["id"]) if spec.environment else ""
    score = lineage.score_of(policy_hash)
    last = lineage.entries[-1] if lineage.entries else None
    lines = _front_matter(environment, score)
    algorithm = (spec.algorithm or "A").upper()
    lines += [f"# {algorithm} policy for {environment or 'an environment'}", ""]
    if score:
        lines += [
            f"Return {score['mean_return']:.2f} ± {score['std_return']:.2f} "
            f"over {score['episodes']} episodes.",
            "",
        ]
    lines += [
        "```python",
        "import heredity as hd",
        "",
        'policy = hd.Policy.from_pretrained("this/folder")',
        "action, state = policy.predict(observation)",
        "```",
        "",
        "| | |",
        "|---|---|",
        f"| sees | {_space_line(spec.observation_space)} |",
        f"| does | {_space_line(spec.action_space)} |",
        f"| parameters | {parameters:,} |",
        f"| weights | `sha256:{policy_hash}` |",
    ]
    if last:
        lines += [
            f"| trained for | {last.step:,} steps |",
            f"| made with | {', '.join(f'{k} {v}' for k, v in sorted(last.versions.items()))} |",
        ]
    lines += ["", "## Lineage", ""]
    for entry in lineage.entries:
        measured = f", return {entry.score['mean_return']:.2f}" if entry.score else ""
        told = f"1. **{entry.operation}** at step {entry.step:,}: `{entry.hash[:12]}`"
        lines.append(told + measured)
    if spec.environment:
        environment_json = dump_json(dict(spec.environment)).strip()
        lines += ["", "## Environment", "", "```json", environment_json, "```"]
    return "\n".join(lines) + "\n"
