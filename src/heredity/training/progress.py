"""The progress bar: steps, steps a second, return, time left."""

from __future__ import annotations

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

# Steps per second and the time left are estimated over so long: several evaluations of most runs.
_SPEED_SECONDS = 120.0


class _Steps(MofNCompleteColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{int(task.completed):,}/{int(task.total or 0):,} steps", style="cyan")


class _Rate(ProgressColumn):
    """Of the wall time, evaluations and snapshots included, as the time left is."""

    def render(self, task: Task) -> Text:
        speed = task.speed
        return Text(f"{speed:,.0f} steps/s" if speed else "compiling …", style="green")


class ProgressBarCallback(Callback):
    """Shows a run on the terminal, with a line for each evaluation and each snapshot.

    Where standard error is not a terminal, only the lines are printed. Steps per second and the
    time left are both of the wall time, evaluations included; ``time/fps`` in the metrics counts
    the time of collecting and learning alone.

    Args:
        console: Where to draw; default: standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress: Progress | None = None
        self._task = None

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
            speed_estimate_period=_SPEED_SECONDS,
        )
        self._task = self._progress.add_task("", total=total_timesteps, completed=step, shown="–")
        self._progress.start()

    def on_progress(self, step: int, row: dict[str, float]) -> None:
        if self._progress is None or self._task is None:
            return
        update: dict = {"completed": step}
        if "rollout/ep_rew_mean" in row:
            update["shown"] = f"{row['rollout/ep_rew_mean']:,.1f}"
        self._progress.update(self._task, **update)

    def on_event(self, event: Event) -> bool | None:
        parts = []
        if event.measured is not None:
            parts.append(f"return {event.evaluation.mean:,.1f} ± {event.evaluation.std:,.1f}")
        if event.snapshot:
            parts.append("[dim]snapshot[/]")
        if event.is_best:
            parts.append("[green]best[/]")
        if parts:
            line = f"[dim]{event.step:>13,}[/]  {' · '.join(parts)}"
            self.console.print(line, highlight=False)
        return None

    def on_training_end(self, step: int) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step)
            self._progress.stop()
