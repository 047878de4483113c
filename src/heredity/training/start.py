"""What a run starts from where its weights are not fresh: a policy, a file, what a hook makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from heredity.algorithms.pretrained import PretrainedEncoder
from heredity.algorithms.registry import short_moments
from heredity.common.errors import MismatchError, UsageError, first_few
from heredity.networks.observations import leaf_spaces
from heredity.policies import Lineage, LineageEntry, Policy, PolicySpec
from heredity.policies.fitting import spec_for
from heredity.spaces import Box, space_difference
from heredity.training.checkpoints import STATE, Checkpoint, read_checkpoint
from heredity.weights import (
    Params,
    WeightReport,
    WeightRow,
    content_hash,
    flatten,
    unflatten,
)
from heredity.weights.report import EXACT, NONE, row_of

PostInit: TypeAlias = Callable[[Params], Params | tuple[Params, WeightReport]]
"""Receives fresh weights, numpy copies of its own; gives them back changed, with or without a
report of what it did."""

_MADE_NEW = ("critic/", "normalizer/reward/")
"""What a policy that only acts may lack; training then starts from fresh ones."""

AGES = "/count"
"""Of the optimiser: of the weights that began at the start, and at each unfreezing."""


@dataclasses.dataclass(frozen=True)
class Start:
    """What a run's first weights are made of.

    Those of a policy, or fresh ones with an encoder from a file; then what the hook makes of them.

    Args:
        policy: Whose weights training starts from; None for fresh ones.
        post_init: Changes the first weights.
        encoder: Weights from another library's file, which the settings of the networks name.
        state: The state of training beside that policy, by path, of which the optimiser goes on;
            None for a fresh one.
    """

    policy: Policy | None = None
    post_init: PostInit | None = None
    encoder: PretrainedEncoder | None = None
    state: Mapping[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        if self.policy is not None and self.encoder is not None:
            raise UsageError(
                f"a run that starts from a policy has its encoder: leave the network's weights "
                f"{str(self.encoder.file.path)!r} out, or put them in with post_init"
            )

    @classmethod
    def given(
        cls,
        start: Policy | Checkpoint | str | Path | None = None,
        post_init: PostInit | None = None,
        encoder: PretrainedEncoder | None = None,
        trust: Sequence[str] = (),
    ) -> Start:
        """The start that a person asks for.

        Args:
            start: A policy or a checkpoint, or the folder of one.
            post_init: Changes the first weights.
            encoder: Weights from another library's file.
            trust: Networks that the policy's file may name although they are not built in.

        Raises:
            RefusedError: naming the file that is missing, torn or altered.
        """
        if post_init is not None and not callable(post_init):
            raise UsageError(f"post_init {post_init!r}: a function of the parameters was expected")
        if isinstance(start, str | Path) and (Path(start) / STATE).exists():
            start = read_checkpoint(Path(start))
        if isinstance(start, Checkpoint):
            return cls(start.to_policy(trust), post_init, encoder, start.state)
        if isinstance(start, str | Path):
            start = Policy.from_pretrained(start, trust=trust)
        if start is not None and not isinstance(start, Policy):
            raise UsageError(
                f"start is a {type(start).__name__}: a policy, a checkpoint, or the folder of one "
                "was expected"
            )
        return cls(start, post_init, encoder)

    @property
    def is_fresh(self) -> bool:
        """Whether it changes nothing."""
        return self.policy is None and self.post_init is None and self.encoder is None

    def to_json(self) -> dict[str, Any] | None:
        """What ``config.json`` says of it; None for fresh weights."""
        if self.is_fresh:
            return None
        policy = None if self.policy is None else {"hash": self.policy.policy_hash}
        encoder = {} if self.encoder is None else {"encoder": self.encoder.to_json()}
        told = {"policy": policy, "post_init": _name(self.post_init), **encoder}
        return told if self.state is None else {**told, "optimizer": "of the checkpoint"}

    def first_state(
        self, fresh: dict[str, np.ndarray], also: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """The first state of training beside the weights, by path.

        Args:
            fresh: Of a run from fresh weights.
            also: Paths and folders that go on with the optimiser; see `Algorithm.goes_on`.

        Raises:
            MismatchError: when the checkpoint's optimiser is not of the weights that are trained.
        """
        if self.state is None:
            return fresh
        folders = tuple(f"{name}/" for name in ("optimizer", *also))
        goes_on = [path for path in fresh if path.startswith(folders) or path in also]
        ages = [path for path in goes_on if path.startswith("optimizer/") and path.endswith(AGES)]
        if any(len(self.state.get(path, ())) > 1 for path in ages):
            # After an unfreezing weights have ages of their own; here they begin again together.
            short = short_moments("" if self.policy is None else self.policy.spec.algorithm)
            goes_on = [p for p in goes_on if p not in ages and not p.startswith(short)]
        problems = [
            path
            for path in goes_on
            if path not in self.state or self.state[path].shape != fresh[path].shape
        ]
        if problems:
            raise MismatchError(
                f"the checkpoint has no {problems[0]} of shape "
                f"{fresh[problems[0]].shape}: it trained other weights than this run does",
                "Start from its policy alone: the folder policy in it",
            )
        return {**fresh, **{path: np.array(self.state[path]) for path in goes_on}}

    def first_weights(
        self, spec: PolicySpec, fresh: Mapping[str, np.ndarray], born: LineageEntry
    ) -> tuple[dict[str, np.ndarray], Lineage]:
        """The first weights of a run, and their lineage.

        Args:
            spec: Of the policy that is trained.
            fresh: Fresh weights by path.
            born: What the lineage says of a run from fresh weights.

        Raises:
            MismatchError: when the policy is another one, or the hook gives back something else
                than it got.
            UsageError: when the hook changes nothing.
        """
        leaves = dict(fresh)
        lineage = Lineage().then(born)
        if self.policy is not None:
            leaves, report = _taken(self.policy, spec, fresh)
            arguments = {**born.arguments, "report": report.to_json()}
            begun = dataclasses.replace(
                born,
                hash=content_hash(unflatten(leaves)),
                parent=self.policy.policy_hash,
                arguments=arguments,
            )
            lineage = self.policy.lineage.up_to(self.policy.policy_hash).then(begun)
        if self.encoder is not None:
            params, report = self.encoder.inject(unflatten(leaves))
            leaves = {path: np.asarray(leaf) for path, leaf in flatten(params).items()}
            lineage = lineage.then(_injected(lineage, leaves, report, self.encoder.to_json()))
        if self.post_init is not None:
            leaves, report = _hooked(self.post_init, leaves)
            told = {"post_init": _name(self.post_init)}
            lineage = lineage.then(_injected(lineage, leaves, report, told))
        return leaves, lineage


def with_copies(
    state: Mapping[str, np.ndarray], copied: Mapping[str, str], leaves: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """A fresh state of training beside weights that are not fresh.

    Args:
        state: By path.
        copied: See `Algorithm.copied`.
        leaves: The weights, by path.

    Example:
        >>> state = {"slow_critic/bias": np.zeros(1), "owed": np.zeros(1)}
        >>> with_copies(state, {"slow_critic": "critic"}, {"critic/bias": np.ones(1)})
        {'slow_critic/bias': array([1.]), 'owed': array([0.])}
    """
    found = dict(state)
    for folder, source in copied.items():
        for path in state:
            if path.startswith(f"{folder}/"):
                found[path] = np.array(leaves[source + path.removeprefix(folder)])
    return found


def _injected(
    lineage: Lineage,
    leaves: Mapping[str, np.ndarray],
    report: WeightReport,
    told: Mapping[str, Any],
) -> LineageEntry:
    """What the lineage says of weights that were put in before the first step."""
    policy_hash, last = content_hash(unflatten(leaves)), lineage.entries[-1]
    arguments = {**told, "report": report.to_json()}
    return LineageEntry("inject", policy_hash, lineage.head, 0, last.run, arguments)


FRESH = Start()


def _taken(
    policy: Policy, spec: PolicySpec, fresh: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], WeightReport]:
    """The weights of a policy where it has them, and what of the fresh ones it lacks."""
    given = policy.spec
    # What only training needs, a policy that acts may lack; and it may have learnt anywhere.
    if _is_seen_alike(given, spec):
        given = spec_for(policy.functions, spec.observation_space, given.action_space)
    comparable = dataclasses.replace(
        given,
        critic=given.critic or spec.critic,
        normalize_rewards=spec.normalize_rewards,
        algorithm=spec.algorithm,
    )
    _check_same(comparable, spec)
    found = flatten(policy.params)
    leaves: dict[str, np.ndarray] = {}
    rows: list[WeightRow] = []
    for path, leaf in fresh.items():
        if path in found:
            leaves[path] = np.array(found[path])
            rows.append(row_of(path, "copied", leaf, source=path))
        elif path.startswith(_MADE_NEW):
            leaves[path] = leaf
            rows.append(row_of(path, "initialised", leaf, note="the policy has none"))
        else:
            raise MismatchError(f"the policy to start from has no {path}")
    left = [path for path in found if path not in fresh]
    rows += [WeightRow(path, "dropped", source=path, note="not trained here") for path in left]
    return leaves, WeightReport("start", tuple(rows), EXACT)


def _check_same(given: PolicySpec, spec: PolicySpec) -> None:
    """See that a policy is what the run would train.

    Raises:
        MismatchError: naming the first difference, and what to do about it.
    """
    for what, own, other in (
        ("sees", given.observation_space, spec.observation_space),
        ("does", given.action_space, spec.action_space),
    ):
        difference = space_difference(own, other)
        if difference:
            raise MismatchError(
                f"the policy to start from {what} something else than the environment: "
                f"{difference}",
                "Move it there first: heredity transfer POLICY --env ID --out DIR",
            )
    one, other = (dataclasses.replace(part, environment=None).to_json() for part in (given, spec))
    difference = _first_difference(one, other, "")
    if difference:
        raise MismatchError(
            f"the policy to start from has {difference} in the settings of this run",
            "Give the settings that it was trained with: config.json of its run has them",
        )


def _first_difference(one: Any, other: Any, path: str) -> str:
    """Where two JSON values differ; empty where they do not."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in sorted({*one, *other}):
            found = _first_difference(one.get(name), other.get(name), f"{path} {name}".strip())
            if found:
                return found
        return ""
    if isinstance(one, Mapping) and other is None:
        return f"{path}, which is not"
    if isinstance(other, Mapping) and one is None:
        return f"no {path}, which is"
    return "" if one == other else f"{path} {one!r}, not the {other!r}"


def _is_seen_alike(given: PolicySpec, spec: PolicySpec) -> bool:
    """Whether a policy acts on what another one acts on; bounds of fractions change nothing."""
    difference = space_difference(given.acting_space, spec.acting_space)
    pairs = zip(
        leaf_spaces(given.acting_space).items(),
        leaf_spaces(spec.acting_space).items(),
        strict=False,
    )
    return not difference and all(
        a == b or (isinstance(a[1], Box) and a[1].dtype.startswith("float")) for a, b in pairs
    )


def _hooked(
    hook: PostInit, leaves: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], WeightReport]:
    """What a hook makes of weights; checked, and reported leaf by leaf if it does not itself."""
    name = _name(hook)
    given = hook(unflatten({path: np.array(leaf) for path, leaf in leaves.items()}))
    params, report = given if isinstance(given, tuple) else (given, None)
    if not isinstance(params, Mapping):
        raise MismatchError(
            f"post_init {name} gave {type(params).__name__}, a nested dict of weights was expected",
            "Return the parameters, changed",
        )
    found = {path: np.array(leaf) for path, leaf in flatten(params).items()}
    problems = [f"{path} is missing" for path in leaves if path not in found]
    problems += [f"{path} is new" for path in found if path not in leaves]
    for path, leaf in found.items():
        before = leaves.get(path)
        if before is None:
            continue
        if (leaf.shape, leaf.dtype) != (before.shape, before.dtype):
            problems.append(
                f"{path} is {leaf.dtype}{list(leaf.shape)}, "
                f"{before.dtype}{list(before.shape)} was expected"
            )
        elif not np.isfinite(leaf).all():
            problems.append(f"{path} has NaN or infinite numbers")
    if problems:
        raise MismatchError(
            f"post_init {name} gave other weights than it got: {first_few(problems, between='; ')}",
            "Change values alone: paths, shapes and dtypes are those of the networks",
        )
    if all(leaves[path].tobytes() == leaf.tobytes() for path, leaf in found.items()):
        raise UsageError(f"post_init {name} changed no weight: return the changed parameters")
    found = {path: found[path] for path in leaves}
    if report is not None:
        _check_report(name, report, leaves, found)
    else:
        rows = (
            row_of(path, "kept", leaf)
            if leaves[path].tobytes() == leaf.tobytes()
            else row_of(path, "copied", leaf, source="post_init")
            for path, leaf in found.items()
        )
        report = WeightReport("inject", tuple(rows), NONE, notes=(f"by post_init {name}",))
    return found, report


def _check_report(
    name: str | None,
    report: WeightReport,
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
) -> None:
    """See that the report of a hook is about what it did.

    Raises:
        GuaranteeError: when what it measured is not within what it allows.
        MismatchError: when it says that a weight was kept that was not, or leaves one out.
    """
    told = {row.path: row.action for row in report.verify().rows}
    changed = [path for path in after if before[path].tobytes() != after[path].tobytes()]
    wrong = [path for path in changed if told.get(path, "kept") in ("kept", "frozen")]
    if wrong:
        raise MismatchError(
            f"post_init {name} changed {wrong[0]}, and its report does not say so",
            "Return the report of what was done last, or none: one is made then",
        )


def _name(hook: PostInit | None) -> str | None:
    """How a hook is told apart from others."""
    if hook is None:
        return None
    module = getattr(hook, "__module__", "")
    return f"{module}:{getattr(hook, '__qualname__', type(hook).__qualname__)}"
