"""The tables of docs/presets.md, from the presets that the package carries.

``python docs/preset_tables.py`` writes them; a test says when that has to be done.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from regions import DOCS, filled, table, write

from heredity.algorithms.ppo import PPOConfig
from heredity.algorithms.ppo.presets import Preset, presets

PAGE = DOCS / "presets.md"


def rendered(text: str) -> str:
    """The text of the page with the presets between its marks as they are now."""
    known = list(presets().values())
    rows = [
        (f"[{one.environment}](#{anchor(one)})", f"{one.total_timesteps:,}", one.reached)
        for one in known
    ]
    head = table(("preset", "steps", "what it was seen to reach"), rows, right=[1])
    return filled(text, "presets", "\n\n".join((head, *map(section, known))))


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
