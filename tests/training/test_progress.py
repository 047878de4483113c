import io
import types
from typing import Any, cast

import pytest
from rich.console import Console
from tiny_runs import train

from heredity.training.events import Event
from heredity.training.progress import ProgressBarCallback


def told(**settings: Any) -> list[str]:
    out = io.StringIO()
    train(None, 128, callback=ProgressBarCallback(Console(file=out, width=100)), **settings)
    return out.getvalue().splitlines()


def test_a_line_says_what_happened_at_a_step():
    lines = told(evaluate_every=64)
    assert len(lines) == 2 and all("return " in line for line in lines)
    assert lines[0].split()[0] == "64" and lines[0].endswith("· best")


def event(**given: Any) -> Event:
    plain = {
        "step": 1_000,
        "measured": None,
        "evaluation": None,
        "snapshot": None,
        "seeds": 1,
        "seed": 0,
    }
    return cast(Event, types.SimpleNamespace(**plain | {"is_best": False} | given))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, ""),
        ({"snapshot": "x"}, "        1,000  snapshot\n"),
        ({"is_best": True, "snapshot": "x"}, "        1,000  snapshot · best\n"),
    ],
)
def test_no_line_without_something_to_tell(given: dict[str, Any], line: str):
    out = io.StringIO()
    ProgressBarCallback(Console(file=out, width=100)).on_event(event(**given))
    assert out.getvalue() == line


def test_speed_and_time_left_are_of_the_same_wall_time():
    out = io.StringIO()
    bar = ProgressBarCallback(Console(file=out, force_terminal=True, width=120))
    bar.on_training_start(0, 1_000)
    assert bar._progress is not None
    clock = [0.0]
    bar._progress.get_time = lambda: clock[0]
    # An evaluation of 3 seconds lies between the second and the third.
    for clock[0], step in ((1.0, 100), (2.0, 200), (6.0, 300)):
        bar.on_progress(step, {})
    (task,) = bar._progress.tasks
    assert task.speed == pytest.approx(200 / 5)
    assert task.time_remaining == pytest.approx(700 / 40, abs=1)
    assert "40 steps/s" in str(bar._progress.columns[2](task))
    bar.on_training_end(300)
