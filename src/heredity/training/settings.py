"""How a run is kept: lengths, frequencies, retention. Importing this loads no numerical library."""

from __future__ import annotations

import dataclasses
import numbers
from typing import Any, Literal

from heredity.common.errors import UsageError

# Each has a folder that is locked while the run goes on, and a process may open so many files.
MOST_SEEDS = 512


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """How a run is evaluated, logged and saved. Every frequency counts environment steps.

    Args:
        total_timesteps: Where the run ends; rounded up to a whole iteration.
        seed: Decides every random draw of the run.
        seeds: How many seeds are trained side by side in one program, seed and those after it; at
            most 512. Each becomes a run folder of its own.
        devices: How many devices the environments are divided among, or all; default: one, or all
            devices of all processes where there are several.
        schedule_timesteps: Steps that schedules run over; default: total_timesteps of the first
            start. A resume does not change it.
        snapshot_every: Steps between snapshots (policy, evaluation, recorded episode); no snapshots
            if not given.
        evaluate_every: Steps between evaluations; default: snapshot_every, or a twentieth of the
            run.
        evaluation_episodes: Episodes in each evaluation; 0 for no evaluations.
        checkpoint_every: Steps between checkpoints, which hold all that a resume needs; default: a
            twentieth of the run.
        log_every: Steps between rows of metrics; default: a two-hundredth of the run.
        keep_last: How many of the newest checkpoints are kept; the best one is always kept.
        keep_every: Also keep the first checkpoint at or after each multiple of this; no others if
            not given.
        keep_snapshots: How many of the newest snapshots are kept; all if not given.
        encoder_kept: What checkpoints and snapshots hold of a pretrained encoder that does not
            move: its bytes; or hash (the path and SHA-256 of its file, which loading them then
            needs).
        on_divergence: When a loss or a weight is not finite: stop; rollback (to the last good
            checkpoint, and on with other random draws).
        max_rollbacks: How many rollbacks a run may make, counted over all its resumes.
    """

    total_timesteps: int
    seed: int = 0
    seeds: int = 1
    devices: int | Literal["all"] | None = None
    schedule_timesteps: int | None = None
    snapshot_every: int | None = None
    evaluate_every: int | None = None
    evaluation_episodes: int = 10
    checkpoint_every: int | None = None
    log_every: int | None = None
    keep_last: int = 2
    keep_every: int | None = None
    keep_snapshots: int | None = None
    encoder_kept: Literal["bytes", "hash"] = "bytes"
    on_divergence: Literal["stop", "rollback"] = "stop"
    max_rollbacks: int = 3

    def __post_init__(self) -> None:
        whole = {
            "total_timesteps": 1,
            "seed": 0,
            "seeds": 1,
            "devices": 1,
            "schedule_timesteps": 1,
            "snapshot_every": 1,
            "evaluate_every": 1,
            "evaluation_episodes": 0,
            "checkpoint_every": 1,
            "log_every": 1,
            "keep_last": 1,
            "keep_every": 1,
            "keep_snapshots": 1,
            "max_rollbacks": 0,
        }
        for name, least in whole.items():
            value = getattr(self, name)
            if value is None and type(self).__dataclass_fields__[name].default is None:
                continue
            if name == "devices" and value == "all":
                continue
            number = _whole(value)
            if number is None or number < least:
                raise UsageError(f"{name} {value!r}: a whole number >= {least} was expected")
            object.__setattr__(self, name, number)
        if self.seed >= 2**32:
            raise UsageError(f"seed {self.seed}: a whole number below 2**32 was expected")
        if self.seeds > MOST_SEEDS or self.seed + self.seeds > 2**32:
            raise UsageError(
                f"seeds {self.seeds} from seed {self.seed}: at most {MOST_SEEDS} were expected, "
                "all of them below 2**32"
            )
        if self.total_timesteps >= 2**53:
            raise UsageError(f"total_timesteps {self.total_timesteps}: below 2**53 was expected")
        if self.encoder_kept not in ("bytes", "hash"):
            raise UsageError(f"encoder_kept {self.encoder_kept!r}: bytes or hash was expected")
        if self.on_divergence not in ("stop", "rollback"):
            raise UsageError(f"on_divergence {self.on_divergence!r}: stop or rollback was expected")
        if self.on_divergence == "rollback" and self.seeds > 1:
            raise UsageError(
                f"on_divergence rollback with seeds {self.seeds}: seeds that are trained together "
                "stop together; use on_divergence stop, or start a run for each seed"
            )

    @property
    def all_seeds(self) -> list[int]:
        """The seeds that are trained, ascending."""
        return list(range(self.seed, self.seed + self.seeds))

    def settled(self) -> RunSettings:
        """The same with everything that follows from `total_timesteps` written down.

        A run that is extended later keeps its schedules and frequencies.
        """
        return dataclasses.replace(
            self,
            schedule_timesteps=self.schedule_timesteps or self.total_timesteps,
            evaluate_every=self.cadence("evaluate"),
            checkpoint_every=self.cadence("checkpoint"),
            log_every=self.cadence("log"),
        )

    def cadence(self, name: Literal["snapshot", "evaluate", "checkpoint", "log"]) -> int | None:
        """Steps between two boundaries of one kind; None for never."""
        given = getattr(self, f"{name}_every")
        if given is not None or name == "snapshot":
            return given
        if name == "evaluate":
            if self.evaluation_episodes == 0:
                return None
            return self.snapshot_every or max(self.total_timesteps // 20, 1)
        return max(self.total_timesteps // (200 if name == "log" else 20), 1)


def _whole(value: Any) -> int | None:
    """A number without a fraction, 5e6 among them, as an int; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    # The remainder of a number that is not finite is not a number.
    return int(value) if value % 1 == 0 else None  # pyright: ignore[reportArgumentType]
