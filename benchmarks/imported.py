"""Which imported policies are timed: files of tests/fixtures/foreign, and what they are shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np

FOREIGN = Path(__file__).resolve().parents[1] / "tests" / "fixtures" / "foreign"
BATCH = 256
# Name of the fixture, what it is, and calls that are timed at once: pictures take longer.
CASES = {
    "sb3_ppo_default": ("PPO, 5 numbers, 2 x 64 units", 500),
    "sb3_sac": ("SAC, 5 numbers, 2 x 16 units", 500),
    "sb3_ppo_cnn": ("PPO, a picture of 36 x 40, NatureCNN", 50),
}
PICTURE = (36, 40, 1)


def shown(name: str) -> np.ndarray:
    """`BATCH` observations for a policy."""
    draw = np.random.default_rng(0)
    if name == "sb3_ppo_cnn":
        return draw.integers(0, 256, (BATCH, *PICTURE), dtype=np.uint8)
    return draw.normal(size=(BATCH, 5)).astype(np.float32)
