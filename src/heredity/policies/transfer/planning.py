"""From what a person wants of a policy to a plan: the new specification, and a row per weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from heredity.common.errors import MismatchError, UsageError
from heredity.networks.contract import Network, NetworkSpec
from heredity.networks.observations import chosen_entries, leaf_spaces
from heredity.policies.actor_critic import ActorCritic
from heredity.policies.axes import policy_axes
from heredity.policies.fitting import spec_for
from heredity.policies.policy import Policy
from heredity.policies.specification import PolicySpec
from heredity.policies.transfer.bounds import action_slope
from heredity.policies.transfer.elements import (
    ChoiceMatch,
    EntryMatch,
    Names,
    matched_choices,
    matched_entries,
    other_bounds,
    with_names,
)
from heredity.policies.transfer.plan import TransferPlan
from heredity.policies.transfer.recipes import Matching
from heredity.policies.transfer.renames import checked_renames, split_renames
from heredity.policies.transfer.rows import Rows
from heredity.policies.transfer.spaces import changed_space
from heredity.policies.transfer.stand_ins import StandIns
from heredity.spaces import Space
from heredity.weights import flatten


def plan_transfer(
    policy: Policy,
    new_observation_space: Space | None = None,
    new_action_space: Space | None = None,
    *,
    add: Sequence[str] = (),
    drop: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
    hidden: Sequence[int] | None = None,
    critic_hidden: Sequence[int] | None = None,
    names: Names | Sequence[str] = (),
    new_names: Names | Sequence[str] = (),
    positions: bool = False,
    means: Mapping[str, float] | None = None,
    observations: Any = None,
    new_share: float = 0.01,
    environment: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> TransferPlan:
    """How a policy becomes one for other spaces, or with wider and deeper layers.

    Args and errors are those of `Policy.plan_transfer`, which calls this with itself in front.

    Example:
        >>> from heredity.networks import DistributionSpec, MlpOptions
        >>> from heredity.spaces import Box, Discrete
        >>> spec = PolicySpec(
        ...     Box((2,), names=("angle", "speed")),
        ...     Discrete(2),
        ...     MlpOptions((8,)).spec(),
        ...     DistributionSpec("categorical"),
        ... )
        >>> policy = Policy(spec, ActorCritic(spec).init(0))
        >>> plan = policy.plan_transfer(Box((3,), names=("angle", "speed", "wind")))
        >>> print(plan.guarantee, plan.recipe("actor/hidden_0/kernel").places[0])
        exact [ 0  1 -1]
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UsageError(f"seed {seed!r}: a whole number from 0 to 2**32 - 1 was expected")
    if not isinstance(new_share, int | float) or not 0 < new_share < 1:
        raise UsageError(f"new_share {new_share!r}: a number between 0 and 1 was expected")
    old = named(policy.spec, names)
    if (add or drop) and new_observation_space is not None:
        raise UsageError("add and drop change what is seen: leave new_observation_space out")
    of_sensors, of_actions = split_renames(
        checked_renames(renamed),
        (old.observation_space, old.action_space),
        (new_observation_space, new_action_space),
    )
    if new_observation_space is None:
        new_observation_space, changed_action = _changed(old, add, drop, of_sensors, of_actions)
        new_action_space = new_action_space or changed_action
    wanted = dataclasses.replace(
        old,
        observation_space=new_observation_space or old.observation_space,
        action_space=new_action_space or old.action_space,
    )
    wanted = named(wanted, new_names)
    spaces = (old.observation_space, wanted.observation_space)
    actions = (old.action_space, wanted.action_space)
    entries = matched_entries(*spaces, renamed=of_sensors, positions=positions)
    choices = matched_choices(*actions, renamed=of_actions, positions=positions)

    before = ActorCritic(policy.spec)
    spec = _new_spec(before, wanted, entries, hidden, critic_hidden, environment)
    if spec == policy.spec:
        raise UsageError("the policy has these spaces and layers already: nothing to transfer")
    now = ActorCritic(spec)
    axes = policy_axes(ActorCritic(old)), policy_axes(now)
    pieces: dict[str, EntryMatch | ChoiceMatch] = {**entries, **choices}
    sources = {path: match.source for path, match in pieces.items() if match.source is not None}
    matching = Matching(
        *axes,
        columns={path: _columns(match) for path, match in entries.items()},
        channels={path: match.last for path, match in entries.items()},
        choices={name: match.last for name, match in choices.items()},
        sources=sources,
        folders=_folders(before, now, entries),
        touched=_touched(now, before, entries, choices),
    )
    recipes = matching.recipes()
    told = Rows(
        axes=axes[0],
        leaves={path: np.asarray(leaf) for path, leaf in flatten(policy.params).items()},
        stand_ins=StandIns(Policy(old, policy.params), means, observations),
        new_share=new_share,
        uniform_mix=old.distribution.uniform_mix,
    )
    rows = told.with_means([told.row(recipe) for recipe in recipes])
    rows += [told.dropped(path) for path in matching.dropped(recipes)]
    resized = [path for path, match in entries.items() if match.resized]
    guarantee = told.guarantee("actor", resized)
    renames = {**of_sensors, **of_actions}
    notes = [f"{before!r} is called {now!r} now" for before, now in renames.items()]
    notes += _notes(old, spec, entries, choices)
    if guarantee.of == "each output" and (slope := action_slope(spec)) != 1:
        notes.append(f"an action may move {slope:.3g} times as far as the output it is made of")
    return TransferPlan(
        old=old,
        spec=spec,
        policy_hash=policy.policy_hash,
        recipes=tuple(recipes),
        rows=tuple(rows),
        guarantee=guarantee,
        critic_guarantee=told.guarantee("critic", resized),
        entries=entries,
        choices=choices,
        folded=told.folded,
        new_share=new_share,
        notes=tuple(notes),
        seed=seed,
    )


def _changed(
    old: PolicySpec,
    add: Sequence[str],
    drop: Sequence[str],
    of_sensors: Mapping[str, str],
    of_actions: Mapping[str, str],
) -> tuple[Space | None, Space | None]:
    """What is seen and done with columns added, dropped and renamed; None where nothing is."""
    seen = done = None
    if of_actions:
        action: Any = old.action_space  # of those that have names
        after = tuple(of_actions.get(name, name) for name in action.names)
        done = dataclasses.replace(action, names=after)
    if add or drop or of_sensors:
        seen = changed_space(old.observation_space, add=add, drop=drop, renamed=of_sensors)
    return seen, done


def named(spec: PolicySpec, names: Names | Sequence[str]) -> PolicySpec:
    """A specification with names for what its spaces do not name.

    Args:
        spec: Of a policy.
        names: As `plan_transfer` takes them.
    """
    if not names:
        return spec
    if not isinstance(names, Mapping):
        named = with_names(spec.observation_space, names)
        return dataclasses.replace(spec, observation_space=named)
    of_action = {path: given for path, given in names.items() if path == "action"}
    of_observation = {path: given for path, given in names.items() if path != "action"}
    return dataclasses.replace(
        spec,
        observation_space=with_names(spec.observation_space, of_observation),
        action_space=with_names(spec.action_space, of_action, "action"),
    )


def _columns(match: EntryMatch) -> np.ndarray | MismatchError:
    try:
        return match.columns
    except MismatchError as error:  # raised where the columns are read, if they are
        return error


# --- the new specification ------------------------------------------------------------------------


def _new_spec(
    before: ActorCritic,
    wanted: PolicySpec,
    entries: Mapping[str, EntryMatch],
    hidden: Sequence[int] | None,
    critic_hidden: Sequence[int] | None,
    environment: Mapping[str, Any] | None,
) -> PolicySpec:
    specs: dict[str, NetworkSpec] = {}
    concrete = any(match.resized for match in entries.values())
    spaces = wanted.observation_space, wanted.action_space
    fitted = spec_for(before, *spaces, concrete=concrete)
    for name, given in fitted.networks.items():
        reads = _reads(given.reads, entries, wanted.observation_space)
        specs[name] = dataclasses.replace(given, reads=reads)
    reading = "trunk" if "trunk" in specs else "actor"
    if hidden is not None:
        _check_wider(reading, before)
        specs[reading] = with_hidden(specs[reading], hidden)
    widths = critic_hidden if critic_hidden is not None else hidden
    if widths is not None and "critic" in specs and reading == "actor":
        specs["critic"] = with_hidden(specs["critic"], widths)
    elif critic_hidden is not None:
        _check_wider("critic", before)
        raise UsageError("critic_hidden: the critic has no layers of its own here, leave it out")
    changed = (wanted.observation_space, wanted.action_space) != (
        before.spec.observation_space,
        before.spec.action_space,
    )
    kept = None if changed else before.spec.environment
    return dataclasses.replace(fitted.with_networks(specs), environment=environment or kept)


def _check_wider(name: str, functions: ActorCritic) -> None:
    """Refuse other widths where they would change what a network does."""
    if name in functions.networks and (told := functions.networks[name].no_wider):
        raise MismatchError(f"hidden: {told}", "Train a larger policy from fresh weights")


def with_hidden(spec: NetworkSpec, hidden: Sequence[int]) -> NetworkSpec:
    """A network with other widths; of one with an encoder, the encoder's.

    Example:
        >>> with_hidden(NetworkSpec("gru", {"encoder": {"kind": "mlp"}}), [8]).options["encoder"]
        {'kind': 'mlp', 'hidden': [8]}
    """
    if isinstance(encoder := spec.options.get("encoder"), Mapping):
        inner = with_hidden(NetworkSpec.from_json(encoder), hidden).to_json()
        return dataclasses.replace(spec, options={**spec.options, "encoder": inner})
    return dataclasses.replace(spec, options={**spec.options, "hidden": list(hidden)})


def _reads(
    patterns: tuple[str, ...], entries: Mapping[str, EntryMatch], space: Space
) -> tuple[str, ...]:
    """Patterns of the entries that a network reads, in the new space."""
    paths = {path.partition("/")[2] for path in entries}
    folders = {path.rsplit("/", n)[0] for path in paths for n in range(1, path.count("/") + 1)}
    now = {
        match.source.partition("/")[2]: path.partition("/")[2]
        for path, match in entries.items()
        if match.source is not None
    }
    kept = []
    for pattern in patterns:
        plain = not set("!*?") & set(pattern)
        if plain and pattern in now:
            kept.append(now[pattern])
        elif not plain or pattern in paths | folders:
            kept.append(pattern)
    if patterns and not kept:
        raise MismatchError(
            f"a network reads {', '.join(patterns)} alone, and the new observation has none of it",
            "Say which entry was renamed (--rename OLD=NEW, in Python renamed=)",
        )
    chosen_entries(space, kept)  # a pattern that finds nothing is refused here
    return tuple(kept)


def _folders(
    before: ActorCritic, now: ActorCritic, entries: Mapping[str, EntryMatch]
) -> dict[str, str | None]:
    """The old folder of what is named after an entry, by the new one; None where that is new."""
    folders: dict[str, str | None] = {
        f"normalizer/{path}": match.source and f"normalizer/{match.source}"
        for path, match in entries.items()
    }
    for name, network in now.networks.items():
        old = before.networks[name].entry_folders()
        for path, folder in network.entry_folders().items():
            match = entries.get(path)  # none for what a trunk puts out
            source = old.get(match.source) if match and match.source else None
            folders[f"{name}/{folder}"] = source and f"{name}/{source}"
    return folders


def _touched(
    now: ActorCritic,
    before: ActorCritic,
    entries: Mapping[str, EntryMatch],
    choices: Mapping[str, ChoiceMatch],
) -> frozenset[str]:
    """Networks that get something else to read, or have something else to put out."""

    def sees(functions: ActorCritic, name: str) -> list[str]:
        reads = functions.spec.networks[name].reads
        return list(leaf_spaces(chosen_entries(functions.spec.observation_space, reads)))

    touched = set()
    networks: Mapping[str, Network] = now.networks
    for name, network in networks.items():
        if now.trunk is not None and name != "trunk":
            old = before.trunk
            assert old is not None  # the specification of one follows from that of the other
            if old.output_pieces() != now.trunk.output_pieces():
                touched.add(name)
        elif sees(now, name) != sees(before, name) or any(
            not _is_same(path, entries[path]) for path in sees(now, name)
        ):
            touched.add(name)
        if network.output_size != before.networks[name].output_size:
            touched.add(name)
    in_place = enumerate(choices.values())
    if any(
        match.place != place or not np.array_equal(match.last, np.arange(len(match.last)))
        for place, match in in_place
    ):
        touched.add("actor")
    return frozenset(touched)


def _is_same(path: str, match: EntryMatch) -> bool:
    return (
        match.source == path
        and not match.resized
        and not len(match.removed)
        and np.array_equal(match.last, np.arange(len(match.last)))
    )


def _notes(
    old: PolicySpec,
    spec: PolicySpec,
    entries: Mapping[str, EntryMatch],
    choices: Mapping[str, ChoiceMatch],
) -> list[str]:
    notes = []
    for path, match in entries.items():
        if match.resized:
            was, new = (getattr(box, "shape", ()) for box in (match.old, match.new))
            notes.append(f"{path} has shape {new}, it had {was}: convolutions see another scale")
    new = [path for path, match in entries.items() if match.old is None]
    reading = spec.actor if spec.trunk is None else spec.trunk
    seen = leaf_spaces(chosen_entries(spec.observation_space, reading.reads))
    for path in new:
        if path not in seen:
            notes.append(f"{path} is new, and the actor does not read it")
    if other_bounds(old.action_space, spec.action_space, choices):
        notes.append("the actions have other bounds: what is promised holds before them")
    return notes
