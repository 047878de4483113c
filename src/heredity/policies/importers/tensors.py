"""Policies of any safetensors file, by rules."""

from __future__ import annotations

from pathlib import Path

from heredity.common.errors import RefusedError, UsageError
from heredity.common.reading import open_regular
from heredity.common.tensors import read_tensors
from heredity.policies.importers.making import Imported, Plan, fingerprint, made
from heredity.policies.importers.options import Demands, ImportOptions
from heredity.weights.reading.limits import MOST_FILE


def import_safetensors(path: Path, options: ImportOptions) -> Imported:
    """A policy of a safetensors file, which names arrays and says nothing else.

    Args:
        path: The file.
        options: ``spec`` (what the policy is) and ``rules`` (from the file's names to ours) are
            asked for; ``allow`` names what may be left out or stay fresh.

    Raises:
        RefusedError: when the file is broken, or its arrays do not fit.
        UsageError: when the specification or the rules are missing.
    """
    its_bytes = fingerprint(path, options)
    with open_regular(path, most=MOST_FILE):
        pass  # no pipe or device, which read_tensors would wait for
    arrays, _ = read_tensors(path)
    if not arrays:
        raise RefusedError(path, "has no arrays")
    demands = Demands(path, options)
    spec = demands.ask("spec", "the config.json of a policy: what it sees, does and is built from")
    told = f"a JSON list of rules from its {len(arrays)} names to ours, such as "
    example = '{"source": "fc1.weight", "target": "actor/hidden_0/kernel", "layout": "linear"}'
    rules = demands.ask("rules", told + example)
    demands.check()
    if not rules:
        raise UsageError("--rules: a list without rules")
    plan = Plan(spec, arrays, rules, "safetensors", allow=options.allow)
    return made(its_bytes, "safetensors", plan, options)
