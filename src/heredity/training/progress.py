"""The progress bar: steps, steps a second, return, time left."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from heredity.training.callbacks import Callback
from heredity.training.events import Event


class _Steps(MofNCompleteColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{int(task.completed):,}/{int(task.total or 0):,} steps", style="cyan")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.fields.get("rate")
        return Text(f"{speed:,.0f} steps/s" if speed else "compiling …", style="green")


class ProgressBarCallback(Callback):
    """Shows a run on the terminal, and a line for each evaluation.

    Where standard error is no terminal only the lines are printed.

    Args:
        console: Where to draw; default: standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress: Progress | None = None
        self._task = None
        self._last = (0, 0.0)

    def on_training_start(self, step: int, total_timesteps: int) -> None:
        self._progress = Progress(
            BarColumn(bar_width=24),
            _Steps(),
            _Rate(),
            TextColumn("return {task.fields[shown]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._progress.add_task(
            "", total=total_timesteps, completed=step, rate=None, shown="–"
        )
        self._progress.start()
        self._last = (step, time.monotonic())

    def on_progress(self, step: int, row: dict[str, float]) -> None:
        if self._progress is None or self._task is None:
            return
        before, then = self._last
        now = time.monotonic()
        rate = (step - before) / max(now - then, 1e-9)
        self._last = (step, now)
        update: dict = {"completed": step, "rate": rate}
        if "rollout/ep_rew_mean" in row:
            update["shown"] = f"{row['rollout/ep_rew_mean']:,.1f}"
        self._progress.update(self._task, **update)

    def on_event(self, event: Event) -> bool | None:
        mark = " [green]best[/]" if event.is_best else ""
        taken = " · snapshot" if event.snapshot else ""
        score = ""
        if event.measured is not None:
            score = f"return {event.evaluation.mean:,.1f} ± {event.evaluation.std:,.1f}"
        line = f"[dim]{event.step:>13,}[/]  {score}[dim]{taken}[/]{mark}"
        self.console.print(line, highlight=False)
        # Evaluating is not training: its time does not count for the rate.
        self._last = (event.step, time.monotonic())
        return None

    def on_training_end(self, step: int) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step)
            self._progress.stop()
