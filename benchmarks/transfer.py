"""A policy that gets or loses a sensor goes on learning: beside a policy from fresh weights.

    python benchmarks/transfer.py             train what is not recorded yet, then draw
    python benchmarks/transfer.py --pictures  draw what is recorded

Each seed trains a policy with the sensors of before, moves its whole checkpoint, and goes on with
the sensors of after; beside it the same seed trains from fresh weights with the same settings.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heredity.training.compilation import keep_compiled

keep_compiled()  # before JAX is imported: seeds share their programs

import numpy as np  # noqa: E402

import heredity as hd  # noqa: E402
from heredity.algorithms.ppo.presets import preset_config  # noqa: E402
from heredity.common.files import write_atomically  # noqa: E402
from heredity.common.intervals import mean_interval  # noqa: E402
from heredity.common.provenance import now, processor, versions  # noqa: E402
from heredity.common.run_folder import RunFolder  # noqa: E402
from heredity.environments.contract import TimeStep  # noqa: E402
from heredity.environments.wrappers.base import JaxWrapper  # noqa: E402
from heredity.policies import ActorCritic, Policy  # noqa: E402
from heredity.spaces import Box  # noqa: E402
from heredity.training.checkpoints import read_checkpoint  # noqa: E402
from heredity.training.transfer import transfer  # noqa: E402
from source import source  # noqa: E402

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "transfer" / "curves.json"
PICTURES = HERE.parent / "docs" / "pictures"
PAGE = HERE.parent / "docs" / "transfer.md"
REGION = re.compile(r"(<!-- transfer -->\n).*?(<!-- /transfer -->)", re.DOTALL)
SEEDS = range(5)
EPISODES = 32


@dataclasses.dataclass(frozen=True)
class Change:
    """What becomes of the sensors.

    Args:
        name: In the results.
        title: Above the picture.
        environment: Whose columns they are, and whose preset is trained with.
        before: Columns that the first policy sees.
        after: Columns that are seen from then on.
        first_steps: Of training before.
        steps: Of training after, and from fresh weights.
        every: Steps between evaluations.
        solved: The return that counts as recovered.
    """

    name: str
    title: str
    environment: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    first_steps: int
    steps: int
    every: int
    solved: float


CHANGES = (
    Change(
        "added",
        "Acrobot: the speed of the second joint is a new sensor",
        "gymnax/Acrobot-v1",
        ("cos_theta1", "sin_theta1", "cos_theta2", "sin_theta2", "omega1"),
        ("cos_theta1", "sin_theta1", "cos_theta2", "sin_theta2", "omega1", "omega2"),
        200_000,
        120_000,
        8_192,
        -100.0,
    ),
    Change(
        "removed",
        "Acrobot: the speed of the second joint is not seen any more",
        "gymnax/Acrobot-v1",
        ("cos_theta1", "sin_theta1", "cos_theta2", "sin_theta2", "omega1", "omega2"),
        ("cos_theta1", "sin_theta1", "cos_theta2", "sin_theta2", "omega1"),
        200_000,
        120_000,
        8_192,
        -100.0,
    ),
)


class Sensors(JaxWrapper):
    """An environment of which only some columns are seen.

    Args:
        id: Of the environment inside.
        names: Of the columns, in order.
        num_envs: How many copies are meant.
    """

    def __init__(self, id: str, names: Sequence[str], num_envs: int) -> None:
        inside: Any = hd.make(id, num_envs=num_envs)
        super().__init__(inside)
        space = inside.observation_space
        assert isinstance(space, Box)
        self._columns = np.array([space.names.index(name) for name in names])
        low, high = (
            np.broadcast_to(bound, space.concrete_shape)[self._columns]
            for bound in (space.low, space.high)
        )
        self.observation_space = dataclasses.replace(
            space, shape=(len(names),), low=low, high=high, names=tuple(names)
        )

    def reset(self, key: Any) -> tuple[Any, Any]:
        state, observation = self.env.reset(key)
        return state, observation[..., self._columns]

    def step(self, state: Any, action: Any) -> tuple[Any, TimeStep]:
        state, result = self.env.step(state, action)
        return state, result._replace(observation=result.observation[..., self._columns])


def played(policy: Policy, environment: Any) -> float:
    return hd.evaluate_policy(policy, environment, EPISODES).mean


def curve(model: hd.PPO, change: Change, first: float) -> list[list[float]]:
    """Mean returns of evaluations over steps, from the very first weights on."""
    found = [[0.0, first]]
    for event in model.run(change.steps, evaluate_every=change.every, evaluation_episodes=EPISODES):
        if event.evaluation is not None:
            found.append([event.step, event.evaluation.mean])
    return found


def trained(change: Change, seed: int) -> dict[str, Any]:
    """One seed of one change: both curves, and the report of the transfer."""
    config = dataclasses.replace(preset_config(change.environment, ""), normalize_observations=True)
    before, after = (
        Sensors(change.environment, names, config.num_envs)
        for names in (change.before, change.after)
    )
    with tempfile.TemporaryDirectory() as folder:
        model = hd.PPO(before, config=config, seed=seed)
        model.learn(change.first_steps, directory=folder, evaluation_episodes=0)
        checkpoint = read_checkpoint(RunFolder(Path(folder)).checkpoints / "last")
    policy = checkpoint.to_policy()
    plan = policy.plan_transfer(after.observation_space)
    moved, report = transfer(checkpoint, plan)
    moved_policy = moved.to_policy()
    fresh = Policy(moved.spec, ActorCritic(moved.spec).init(seed))
    going_on = hd.PPO(after, config=config, seed=seed, start=moved)
    scratch = hd.PPO(after, config=config, seed=seed)
    return {
        "seed": seed,
        "before": played(policy, before),
        "transferred": curve(going_on, change, played(moved_policy, after)),
        "fresh": curve(scratch, change, played(fresh, after)),
        "guarantee": str(report.guarantee),
        "measured": [measurement.to_json() for measurement in report.measurements],
    }


def recorded() -> dict[str, Any]:
    if not RESULTS.exists():
        return {}
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def steps_to(curve: Sequence[Sequence[float]], value: float) -> float | None:
    """Steps until evaluations reached a value; None if none did."""
    return next((step for step, found in curve if found >= value), None)


def main() -> None:
    if "--pictures" not in sys.argv[1:]:
        for change in CHANGES:
            for seed in SEEDS:
                known = recorded()
                runs = known.get(change.name, {}).get("runs", [])
                if seed in [run["seed"] for run in runs]:
                    continue
                run = trained(change, seed)
                print(change.name, seed, run["before"], run["transferred"][0], run["fresh"][-1])
                known[change.name] = {
                    **dataclasses.asdict(change),
                    "runs": [*runs, run],
                    "machine": {"processor": processor(), "cores": os.cpu_count()},
                    "versions": versions(),
                    "source": source(),
                    "when": now(),
                }
                write_atomically(RESULTS, json.dumps(known, indent=1) + "\n")
    draw(recorded())


# --- pictures -------------------------------------------------------------------------------------

COLOURS = {"transferred": "#00897b", "fresh": "#c0602d"}
NAMES = {"transferred": "transferred, going on", "fresh": "from fresh weights"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 62, 12, 34, 40


def draw(known: dict[str, Any]) -> None:
    """Write the pictures and the table of docs/transfer.md, from what is recorded alone."""
    for name, found in known.items():
        (PICTURES / f"transfer-{name}.svg").write_text(drawn(found), encoding="utf-8")
    text = REGION.sub(lambda old: f"{old[1]}{table(known)}{old[2]}", PAGE.read_text("utf-8"))
    PAGE.write_text(text, encoding="utf-8")


def table(known: dict[str, Any]) -> str:
    """A row for each change and arm, as Markdown."""
    rows = ["| | | return at once | steps until it is solved | mean return on the way |"]
    rows.append("|---|---|---|---|---|")
    for name, found in known.items():
        for arm, words in NAMES.items():
            runs = [run[arm] for run in found["runs"]]
            first = sum(run[0][1] for run in runs) / len(runs)
            steps = [steps_to(run, found["solved"]) for run in runs]
            told = ", ".join("never" if step is None else f"{step:,.0f}" for step in steps)
            mean = mean_interval(area(run) for run in runs)
            rows.append(
                f"| sensor {name} | {words} | {first:,.0f} | {told} | "
                f"{mean.mean:,.0f} ({mean.low:,.0f} to {mean.high:,.0f}) |"
            )
    solved = {found["solved"] for found in known.values()}
    rows.append("")
    rows.append(
        f"Solved is a mean return of {', '.join(f'{value:g}' for value in solved)} over "
        f"{EPISODES} episodes; in brackets 95 % t intervals of the mean over seeds."
    )
    return "\n".join(rows) + "\n"


def area(curve: Sequence[Sequence[float]]) -> float:
    """The mean return over all steps of a curve."""
    steps, values = (np.array(column) for column in zip(*curve, strict=True))
    return float(np.trapezoid(values, steps) / (steps[-1] - steps[0]))


def drawn(found: dict[str, Any]) -> str:
    """Returns over steps as an SVG: a line for each seed."""
    points = [point for run in found["runs"] for arm in COLOURS for point in run[arm]]
    most = max(step for step, _ in points)
    low, high = (end(value for _, value in points) for end in (min, max))
    low, high = min(low, 0.0), max(high, 0.0)

    def across(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / most

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    grey = 'fill="#777" font-family="sans-serif" font-size="12"'
    parts = [f'<text x="{LEFT}" y="18" {grey}>{found["title"]}</text>']
    for value in np.linspace(low, high, 6):
        y = up(value)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8884"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" {grey}>{value:,.0f}</text>'
        )
    for share in (0, 0.5, 1):
        parts.append(
            f'<text x="{across(share * most):.1f}" y="{HEIGHT - BOTTOM + 16}" '
            f'text-anchor="{"end" if share == 1 else "middle"}" {grey}>{share * most:,.0f}</text>'
        )
    for row, (arm, colour) in enumerate(COLOURS.items()):
        x, y = LEFT + 190 * row, HEIGHT - 8
        parts.append(
            f'<rect x="{x}" y="{y - 8}" width="14" height="4" fill="{colour}"/>'
            f'<text x="{x + 20}" y="{y}" {grey}>{NAMES[arm]}</text>'
        )
        for run in found["runs"]:
            path = " ".join(f"{across(step):.1f},{up(value):.1f}" for step, value in run[arm])
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="{colour}" '
                'stroke-width="1.5" stroke-opacity="0.75"/>'
            )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">'
    return "\n".join((head, *parts, "</svg>\n"))


if __name__ == "__main__":
    main()
