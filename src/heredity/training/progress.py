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

from heredity.common.intervals import Interval, mean_interval
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
        speed, since = task.speed, task.elapsed or 0.0
        told = f"{speed:,.0f} steps/s" if speed else f"compiling … {since:.0f} s"
        return Text(told, style="green")


class ProgressBarCallback(Callback):
    """Shows a run on the terminal, with a line for each evaluation and each snapshot.

    Where standard error is not a terminal, only the lines are printed. Steps per second and the
    time left are both of the wall time, evaluations included; ``time/fps`` in the metrics counts
    the time of collecting and learning alone. Of several seeds the line tells the mean return over
    them and its 95 % interval, once all of them were evaluated; steps are those of each seed.

    Args:
        console: Where to draw; default: standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress: Progress | None = None
        self._task = None
        self._seeds: list[Event] = []  # of this moment, until there is one of each seed

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
        if "rollout/ep_rew_mean_low" in row:
            low, high = (row[f"rollout/ep_rew_mean_{end}"] for end in ("low", "high"))
            update["shown"] += f" ({low:,.1f} to {high:,.1f} over seeds)"
        self._progress.update(self._task, **update)

    def on_event(self, event: Event) -> bool | None:
        if self._seeds and self._seeds[0].step != event.step:
            self._seeds = []
        self._seeds.append(event)
        if len(self._seeds) == event.seeds:
            self._tell(self._seeds)
            self._seeds = []
        return None

    def _tell(self, events: list[Event]) -> None:
        parts = []
        event = events[0]
        means = [one.evaluation.mean for one in events if one.measured is not None]
        if means and event.seeds == 1:
            mean, std = event.evaluation.mean, event.evaluation.std
            # Of returns around 1 the first decimal tells nothing.
            digits = 1 if max(abs(mean), std) >= 10 else 3
            parts.append(f"return {mean:,.{digits}f} ± {std:,.{digits}f}")
        elif means:
            parts.append(return_over_seeds(mean_interval(means)))
        if any(one.snapshot for one in events):
            parts.append("[dim]snapshot[/]" if event.seeds == 1 else "[dim]snapshots[/]")
        best = [one for one in events if one.is_best]
        if best:
            several = event.seeds > 1
            whose = f" of {', '.join(str(one.seed) for one in best)}" if several else ""
            parts.append(f"[green]best{whose}[/]")
        if parts:
            line = f"[dim]{event.step:>13,}[/]  {' · '.join(parts)}"
            self.console.print(line, highlight=False)

    def on_training_end(self, step: int) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step)
            self._progress.stop()


def return_over_seeds(interval: Interval) -> str:
    """A mean return over seeds as people read it, short enough for a line.

    Example:
        >>> return_over_seeds(mean_interval([480.0, 500.0, 460.0, 500.0]))
        'return 485.0, 95 % 454.5 to 515.5 of 4 seeds'
    """
    if interval.size < 2:
        return f"return {interval.mean:,.1f} of {interval.size} seeds with a finite one"
    span = f"{interval.low:,.1f} to {interval.high:,.1f}"
    return f"return {interval.mean:,.1f}, 95 % {span} of {interval.size} seeds"
