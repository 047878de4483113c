"""Policies in other spaces: what is promised holds, is measured, and nothing is guessed."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policies.transfer_policies import (
    CHOICES,
    NAMES,
    PICTURE,
    SCENE,
    SENSORS,
    TORQUES,
    drawn,
    means_of,
    spec_of,
    trained,
)

from heredity.common.errors import MismatchError, UnknownNameError, UsageError
from heredity.policies import ActorCritic, Policy
from heredity.policies.axes import is_opaque, policy_axes
from heredity.policies.transfer import changed_space
from heredity.spaces import Box, Dict, Discrete
from heredity.weights import flatten
from heredity.weights.report import EXACT, ROUNDING, WeightReport

KINDS = {
    "mlp": ("mlp", SENSORS),
    "dict": ("mlp", SCENE),
    "gru": ("gru", SENSORS),
    "cnn": ("cnn", PICTURE),
    "vit": ("vit", PICTURE),
}
SOME = [("vit", TORQUES), ("mlp", CHOICES), ("dict", TORQUES), ("gru", TORQUES), ("cnn", CHOICES)]
EVERY = [
    pytest.param(kind, action, id=f"{kind}-{name}")
    for kind in ("mlp", "dict", "gru", "cnn")
    for name, action in (("discrete", CHOICES), ("continuous", TORQUES))
]


def policy_of(kind: str, action, **more) -> Policy:
    network, space = KINDS[kind]
    return trained(spec_of(network, space, action, normalize=True, **more))


def body(space):
    """The path of the sensors in the space of a kind."""
    return "body/" if isinstance(space, Dict) else ""


def put_into(space, seen, changed):
    """The observation with other sensors."""
    return {**seen, "body": changed} if isinstance(space, Dict) else changed


def sensors(space, seen) -> np.ndarray:
    return seen["body"] if isinstance(space, Dict) else seen


@pytest.mark.parametrize(("kind", "action"), EVERY)
def test_axes_are_known_for_every_weight(kind: str, action):
    functions = policy_of(kind, action).functions
    axes = policy_axes(functions)
    assert {path: tuple(axis.size for axis in parts) for path, parts in axes.items()} == {
        path: leaf.shape for path, leaf in flatten(functions.shapes()).items()
    }
    assert not any(is_opaque(parts) for parts in axes.values())


@pytest.mark.parametrize(("kind", "action"), EVERY)
def test_an_appended_sensor_changes_nothing(kind: str, action):
    policy = policy_of(kind, action)
    space = policy.spec.observation_space
    new = changed_space(space, add=[f"{body(space)}radar", f"{body(space)}lidar"])
    plan = policy.plan_transfer(new)
    moved, report = policy.transfer(plan)
    # In a Dict other entries follow the sensors, so that sums are made in another order.
    assert plan.guarantee == (ROUNDING if kind == "dict" else EXACT)
    # To the bit where layers are as wide as processors like it; elsewhere the report may tell that
    # rounding was found.
    assert report.guarantee in ((EXACT,) if kind == "mlp" else (plan.guarantee, ROUNDING))
    seen = drawn(space, 64)
    more = np.random.default_rng(2).normal(scale=50, size=(64, 2)).astype(np.float32)
    shown = put_into(space, seen, np.concatenate([sensors(space, seen), more], axis=-1))
    before, after = means_of(policy, seen), means_of(moved, shown)
    if report.guarantee == EXACT:
        np.testing.assert_array_equal(before, after)
    np.testing.assert_allclose(before, after, rtol=1e-5, atol=1e-5)
    entry = moved.lineage.entries[-1]
    assert entry.operation == "transfer" and entry.parent == policy.policy_hash
    assert WeightReport.from_json(entry.arguments["report"]).measurements == report.measurements


def test_a_new_sensor_may_fail_without_the_policy_failing():
    policy = policy_of("dict", TORQUES)
    # New units do not read it either: nothing times NaN is NaN again.
    wide = policy.plan_transfer(changed_space(SCENE, add=["body/radar"]), hidden=[24, 16])
    moved, _ = policy.transfer(wide)
    seen = drawn(SCENE, 3)
    act = jax.jit(lambda params, seen: moved.act(params, seen, deterministic=True)[0])
    expected = policy.predict(seen)[0]
    for broken in (np.nan, np.inf):
        more = np.full((3, 1), broken, np.float32)
        shown = {**seen, "body": np.concatenate([seen["body"], more], axis=-1)}
        one = jax.tree.map(lambda leaf: leaf[0], shown)
        for found in (moved.predict(shown)[0], act(moved.params, shown)):
            np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(moved.predict(one)[0], expected[0], atol=1e-5)
    # A sensor that is read has to work; and one that is not, once it is.
    shown["body"][0, 1] = np.nan
    with pytest.raises(MismatchError, match="NaN in column speed"):
        moved.predict(shown)
    learnt = jax.tree.map(np.array, moved.params)
    learnt["actor"]["hidden_0"]["kernel"][4] = 0.1
    with pytest.raises(MismatchError, match=r"NaN in column .*radar"):
        Policy(moved.spec, learnt).predict({**seen, "body": np.full((3, 5), np.nan, np.float32)})


@pytest.mark.parametrize(("kind", "action"), SOME)
def test_a_removed_sensor_is_its_mean_and_the_bound_holds(kind: str, action):
    policy = policy_of(kind, action)
    space = policy.spec.observation_space
    new = changed_space(space, drop=[f"{body(space)}speed"])
    moved, report = policy.transfer(policy.plan_transfer(new))
    chain = kind != "gru"
    assert report.guarantee.kind == ("bounded" if chain else "approximate")
    statistics = policy.params["normalizer"]["observation"]
    statistics = statistics.get("body", statistics)
    seen = drawn(space, 64)
    gone = np.delete(sensors(space, seen), 1, axis=-1)
    after = means_of(moved, put_into(space, seen, gone))
    sensors(space, seen)[:, 1] = statistics["mean"][1]
    np.testing.assert_allclose(means_of(policy, seen), after, atol=1e-5)
    if chain:
        # Far beyond the clip of the normaliser, on either side.
        assert report.guarantee.bound is not None
        for far in (-1e4, 1e4):
            sensors(space, seen)[:, 1] = far
            moved_by = np.abs(means_of(policy, seen) - after).max()
            assert 0 < moved_by <= report.guarantee.bound
        assert report.guarantee.of == "each output"
        found = {m.on: m for m in report.measurements if m.what.endswith("of each output")}
        drawn_at, at_ends = found.values()
        assert "at its ends" in at_ends.on and drawn_at.value < at_ends.value
        assert at_ends.allowed is not None and at_ends.holds


@pytest.mark.parametrize(("kind", "action"), SOME[1:])
def test_wider_layers_compute_the_same(kind: str, action):
    policy = policy_of(kind, action)
    hidden = [24, 24] if kind in ("mlp", "dict") else [24]
    moved, report = policy.transfer(policy.plan_transfer(hidden=hidden))
    assert report.guarantee in (EXACT, ROUNDING)
    seen = drawn(policy.spec.observation_space, 64)
    np.testing.assert_allclose(means_of(policy, seen), means_of(moved, seen), atol=1e-5)
    new = {row.path: row for row in report.rows}
    pictures = dict.fromkeys(("cnn", "vit"), "actor/joined/hidden_0")
    name = {"gru": "actor/encoder/hidden_0", **pictures}.get(kind, "actor/hidden_0")
    assert new[f"{name}/kernel"].action == "grown" and "8 units" in new[f"{name}/kernel"].note
    # What is new is alive, or it would never learn: it gives something, which nobody reads yet.
    grown = flatten(moved.params)[f"{name}/kernel"][..., 16:]
    assert (np.abs(grown).max(axis=tuple(range(grown.ndim - 1))) > 0).all()


def test_deeper_layers_of_relu_compute_the_same_to_the_bit():
    policy = trained(spec_of("deep", SENSORS, TORQUES))
    moved, report = policy.transfer(policy.plan_transfer(hidden=[16, 16, 16, 16]))
    assert report.guarantee == EXACT
    seen = drawn(SENSORS, 64)
    np.testing.assert_array_equal(means_of(policy, seen), means_of(moved, seen))
    kernel = moved.params["actor"]["hidden_2"]["kernel"]
    np.testing.assert_array_equal(kernel, np.eye(16))


@pytest.mark.parametrize(
    ("hidden", "told"),
    [([16, 16, 16], "only relu"), ([8, 16], "wider, not narrower"), ([16], "reads? nothing")],
)
def test_layers_that_would_change_what_it_does_are_refused(hidden: list[int], told: str):
    policy = trained(spec_of("mlp", SENSORS, TORQUES))
    with pytest.raises(MismatchError, match=told.replace("reads?", "read")):
        policy.plan_transfer(hidden=hidden)


@settings(max_examples=12, deadline=None)
@given(order=st.permutations(range(4)), normalize=st.booleans())
def test_any_order_of_columns_is_found_again(order, normalize: bool):
    policy = SHUFFLED[normalize]
    names = tuple(NAMES[index] for index in order)
    if names == NAMES:
        return
    plan = policy.plan_transfer(Box((4,), names=names))
    moved = Policy(plan.spec, _made(plan, policy))
    seen = drawn(SENSORS, 8)
    np.testing.assert_allclose(
        means_of(policy, seen), means_of(moved, seen[:, list(order)]), atol=1e-5
    )
    back = moved.plan_transfer(SENSORS)
    again = flatten(_made(back, moved))
    for path, leaf in flatten(policy.params).items():
        np.testing.assert_array_equal(leaf, again[path])


SHUFFLED = {flag: trained(spec_of("mlp", SENSORS, CHOICES, normalize=flag)) for flag in (0, 1)}


def _made(plan, policy: Policy):
    from heredity.policies.transfer.carry_out import transferred

    return transferred(plan, policy.params)


def test_renamed_columns_entries_and_actions_stay_what_they_are():
    policy = trained(spec_of("mlp", SCENE, CHOICES, normalize=True))
    renamed = {"body/speed": "velocity", "goal": "target", "left": "west"}
    new = Dict(
        {
            "body": Box((4,), names=("angle", "velocity", "height", "wind")),
            "target": Box((2,), names=("x", "y")),
        }
    )
    plan = policy.plan_transfer(new, Discrete(3, names=("right", "west", "stay")), renamed=renamed)
    moved, report = policy.transfer(plan)
    assert report.guarantee in (EXACT, ROUNDING)
    seen = drawn(SCENE, 16)
    shown = {"body": seen["body"], "target": seen["goal"]}
    before, after = means_of(policy, seen), means_of(moved, shown)
    np.testing.assert_allclose(before, after[:, [1, 2, 0]], atol=1e-5)
    mean = moved.params["normalizer"]["observation"]["target"]["mean"]
    np.testing.assert_array_equal(mean, policy.params["normalizer"]["observation"]["goal"]["mean"])


def test_entries_come_and_go():
    policy = trained(spec_of("mlp", SCENE, TORQUES, normalize=True))
    more = Dict({**dict(SCENE.entries), "air": Box((3,), names=("n", "o", "h"))})
    moved, report = policy.transfer(policy.plan_transfer(more))
    assert report.guarantee == ROUNDING  # "air" comes before "body"
    count = moved.params["normalizer"]["observation"]["air"]["count"]
    assert not count.any()
    back, report = moved.transfer(moved.plan_transfer(SCENE))
    assert report.guarantee == ROUNDING  # nothing was read of it
    for path, leaf in flatten(policy.params).items():
        np.testing.assert_array_equal(leaf, flatten(back.params)[path])
    _, report = policy.transfer(policy.plan_transfer(Dict({"body": SENSORS})))
    assert report.guarantee.kind == "bounded"
    assert {row.path for row in report.rows if row.action == "dropped"} == {
        f"normalizer/observation/goal/{name}" for name in ("count", "mean", "variance")
    }


def test_without_statistics_the_mean_is_given_or_recorded_or_it_is_refused():
    policy = trained(spec_of("mlp", SENSORS, TORQUES))
    new = changed_space(SENSORS, drop=["height"])
    with pytest.raises(MismatchError, match="mean of height is not known"):
        policy.plan_transfer(new)
    seen = drawn(SENSORS, 64)
    for plan in (
        policy.plan_transfer(new, means={"height": float(seen[:, 2].mean())}),
        policy.plan_transfer(new, observations=seen),
    ):
        moved, report = policy.transfer(plan, seen)
        assert report.guarantee.kind == "approximate" and "64 recorded" in str(report)
        still = np.array(seen)
        still[:, 2] = seen[:, 2].mean()
        np.testing.assert_allclose(
            means_of(policy, still), means_of(moved, np.delete(seen, 2, axis=1)), atol=1e-5
        )


def test_nothing_is_guessed():
    policy = trained(spec_of("mlp", Box((4,)), CHOICES))
    with pytest.raises(MismatchError, match="names the elements of observation"):
        policy.plan_transfer(Box((5,)))
    named = policy.plan_transfer(Box((5,), names=("a", *NAMES)), names=NAMES)
    assert list(named.entries["observation"].last) == [-1, 0, 1, 2, 3]
    placed = policy.plan_transfer(Box((5,)), positions=True)
    assert list(placed.entries["observation"].last) == [0, 1, 2, 3, -1]
    with pytest.raises(MismatchError, match="the policy does not name"):
        policy.plan_transfer(Box((4,), names=NAMES))
    with pytest.raises(UnknownNameError, match="'sped': did you mean 'speed'"):
        trained(spec_of("mlp", SENSORS, CHOICES)).plan_transfer(hidden=[16], renamed={"sped": "v"})
    with pytest.raises(UsageError, match="nothing to transfer"):
        policy.plan_transfer(Box((4,)))


def test_a_trunk_is_moved_and_what_reads_it_stays():
    spec = spec_of("mlp", SENSORS, TORQUES)
    head = dataclasses.replace(spec.actor, options={**spec.actor.options, "hidden": []})
    spec = dataclasses.replace(spec, trunk=spec.actor, actor=head, critic=head)
    policy = trained(spec)
    moved, report = policy.transfer(
        policy.plan_transfer(changed_space(SENSORS, add=["radar"]), hidden=[16, 24])
    )
    assert report.guarantee in (EXACT, ROUNDING)
    assert moved.params["trunk"]["hidden_0"]["kernel"].shape == (5, 16)
    assert moved.params["actor"]["output"]["kernel"].shape == (24, 2)
    assert not moved.params["actor"]["output"]["kernel"][16:].any()


def test_a_plan_is_for_one_policy_alone():
    policy = trained(spec_of("mlp", SENSORS, CHOICES))
    plan = policy.plan_transfer(hidden=[16, 24])
    with pytest.raises(MismatchError, match="the plan is for the policy"):
        trained(policy.spec, seed=1).transfer(plan)


def test_the_plan_tells_every_weight(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "160")  # in a narrow terminal lines are folded
    policy = trained(spec_of("mlp", SENSORS, CHOICES, normalize=True))
    plan = policy.plan_transfer(changed_space(SENSORS, add=["radar"], drop=["wind"]))
    notes = {row.path: row.note for row in plan.rows}
    told = "+ radar, zero; - wind; its mean is 0 as the network sees it"
    assert notes["actor/hidden_0/kernel"].startswith(told) and "+ radar, zero" in str(plan)
    assert set(flatten(ActorCritic(plan.spec).shapes())) == {row.path for row in plan.rows}
    assert plan.to_json()["plan"]["guarantee"]["kind"] == "bounded"
