"""Old and new policy beside each other, on the same moments seen by both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.errors import MismatchError
from heredity.networks import Distribution
from heredity.networks.axes import Piece, placed
from heredity.networks.normalizer import normalized_leaves
from heredity.networks.observations import leaf_observations, map_entries
from heredity.policies.actor_critic import ActorCritic
from heredity.policies.behaviour import sampled_observations
from heredity.policies.given import checked_observation
from heredity.policies.policy import Policy
from heredity.policies.transfer.bounds import action_slope
from heredity.policies.transfer.elements import ADDED, EntryMatch, other_bounds
from heredity.policies.transfer.plan import TransferPlan
from heredity.spaces import Box, Discrete, MultiDiscrete, Space
from heredity.weights import Params, WeightReport, subtree
from heredity.weights.report import EXACT, ROUNDING, Guarantee, Measurement

SAMPLES = 256
_MOMENTS = 8  # of each sequence that a policy with memory is shown
_ALONE = 32  # observations that are shown one at a time
_AT_ENDS = 32  # observations whose removed columns are as far away as the bound reckons with
# Of the largest output: what another order of sums moves it by, at most.
_ROUNDING = {"float32": 1e-5, "bfloat16": 0.05}


def measured_report(
    plan: TransferPlan, policy: Policy, moved: Policy, observations: Any = None
) -> WeightReport:
    """The plan's report with what was measured.

    A guarantee of ``exact`` that turns out to hold up to rounding alone is reported as that: how
    many columns there are decides in which order a processor sums them.

    Args:
        plan: What was done.
        policy: Before.
        moved: After.
        observations: Recorded ones of the old space, ``(B, ...)``; None to draw some.
    """
    before = Policy(plan.old, policy.params)
    chance = np.random.default_rng(plan.seed)
    ends: Any = None
    if observations is None:
        seen = sampled_observations(before, SAMPLES, plan.seed, plan.old.observation_space)
        on = f"{SAMPLES} sampled observations"
        if "bounded" in (plan.guarantee.kind, plan.critic_guarantee.kind):
            ends = at_the_ends(plan, before, seen)
    else:
        seen, batched = checked_observation(plan.old.observation_space, observations)
        if not batched:
            raise MismatchError("observations with a leading axis (batch,) were expected, not one")
        on = f"{len(jax.tree.leaves(seen)[0]):,} recorded observations"
    count = len(jax.tree.leaves(seen)[0])
    if ends is not None:
        seen = jax.tree.map(lambda a, b: np.concatenate([a, b]), seen, ends)
    shown = embedded(plan, seen, chance)
    done = _done(plan, before, moved, chance)
    said = _said(before, seen, done[0]), _said(moved, shown, done[1])
    old, new = (one.part(slice(count)) for one in said)
    report, guarantee = plan.report, plan.guarantee
    actions = _actions(plan, before, moved, seen, shown)
    found = _actor(plan, before, moved, old.parameters, new.parameters, on, guarantee)
    if guarantee == EXACT and max(m.value for m in (found[0], *actions)) > 0:
        note = "exact but for the order of sums, which the number of columns decides here"
        report = dataclasses.replace(report, guarantee=ROUNDING, notes=(*report.notes, note))
    elif guarantee == EXACT:
        # Not even rounding was needed: what is told as exact is allowed nothing.
        found[0] = dataclasses.replace(found[0], allowed=0.0)
    if old.values is not None and new.values is not None:
        found.append(_critic(plan, old.values, new.values, on))
    if ends is not None:
        old, new = (one.part(slice(count, None)) for one in said)
        on = f"{_AT_ENDS} with what is removed at its ends"
        actions += _actor(plan, before, moved, old.parameters, new.parameters, on, guarantee)
        if old.values is not None and new.values is not None:
            actions.append(_critic(plan, old.values, new.values, on))
    return report.measured(*found, *actions)


def _actor(
    plan: TransferPlan,
    before: Policy,
    moved: Policy,
    old: np.ndarray,
    new: np.ndarray,
    on: str,
    guarantee: Guarantee,
) -> list[Measurement]:
    kept, sources = _kept_parameters(plan, moved)
    if not len(kept):
        raise MismatchError(
            "nothing of what the policy does is left: there is nothing to compare",
            "Make the plan with plan_transfer, which refuses this",
        )
    of_choices = guarantee.of == "total variation"
    largest = float(np.abs(new[..., kept] - old[..., sources]).max(initial=0.0))
    allowed = _allowed(guarantee, old, plan)
    if of_choices:
        # The promise is about probabilities; what is kept of the logits is not to move more.
        of_rest = [row.guarantee for row in plan.rows if row.guarantee is not None]
        is_kept = all(each.kind in ("exact", "rounding") for each in of_rest)
        # With equal chances mixed in, what is kept of them has less than before.
        is_mixed = plan.spec.distribution.uniform_mix > 0
        allowed = _tolerance(old, plan) if is_kept and not is_mixed else None
    found = [Measurement("largest difference of each output", largest, on, allowed)]
    if any(piece.kind == "logits" for piece in before.functions.family.pieces()):
        variation = _total_variation(plan, before, moved, old, new)
        limit = guarantee.bound + 1e-5 if of_choices and guarantee.bound is not None else None
        found.append(Measurement("largest total variation of each choice", variation, on, limit))
    return found


def _actions(
    plan: TransferPlan, before: Policy, moved: Policy, seen: Any, shown: Any
) -> list[Measurement]:
    """Most likely actions, one observation at a time: in numpy where that is written."""
    if before.functions.has_memory or _has_other_bounds(plan):
        return []
    count = min(_ALONE, len(jax.tree.leaves(seen)[0]))
    on = f"{count} of them, one at a time"
    pairs = []
    for index in range(count):
        one, other = (jax.tree.map(lambda leaf, i=index: leaf[i], tree) for tree in (seen, shown))
        pairs.append([np.asarray(before.predict(one)[0]), np.asarray(moved.predict(other)[0])])
    old, new = (np.stack([pair[side] for pair in pairs]) for side in (0, 1))
    space = plan.old.action_space
    if isinstance(space, Box):
        places = plan.choices["action"].last
        kept = np.flatnonzero(places != ADDED)
        largest = np.abs(new[:, kept] - old[:, places[kept]]).max(initial=0.0)
        allowed = None
        if plan.guarantee.bound is not None:
            allowed = plan.guarantee.bound * action_slope(plan.old) * (1 + 1e-5) + 1e-5  # rounding
        return [Measurement("largest difference of an action", float(largest), on, allowed)]
    share = np.mean([_differs(plan, name, old, new) for name in plan.choices], axis=0).mean()
    return [Measurement("share of other most likely actions", float(share), on)]


def _has_other_bounds(plan: TransferPlan) -> bool:
    return other_bounds(plan.old.action_space, plan.spec.action_space, plan.choices)


def _differs(plan: TransferPlan, name: str, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Where one choice is another one than before, ``(B,)``."""
    match, spaces = plan.choices[name], (plan.old.action_space, plan.spec.action_space)
    if isinstance(spaces[0], Discrete) and isinstance(spaces[1], Discrete):
        return match.last[new - spaces[1].start] != old - spaces[0].start
    if match.source is None:
        return np.zeros(len(new), bool)  # nothing to be compared with
    return match.last[new[:, list(plan.choices).index(name)]] != old[:, match.place]


def _critic(plan: TransferPlan, old: np.ndarray, new: np.ndarray, on: str) -> Measurement:
    largest = float(np.abs(new - old).max(initial=0.0))
    allowed = _allowed(plan.critic_guarantee, old, plan)
    if plan.critic_guarantee == EXACT and largest == 0:
        allowed = 0.0
    return Measurement("largest difference of each value", largest, on, allowed)


# --- what is shown --------------------------------------------------------------------------------


def embedded(plan: TransferPlan, seen: Any, chance: np.random.Generator) -> Any:
    """Old observations as the new space has them; what is new is drawn from the space.

    Args:
        plan: Which says where everything comes from.
        seen: Of the old space, ``(B, ...)``.
        chance: For what is new.
    """
    values = leaf_observations(plan.old.observation_space, seen)
    count = len(jax.tree.leaves(seen)[0])

    def shown(path: str, part: Space, _: Any) -> Any:
        match = plan.entries[path]
        drawn = np.stack([part.sample(chance) for _ in range(count)])
        if match.source is None:
            return drawn
        return _embedded_leaf(match, values[match.source], drawn)

    return map_entries(plan.spec.observation_space, shown)


def at_the_ends(plan: TransferPlan, policy: Policy, seen: Any) -> Any:
    """Some of the observations, with removed columns as far away as a bound reckons with.

    At the clip of the normaliser, or at the bounds of the space, on either side; drawn observations
    are hardly ever there. Choices stay as they were drawn.

    Args:
        plan: Which says what is removed.
        policy: Before it, with the names of the plan.
        seen: Of the old space, ``(B, ...)``.

    Returns:
        The first of them, changed; None where nothing is removed.
    """
    kept: dict[str, list[np.ndarray]] = {}
    for match in plan.entries.values():
        if match.source is not None:
            kept.setdefault(match.source, []).append(match.last)
    chance, spec, changed = np.random.default_rng(plan.seed), plan.old, False
    normalized = normalized_leaves(spec.observation_space) if spec.normalize_observations else {}

    def at_ends(path: str, leaf: Space, value: Any) -> Any:
        nonlocal changed
        part = np.array(value[:_AT_ENDS])
        if not isinstance(leaf, Box):
            return part
        width = leaf.concrete_shape[-1] if leaf.shape else 1
        gone = np.setdiff1d(np.arange(width), kept.get(path, ()))
        if not len(gone):
            return part
        changed = True
        ends: Any = leaf.low, leaf.high
        if path in normalized:
            statistics = subtree(policy.params, f"normalizer/{path}")
            deviation = np.sqrt(statistics["variance"] + spec.observation_epsilon)
            far = 1.1 * spec.observation_clip * deviation
            ends = statistics["mean"] - far, statistics["mean"] + far
        side = np.where(chance.random(part.shape) < 0.5, *ends)
        part = np.where(np.isfinite(side) & np.isin(np.arange(width), gone), side, part)
        return part.astype(value.dtype)

    found = map_entries(spec.observation_space, at_ends, seen)
    return found if changed else None


def _embedded_leaf(match: EntryMatch, old: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    new = match.new
    if isinstance(new, Discrete) and isinstance(match.old, Discrete):
        # A choice that is no more is any other.
        places = {int(p): i for i, p in enumerate(match.last) if p != ADDED}
        before = old - match.old.start
        found = [places.get(int(p), d - new.start) for p, d in zip(before, drawn, strict=True)]
        return np.array(found) + new.start
    if isinstance(new, MultiDiscrete) or not getattr(new, "shape", ()):
        return old.astype(drawn.dtype)
    if match.resized:
        shape = (len(old), *drawn.shape[1:-1], old.shape[-1])
        old = np.asarray(jax.image.resize(old.astype(np.float32), shape, "nearest"))
    kept = np.flatnonzero(match.last != ADDED)
    drawn[..., kept] = old[..., match.last[kept]].astype(drawn.dtype)
    return drawn


# --- what is compared -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Said:
    """What a policy says of observations: parameters ``(B, P)``, values ``(B,)`` or None."""

    parameters: np.ndarray
    values: np.ndarray | None

    def part(self, which: slice) -> _Said:
        """The same of some observations."""
        values = None if self.values is None else self.values[which]
        return _Said(self.parameters[which], values)


def _done(
    plan: TransferPlan, before: Policy, moved: Policy, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One action for memories to be told of, as numbers: as the old and the new policy have it."""
    families = before.functions.family, moved.functions.family
    old, new = (np.zeros(family.action_features, np.float32) for family in families)
    starts = {}
    for piece, place in placed(families[0].feature_pieces()):
        starts[piece.of] = place.start
        drawn = chance.uniform(-1, 1, piece.size)
        # Of choices one, which is another one for every seed.
        chosen = np.arange(piece.size) == chance.integers(piece.size)
        old[place] = chosen if piece.kind == "logits" else drawn
    for piece, place in placed(families[1].feature_pieces()):
        match = plan.choices[piece.of]
        kept = np.flatnonzero(match.last != ADDED)
        if match.source is not None:
            new[place.start + kept] = old[starts[match.source] + match.last[kept]]
    return old, new


def _said(policy: Policy, seen: Any, done: np.ndarray) -> _Said:
    """What a policy says of observations ``(B, ...)``, or with memory of sequences of them.

    Args:
        policy: It.
        seen: The observations.
        done: What it did before each moment of a sequence, for memories that are told of it.
    """
    functions = policy.functions
    has_critic = functions.critic is not None
    carry: Any = functions.initial_carry(())
    is_first = None
    if functions.has_memory:
        total = len(jax.tree.leaves(seen)[0])
        moments = min(_MOMENTS, total)
        count = total // moments
        seen = jax.tree.map(
            lambda a: a[: moments * count].reshape((moments, count, *a.shape[1:])), seen
        )
        carry = functions.initial_carry((count,))
        for name in carry:
            network = functions.networks[name]
            if network.takes_actions:
                actions = jnp.broadcast_to(done, (count, *done.shape))
                carry = {**carry, name: network.acted(carry[name], actions)}
        is_first = jnp.zeros((moments, count), bool).at[0].set(True)

    def run(params: Params, seen: Any, carry: Any) -> Any:
        ready = functions.preprocess(params, seen)
        if has_critic:
            return functions.unroll(params, ready, carry, is_first)
        return functions.unroll_parameters(params, ready, carry, is_first)[0], None

    parameters, values = jax.jit(run)(policy.params, jax.tree.map(jnp.asarray, seen), carry)
    return _Said(
        np.asarray(parameters).reshape((-1, parameters.shape[-1])),
        None if values is None else np.asarray(values).reshape(-1),
    )


def _kept_parameters(plan: TransferPlan, moved: Policy) -> tuple[np.ndarray, np.ndarray]:
    """Places of the parameters that there were before, now and then."""
    family, now, then = moved.functions.family, [], []
    old_starts = _old_starts(plan)
    for piece, place in placed(_parameter_pieces(family)):
        match = plan.choices[piece.of]
        kept = np.flatnonzero(match.last != ADDED)
        if match.source is not None:
            now.append(place.start + kept)
            then.append(old_starts[piece.kind, match.source] + match.last[kept])
    return np.concatenate(now), np.concatenate(then)


def _old_starts(plan: TransferPlan) -> dict[tuple[str, str], int]:
    """Where each piece of the old parameters begins."""
    pieces = _parameter_pieces(ActorCritic(plan.old).family)
    return {(piece.kind, piece.of): place.start for piece, place in placed(pieces)}


def _parameter_pieces(family: Distribution) -> list[Piece]:
    """What the parameters of a distribution are made of: outputs, then what is free of them."""
    return [*family.pieces(), *(p for free in family.free_pieces().values() for p in free)]


def _total_variation(
    plan: TransferPlan, before: Policy, moved: Policy, old: np.ndarray, new: np.ndarray
) -> float:
    """The largest total variation between the old choices and the new ones."""
    starts = _old_starts(plan)
    old_pieces = {piece.of: piece for piece in before.functions.family.pieces()}
    largest, start = 0.0, 0
    for piece in moved.functions.family.pieces():
        probability = _softmax(new[:, start : start + piece.size])
        start += piece.size
        match = plan.choices[piece.of]
        if match.source is None:
            continue
        first, places = starts["logits", match.source], match.last
        was = _softmax(old[:, first : first + old_pieces[match.source].size])
        kept = places != ADDED
        there = np.zeros_like(probability)
        there[:, kept] = was[:, places[kept]]
        # Of choices that are no more; without any, their sum would be rounding alone.
        is_whole = np.count_nonzero(kept) == was.shape[-1]
        gone = 0.0 if is_whole else np.maximum(1 - there.sum(axis=-1), 0)
        variation = 0.5 * (np.abs(probability - there).sum(axis=-1) + gone)
        largest = max(largest, float(variation.max()))
    return largest


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def _allowed(guarantee: Guarantee, old: np.ndarray, plan: TransferPlan) -> float | None:
    match guarantee.kind:
        case "exact" | "rounding":
            # What is not equal to the bit is said to be rounding, and may not be more than that.
            return _tolerance(old, plan)
        case "bounded":
            assert guarantee.bound is not None
            return guarantee.bound + _tolerance(old, plan)
    return None


def _tolerance(old: np.ndarray, plan: TransferPlan) -> float:
    options: Mapping[str, Any] = plan.spec.actor.options
    share = _ROUNDING[str(options.get("dtype", "float32"))]
    return share * max(1.0, float(np.abs(old).max(initial=0.0)))
