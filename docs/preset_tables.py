"""The tables of docs/presets.md, from the presets that the package carries and recorded returns.

``python docs/preset_tables.py`` writes them; a test says when that has to be done.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

from regions import DOCS, filled, table, write

from heredity.algorithms.ppo import PPOConfig
from heredity.algorithms.ppo.presets import Preset, presets

PAGE = DOCS / "presets.md"
RECORDED = DOCS.parent / "benchmarks" / "results" / "returns"


def rendered(text: str) -> str:
    """The text of the page with the presets between its marks as they are now."""
    known = list(presets().values())
    seeds = recorded()
    rows = [
        (f"[{one.environment}](#{anchor(one)})", f"{one.total_timesteps:,}", reached(one, seeds))
        for one in known
    ]
    head = table(("preset", "steps", "what it was seen to reach"), rows, right=[1])
    return filled(text, "presets", "\n\n".join((head, *map(section, known))))


def recorded() -> dict[str, list[dict[str, Any]]]:
    """Seeds that PPO was trained on with a preset, by environment."""
    found = {}
    for path in sorted(RECORDED.glob("*.json")):
        known = json.loads(path.read_text(encoding="utf-8"))
        # Beside brax both have the settings of the benchmark.
        if known["algorithm"] == "PPO" and "brax" not in known["runs"]:
            found[known["environment"]] = known["runs"].get("ours", [])
    return found


def reached(preset: Preset, seeds: dict[str, list[dict[str, Any]]]) -> str:
    """What policies of a preset were seen to reach."""
    runs = seeds.get(preset.environment)
    if not runs:
        return preset.reached
    scores = [sum(run["returns"]) / len(run["returns"]) for run in runs]
    episodes = len(runs[0]["returns"])
    digits = 0 if max(map(abs, scores)) >= 20 else 3
    told = [
        f"{score:,.{digits}f}" for score in (sum(scores) / len(scores), min(scores), max(scores))
    ]
    many = (
        f"{told[0]} ({told[1]} to {told[2]}) over {len(runs)} seeds" if len(runs) > 1 else told[0]
    )
    return f"{many}, {episodes} episodes each: [Returns](returns.md)"


def anchor(preset: Preset) -> str:
    """How the heading of a preset is linked to.

    Example:
        >>> anchor(presets()["gym/CartPole-v1"])
        'gymcartpole-v1'
    """
    return re.sub(r"[^a-z0-9_ -]", "", preset.environment.lower())


def section(preset: Preset) -> str:
    """Where the numbers of one preset come from, and the numbers as on the command line."""
    options = " ".join(command_line(preset.settings))
    return f"### {preset.environment}\n\nNumbers: {preset.source}.\n\n```text\n{options}\n```"


def command_line(settings: dict[str, Any], prefix: str = "--") -> Iterator[str]:
    """Settings as the options of ``heredity train ppo`` that stand for them.

    Example:
        >>> list(command_line({"num_envs": 8, "network": {"hidden": [64, 64], "shared": True}}))
        ['--num-envs 8', '--network.hidden 64 64', '--network.shared']
    """
    for name, value in settings.items():
        option = prefix + name.replace("_", "-")
        match value:
            case dict():
                yield from command_line(value, f"{option}.")
            case bool():
                yield option if value else f"{prefix}no-{name.replace('_', '-')}"
            case list() | tuple():
                yield " ".join([option, *map(str, value)])
            case _:
                yield f"{option} {value}"


def main() -> None:
    """Write the page."""
    assert {field.name for field in dataclasses.fields(PPOConfig)} >= {
        name for preset in presets().values() for name in preset.settings
    }
    write(PAGE, rendered(PAGE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
