"""From arrays of a file and a specification to a policy with a report and a lineage."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from heredity.common.errors import MismatchError, RefusedError, UsageError
from heredity.common.reading import FileState, check_unchanged, hash_and_state
from heredity.policies.actor_critic import ActorCritic
from heredity.policies.importers.options import ImportOptions
from heredity.policies.lineage import Lineage, LineageEntry
from heredity.policies.policy import Policy
from heredity.policies.specification import PolicySpec
from heredity.spaces import Box
from heredity.weights import (
    Measurement,
    Params,
    Rule,
    WeightReport,
    content_hash,
    flatten,
    inject,
    to_host,
    unflatten,
)
from heredity.weights.report import ROUNDING
from heredity.weights.rules import linear, resolve

Arrays = Mapping[str, np.ndarray]
# Gain of the actor's last layer at the start, in these libraries and in ours. It is part of the
# specification, and a run may begin with a policy of its own specification alone.
ACTOR_SCALE = 0.01


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that makes a policy of a file.

    Args:
        spec: What the policy is.
        source: Arrays by name, as in the file, or computed from those by what the name says.
        rules: From those names to our paths.
        library: What wrote the file, with its version where the file says so.
        step: Environment steps, as far as the file says; 0 if it does not.
        notes: For the report: what concerns no weight in particular.
        recorded: ``mean_return``, ``std_return`` and ``episodes`` of training that the file
            records; None where it does not.
        allow: Patterns of names that may be left out, or of paths that stay fresh.
    """

    spec: PolicySpec
    source: Arrays
    rules: Sequence[Rule]
    library: str
    step: int = 0
    notes: tuple[str, ...] = ()
    recorded: Mapping[str, Any] | None = None
    allow: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Imported:
    """What an import gives.

    Args:
        policy: With the lineage entry ``import``, which holds the report.
        report: Row by row, where each weight came from.
        recorded: The return of training that the file records; None where it does not.
    """

    policy: Policy
    report: WeightReport
    recorded: Mapping[str, Any] | None = None

    def scored(self, mean: float, std: float, episodes: int, environment: str) -> Imported:
        """The same with the return that was measured, in the report and in the lineage.

        Args:
            mean: Of the return, with the most likely actions.
            std: Its standard deviation.
            episodes: How many were played.
            environment: Where.
        """
        on = f"{episodes} episodes of {environment}, most likely actions"
        report = self.report.measured(Measurement("mean return", mean, on))
        entry = self.policy.lineage.entries[-1]
        entry = dataclasses.replace(
            entry,
            arguments={**entry.arguments, "report": report.to_json()},
            score={"mean_return": mean, "std_return": std, "episodes": episodes},
        )
        policy = Policy(self.policy.spec, self.policy.params, Lineage((entry,)))
        return dataclasses.replace(self, policy=policy, report=report)


def made(file: Fingerprint, kind: str, plan: Plan, options: ImportOptions) -> Imported:
    """The policy of a plan.

    Args:
        file: What was read.
        kind: Of the format.
        plan: What it becomes.
        options: What a person said.

    Raises:
        RefusedError: when the weights of the file do not fit each other, or it was changed.
    """
    path = file.path
    file.check()
    try:
        fresh = _fresh(plan)
        params, report = inject(fresh, plan.source, plan.rules, allow=plan.allow)
    except (MismatchError, UsageError) as error:
        raise RefusedError(path, f"does not fit together: {error}") from None
    # What the file lacks was drawn just now: there is nothing that it was kept from.
    rows = tuple(
        dataclasses.replace(row, action="initialised", note="not in the file")
        if row.action == "kept"
        else row
        for row in report.rows
    )
    whose = "the library that wrote the file" if plan.library == kind else plan.library
    why = (
        f"up to rounding: sums are in another order than in {whose}, so that what it puts out "
        "may differ in the last digits"
    )
    report = dataclasses.replace(
        report,
        operation="import",
        rows=rows,
        guarantee=ROUNDING,
        notes=(*report.notes, why, *plan.notes),
    )
    arguments = {
        "format": kind,
        "file": path.name,
        "sha256": file.sha256,
        "library": plan.library,
        **options.to_json(),
        "report": report.to_json(),
    }
    if plan.recorded is not None:
        arguments["recorded"] = dict(plan.recorded)
    entry = LineageEntry(
        "import", content_hash(params), None, plan.step, f"{kind}:{path.name}", arguments
    )
    policy = Policy(plan.spec, params, Lineage((entry,)))
    return Imported(policy, report, plan.recorded)


def _fresh(plan: Plan) -> Params:
    """Weights to import into: zeros, because the file has all; fresh ones where it may lack some.

    Fresh ones are drawn by compiled programs, which takes longer than all the rest.
    """
    functions = ActorCritic(plan.spec)
    if plan.allow:
        return unflatten(to_host(functions.init(0)))
    shapes = flatten(jax.eval_shape(functions.init, 0))
    return unflatten({path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in shapes.items()})


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Which bytes a file, or the files of a folder, had when reading began.

    Args:
        path: Of the file or folder.
        sha256: Of the file; of a folder, over the names and hashes of its files.
        states: Of each file.
    """

    path: Path
    sha256: str
    states: Mapping[Path, FileState]

    def check(self) -> None:
        """See that what was read since are these bytes.

        Raises:
            RefusedError: when a file was changed, added or taken away.
        """
        for file, state in self.states.items():
            check_unchanged(file, state)
        if set(_files(self.path)) != set(self.states):
            raise RefusedError(
                self.path, "was changed while it was read", "Read it again when nobody writes to it"
            )


def fingerprint(path: Path, options: ImportOptions) -> Fingerprint:
    """What a file is, before it is read; its bytes are hashed this one time.

    Args:
        path: Of the file or folder.
        options: Whose `sha256`, if a person said one, has to be that of the file.

    Raises:
        RefusedError: when it is another, or cannot be read.
    """
    hashed = {file: hash_and_state(file) for file in _files(path)}
    if path.is_dir():
        told = (f"{f.relative_to(path).as_posix()}\0{h}\n" for f, (h, _) in hashed.items())
        digest = hashlib.sha256("".join(told).encode()).hexdigest()
    else:
        digest = hashed[path][0]
    if options.sha256 is not None and digest != options.sha256.lower():
        raise RefusedError(path, f"has sha256 {digest}, --sha256 says {options.sha256.lower()}")
    return Fingerprint(path, digest, {file: state for file, (_, state) in hashed.items()})


def _files(path: Path) -> list[Path]:
    """A file, or the files of a folder."""
    if not path.is_dir():
        return [path]
    return sorted(inner for inner in path.rglob("*") if inner.is_file())


def check_arrays(path: Path, arrays: Arrays, rules: Sequence[Rule] | None = None) -> None:
    """See that the arrays of a file can become weights, before a person is asked for anything.

    Args:
        path: Of the file.
        arrays: Of a policy in it.
        rules: That have to know all of them, where they are known yet.

    Raises:
        RefusedError: naming an array that has NaN or infinite numbers, or that no rule knows.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise RefusedError(path, f"{name} has NaN or infinite numbers")
    unknown = () if rules is None else resolve(rules, arrays).unmatched
    if unknown:
        raise RefusedError(
            path, f"has {unknown[0]}, which no policy of this kind has ({len(unknown)} such arrays)"
        )


# --- what several formats have in common ----------------------------------------------------------


def numbered(arrays: Arrays, prefix: str) -> list[str]:
    """The layers of a torch `Sequential`, without their number's gaps: ``actor.0``, ``actor.2``.

    Args:
        arrays: Of a state dict.
        prefix: Of the `Sequential`, with its dot.
    """
    pattern = re.compile(re.escape(prefix) + r"(\d{1,4})\.weight")
    found = sorted(int(match[1]) for name in arrays if (match := pattern.fullmatch(name)))
    return [f"{prefix}{number}" for number in found]


def dense_widths(arrays: Arrays, layers: Sequence[str], path: Path) -> tuple[int, ...]:
    """What goes into a chain of dense torch layers, and what comes out of each.

    Raises:
        RefusedError: when there is none, or one does not fit the one before.
    """
    if not layers:
        raise RefusedError(path, "has none of the dense layers that were expected")
    widths: list[int] = []
    for layer in layers:
        shape = arrays[f"{layer}.weight"].shape
        if len(shape) != 2 or (widths and shape[1] != widths[-1]):
            raise RefusedError(path, f"{layer}.weight has shape {shape}, which does not fit")
        if f"{layer}.bias" not in arrays:
            raise RefusedError(path, f"{layer} has no bias; heredity's dense layers have one")
        widths = widths or [shape[1]]
        widths.append(shape[0])
    return tuple(int(width) for width in widths)


def log_of_deviation(deviation: np.ndarray, path: Path, name: str) -> np.ndarray:
    """The logarithm of a standard deviation.

    Raises:
        RefusedError: when it is not above zero.
    """
    value = np.asarray(deviation, np.float32)
    if not (value > 0).all() or not np.isfinite(value).all():
        raise RefusedError(path, f"{name} has a deviation that is not above zero")
    return np.log(value)


def whole_number(value: Any) -> int:
    """A count of a file, rounded down.

    Raises:
        MismatchError: when it is no number, or below zero.
    """
    array = np.asarray(value)
    if array.size == 1 and array.dtype.kind in "iuf" and np.isfinite(array).all():
        number = int(array.item())
        if number >= 0:
            return number
    raise MismatchError(f"a count of observations is {array.dtype}{list(array.shape)}, no number")


def counter(count: Any, shape: tuple[int, ...]) -> np.ndarray:
    """How many observations statistics have seen, as `networks.normalizer` counts them.

    Args:
        count: Any number; SB3's begins at 0.0001.
        shape: Of the statistics.
    """
    whole = min(whole_number(count), 2**64 - 1)
    pair = np.array([whole >> 32, whole & 0xFFFFFFFF], np.uint32)
    return np.broadcast_to(pair, (*shape, 2)).copy()


def statistics_rules(entry: str = "observation") -> tuple[Rule, ...]:
    """From ``<entry>: mean``, ``variance`` and ``count`` to ``normalizer/<entry>/…``."""
    return tuple(
        Rule(f"{entry}: {part}", f"normalizer/{entry}/{part}")
        for part in ("mean", "variance", "count")
    )


def statistics(
    mean: np.ndarray, variance: np.ndarray, count: Any, entry: str = "observation"
) -> dict[str, np.ndarray]:
    """Statistics as arrays of a source, for `statistics_rules`."""
    shape = np.shape(mean)
    return {
        f"{entry}: mean": np.asarray(mean),
        f"{entry}: variance": np.asarray(variance),
        f"{entry}: count": counter(count, shape),
    }


def chain_rules(layers: Sequence[str], target: str) -> tuple[Rule, ...]:
    """Rules of torch's dense layers, one after the other: all but the last are hidden."""
    rules: list[Rule] = []
    for index, layer in enumerate(layers):
        name = "output" if index == len(layers) - 1 else f"hidden_{index}"
        rules += linear(layer, f"{target}/{name}")
    return tuple(rules)


def bounded_actions(bounds: tuple[Any, Any], size: int) -> Box:
    """A space of actions with bounds that a person gave: numbers, or one for each action.

    Raises:
        UsageError: when they are no bounds of that many actions.
    """
    try:
        low, high = (np.broadcast_to(np.asarray(bound, np.float32), (size,)) for bound in bounds)
    except (TypeError, ValueError):
        raise UsageError(
            f"--action-bounds {bounds}: a lowest and a highest number, or one for each of the "
            f"{size} actions, were expected"
        ) from None
    if not (low < high).all():
        raise UsageError(f"--action-bounds {bounds}: the lowest is not below the highest")
    return Box((size,), tuple(low.tolist()), tuple(high.tolist()))
