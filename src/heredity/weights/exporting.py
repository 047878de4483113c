"""Giving weights to other libraries: injection's rules, read from right to left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heredity.common.errors import MismatchError, UsageError, first_few
from heredity.common.files import write_atomically
from heredity.common.tensors import tensor_bytes
from heredity.weights.report import EXACT, WeightReport, WeightRow
from heredity.weights.rules import Rule, captured_path
from heredity.weights.tree import flatten, select, subtree


def export(
    params: Mapping[str, Any],
    rules: Sequence[Rule] = (),
    *,
    out_of: str = "",
    allow: Sequence[str] = (),
) -> tuple[dict[str, np.ndarray], WeightReport]:
    """Weights under the names and in the layouts of another library; `inject` takes them back.

    Args:
        params: The weights.
        rules: From the other library's names to ours, as for `inject`; () keeps our names. Slashes
            in what ``{*name}`` captures become dots where a rule's own source has dots.
        out_of: The folder that the rules' paths are relative to; ``""`` for the whole.
        allow: Patterns of paths below `out_of` that may be left out.

    Returns:
        Arrays by the other library's names, and the report, whose guarantee is exact.

    Raises:
        MismatchError: naming paths that no rule gives a name to, or whose arrays cannot be brought
            back into the other layout.
        UnknownNameError: for an `out_of` or `allow` that matches nothing.

    Example:
        >>> from heredity.weights.rules import linear
        >>> params = {"head": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}}
        >>> arrays, report = export(params, linear("fc", "head"))
        >>> {name: array.shape for name, array in arrays.items()}
        {'fc.bias': (3,), 'fc.weight': (3, 2)}
    """
    prefix = f"{out_of}/" if out_of else ""
    leaves = {path: np.asarray(leaf) for path, leaf in flatten(subtree(params, out_of)).items()}
    allowed = select(leaves, allow)
    arrays: dict[str, np.ndarray] = {}
    rows: list[WeightRow] = []
    problems: list[str] = []
    done: set[str] = set()
    for path in leaves:
        if path in done:
            continue
        found = _turned(rules or (Rule("{*path}", "{*path}"),), path, leaves)
        if isinstance(found, str):
            if path not in allowed:
                problems.append(f"{prefix}{path} {found}")
            rows.append(_dropped(prefix + path, leaves[path]))
            continue
        rule, paths, made = found
        done |= set(paths)
        for name, array in made.items():
            if name in arrays:
                problems.append(f"{prefix}{path} would become {name}, which is another one already")
            arrays[name] = array
            told = " + ".join(prefix + one for one in paths)
            rows.append(_row(rule, name, array, told, leaves[paths[0]]))
    if not arrays and not problems:
        problems.append("there are no weights to export")
    if problems:
        raise MismatchError(
            f"these weights cannot be exported: {first_few(problems, between='; ')}",
            "Add or change rules, or name in allow what may be left out",
        )
    return dict(sorted(arrays.items())), WeightReport("export", tuple(rows), EXACT)


def write_safetensors(path: Path | str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a safetensors file such as other libraries read.

    Raises:
        StorageError: when the disk refuses.
        UsageError: for a path that is a folder, or what are no arrays by name.
    """
    if not isinstance(arrays, Mapping) or not all(
        isinstance(name, str) and isinstance(array, np.ndarray) for name, array in arrays.items()
    ):
        raise UsageError("arrays of numpy by name were expected, as export() gives them")
    target = Path(path)
    if target.is_dir():
        raise UsageError(f"{target} is a folder: give the name of a file")
    # Other libraries ask for this entry to know whose conventions the arrays follow.
    write_atomically(target, tensor_bytes(arrays, {"format": "pt"}))


def _turned(
    rules: Sequence[Rule], path: str, leaves: Mapping[str, np.ndarray]
) -> tuple[Rule, tuple[str, ...], dict[str, np.ndarray]] | str:
    """The arrays that a path becomes, with the paths they are made of; or why it becomes none."""
    for rule in rules:
        captured = next(
            (
                found
                for target in rule.targets
                if (found := captured_path(target, path)) is not None
            ),
            None,
        )
        if captured is None:
            continue
        undo = rule.layout.undo
        if undo is None:
            return f"was changed in a way that cannot be undone ({rule.layout.name})"
        paths = rule.paths(captured)
        missing = [one for one in paths if one not in leaves]
        if missing:
            return f"belongs to {', '.join(missing)}, which there is not"
        if any("." in pattern for pattern in rule.sources):  # such names have dots throughout
            captured = {name: text.replace("/", ".") for name, text in captured.items()}
        names = rule.names(captured)
        try:
            parts = [undo(leaves[one]) for one in paths]
            whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=rule.axis)
            pieces = [whole]
            if len(names) > 1:
                pieces = np.split(whole, len(names), axis=rule.axis)
        except (IndexError, ValueError) as error:
            return f"cannot be brought back from {rule.layout.name or 'its layout'} ({error})"
        return rule, paths, {n: np.array(p, order="C") for n, p in zip(names, pieces, strict=True)}
    return "matches no rule"


def _row(rule: Rule, name: str, array: np.ndarray, source: str, leaf: np.ndarray) -> WeightRow:
    return WeightRow(
        name,
        rule.layout.action,
        tuple(array.shape),
        str(array.dtype),
        source=source,
        source_shape=tuple(leaf.shape),
        source_dtype=str(leaf.dtype),
    )


def _dropped(path: str, leaf: np.ndarray) -> WeightRow:
    return WeightRow(
        path,
        "dropped",
        source=path,
        source_shape=tuple(leaf.shape),
        source_dtype=str(leaf.dtype),
        note="allowed",
    )
