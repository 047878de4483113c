"""Policies with other actions, other pictures, and networks of one's own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.policies.transfer_policies import (
    CHOICES,
    NAMES,
    PICTURE,
    SENSORS,
    TORQUES,
    drawn,
    means_of,
    spec_of,
    trained,
)

from heredity.common.errors import MismatchError
from heredity.networks import DistributionSpec, MlpOptions, NetworkSpec, register_network
from heredity.networks import Mlp as MlpNetwork
from heredity.networks.axes import Axis, Piece
from heredity.policies import Policy
from heredity.policies.transfer import changed_space
from heredity.spaces import Box, Dict, Discrete, MultiDiscrete
from heredity.weights import flatten
from heredity.weights.report import EXACT, ROUNDING


def test_new_actions_have_no_more_than_their_share():
    policy = trained(spec_of("mlp", SENSORS, CHOICES))
    new = Discrete(5, names=("up", "right", "stay", "left", "down"))
    moved, report = policy.transfer(policy.plan_transfer(new_action_space=new, new_share=0.02))
    assert str(report.guarantee) == "bounded(0.02 of total variation)"
    # Wherever: also far outside of what it was measured on.
    for scale in (1, 100):
        seen = scale * drawn(SENSORS, 256, seed=5)
        logits, before = means_of(moved, seen).astype(np.float64), means_of(policy, seen)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        assert (shares[:, [0, 4]].sum(axis=1) <= 0.02 + 1e-6).all()
        np.testing.assert_array_equal(logits.argmax(axis=1), np.array([3, 2, 1])[before.argmax(1)])


def test_a_new_dimension_of_the_action_leaves_the_others():
    policy = trained(spec_of("mlp", SENSORS, TORQUES, normalize=True))
    new = Box((3,), (0.5, -1.0, -1.0), 1.0, names=("grip", "knee", "hip"))
    moved, report = policy.transfer(policy.plan_transfer(new_action_space=new))
    assert report.guarantee in (EXACT, ROUNDING)
    seen = drawn(SENSORS, 16)
    np.testing.assert_allclose(
        means_of(moved, seen)[:, [2, 1]], means_of(policy, seen)[:, :2], atol=1e-6
    )
    assert (means_of(moved, seen)[:, 0] == 0.5).all()  # of its bounds the nearest to 0
    log_std, before = moved.params["actor"]["log_std"], policy.params["actor"]["log_std"]
    np.testing.assert_array_equal(log_std, [0.0, before[1], before[0]])


def test_pictures_of_another_size_need_pooling():
    larger = Dict({"camera": Box((14, 14, 2), 0, 255, "uint8"), "body": SENSORS})
    policy = trained(spec_of("cnn", PICTURE, CHOICES))
    with pytest.raises(MismatchError, match="pooling"):
        policy.plan_transfer(larger)
    vit = trained(spec_of("vit", PICTURE, CHOICES))
    plan = vit.plan_transfer(larger)
    assert plan.guarantee.kind == "approximate"  # what it sees is resized to what it saw
    assert plan.spec.actor.options["picture_size"] == [10, 10]
    policy = trained(spec_of("pooled", PICTURE, CHOICES))
    moved, report = policy.transfer(policy.plan_transfer(larger))
    assert report.guarantee.kind == "approximate" and report.coverage == 1.0
    assert np.isfinite(report.measurements[0].value)
    assert moved.predict(larger.sample(np.random.default_rng(0)))[0] in range(3)


def test_a_renamed_picture_keeps_its_encoder():
    policy = trained(spec_of("cnn", PICTURE, TORQUES))
    moved, report = policy.transfer(policy.plan_transfer(renamed={"camera": "front"}))
    assert report.guarantee == EXACT and report.coverage == 1.0
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(
            moved.params["actor"]["image_front"]["convolution_0"][name],
            policy.params["actor"]["image_camera"]["convolution_0"][name],
        )


@pytest.mark.parametrize("network", ["cnn", "vit", "gru"])
def test_pictures_are_found_again_under_each_others_names(network: str):
    camera = PICTURE["camera"]
    spec = spec_of(network, Dict({"left": camera, "right": camera}), TORQUES)
    if network == "gru":
        encoder = spec_of("cnn", PICTURE, TORQUES).actor.to_json()
        actor = dataclasses.replace(spec.actor, options={**spec.actor.options, "encoder": encoder})
        spec = dataclasses.replace(spec, actor=actor, critic=None)
    policy = trained(spec)
    swapped = policy.plan_transfer(
        Dict({"left": camera, "right": camera, "rear": camera}),
        renamed={"left": "right", "right": "left"},
    )
    assert swapped.guarantee == ROUNDING
    sources = {recipe.path: recipe.source for recipe in swapped.recipes}
    assert set(sources.values()) - {None} == set(flatten(policy.params))
    for path, source in sources.items():
        if "image_" in path:
            expected = path.replace("left", "RIGHT").replace("right", "left").lower()
            assert source == (None if "rear" in path else expected)
    # What joins them reads each where it is now, and nothing of the new one.
    joined = f"actor/{'encoder/' * (network == 'gru')}joined/hidden_0"
    places = swapped.recipe(f"{joined}/kernel").places[0].reshape(3, -1)
    width = places.shape[1]
    assert list(places[0]) == list(range(width, 2 * width))  # left is right
    assert (places[1] == -1).all() and list(places[2]) == list(range(width))


def multiple(action: MultiDiscrete) -> Policy:
    spec = spec_of("mlp", SENSORS, CHOICES)
    family = DistributionSpec("multi_categorical")
    return trained(dataclasses.replace(spec, action_space=action, distribution=family))


def test_several_choices_are_found_by_name_and_are_independent():
    policy = multiple(MultiDiscrete((2, 3), names=("gear", "light")))
    seen = drawn(SENSORS, 16)
    before = means_of(policy, seen)
    swapped = MultiDiscrete((3, 4, 2), names=("lamp", "horn", "gear"))
    plan = policy.plan_transfer(new_action_space=swapped, renamed={"light": "lamp"})
    moved, report = policy.transfer(plan)
    after = means_of(moved, seen)
    np.testing.assert_allclose(after[:, [7, 8, 0, 1, 2]], before, atol=1e-6)
    assert not after[:, 3:7].any()  # a choice that is new begins even
    assert next(m for m in report.measurements if "other most likely" in m.what).value == 0
    alone, report = policy.transfer(policy.plan_transfer(None, MultiDiscrete((3,), ("light",))))
    assert report.guarantee in (EXACT, ROUNDING)
    np.testing.assert_allclose(means_of(alone, seen), before[:, 2:], atol=1e-6)
    _, report = policy.transfer(
        policy.plan_transfer(None, MultiDiscrete((2, 5), ("gear", "light")), positions=True)
    )
    assert report.guarantee.kind == "bounded" and report.guarantee.bound == pytest.approx(0.01)
    with pytest.raises(MismatchError, match="has 5 options, 3 were expected"):
        policy.plan_transfer(None, MultiDiscrete((2, 5), ("gear", "light")))


def test_a_lost_choice_leaves_its_probability_to_the_others():
    policy = trained(spec_of("mlp", SENSORS, CHOICES))
    plan = policy.plan_transfer(new_action_space=Discrete(2, names=("right", "left")))
    assert plan.guarantee.kind == "approximate"
    moved, _ = policy.transfer(plan)
    seen = drawn(SENSORS, 16)
    np.testing.assert_allclose(means_of(moved, seen), means_of(policy, seen)[:, [2, 0]], atol=1e-6)


def test_other_bounds_of_actions_are_told_and_means_stay():
    policy = trained(spec_of("mlp", SENSORS, TORQUES))
    wider = Box((2,), -2.0, 2.0, names=("hip", "knee"))
    moved, report = policy.transfer(policy.plan_transfer(new_action_space=wider))
    assert report.guarantee == EXACT and "other bounds" in report.notes[0]
    seen = drawn(SENSORS, 16)
    np.testing.assert_array_equal(means_of(moved, seen), means_of(policy, seen))


def test_the_bounds_of_a_space_bound_what_the_loss_of_a_sensor_does():
    low, high = (-1.0, -2.0, -3.0, -np.inf), (1.0, 2.0, 3.0, np.inf)
    space = Box((4,), low, high, names=NAMES)
    policy = trained(spec_of("mlp", space, TORQUES))
    plan = policy.plan_transfer(changed_space(space, drop=["speed"]), means={"speed": 0.5})
    moved, report = policy.transfer(plan)
    assert report.guarantee.kind == "bounded" and report.guarantee.bound is not None
    seen = drawn(space, 64)
    without = means_of(moved, np.delete(seen, 1, axis=1))
    for value in (-2.0, 2.0):
        seen[:, 1] = value
        difference = np.abs(means_of(policy, seen) - without).max()
        assert 0.01 < difference <= report.guarantee.bound


def test_choices_among_what_is_seen_are_columns_too():
    space = Dict({"body": SENSORS, "mode": Discrete(3, names=("walk", "run", "rest"))})
    policy = trained(spec_of("mlp", space, TORQUES))
    more = Dict({"body": SENSORS, "mode": Discrete(4, 1, ("rest", "jump", "walk", "run"))})
    moved, report = policy.transfer(policy.plan_transfer(more))
    assert report.guarantee in (EXACT, ROUNDING)
    seen = drawn(space, 16)
    shown = {"body": seen["body"], "mode": np.array([3, 4, 1])[seen["mode"]]}
    np.testing.assert_allclose(means_of(moved, shown), means_of(policy, seen), atol=1e-6)


class Opaque(MlpNetwork):
    """A network that says nothing of its axes."""

    def axes(self):
        return {}


def test_what_says_nothing_of_its_axes_is_kept_or_refused():
    register_network("opaque", lambda spec, space, size: Opaque(MlpOptions((8,)), space, size))
    spec = spec_of("mlp", SENSORS, CHOICES)
    policy = trained(dataclasses.replace(spec, critic=NetworkSpec("opaque")))
    moved, report = policy.transfer(policy.plan_transfer(new_action_space=CHOICE_MORE))
    critic = {row.action for row in report.rows if row.path.startswith("critic/")}
    assert critic == {"copied"} and moved.params["actor"]["output"]["kernel"].shape == (16, 4)
    with pytest.raises(MismatchError, match="is not known: the network says nothing of it"):
        policy.plan_transfer(changed_space(SENSORS, add=["radar"]))
    # What nobody knows is not taken for unread: NaN stays an error.
    blind = trained(dataclasses.replace(spec, actor=NetworkSpec("opaque")))
    with pytest.raises(MismatchError, match="NaN in column angle"):
        blind.predict(np.array([np.nan, 0, 0, 0], np.float32))


class Mistaken(MlpNetwork):
    """A network whose axes are not those of its weights."""

    def axes(self):
        return {"hidden_0/kernel": (Axis("observation", (Piece("x", 5),), "reads"),)}


class Misnamed(MlpNetwork):
    """A network that gives axes of a weight that it has not."""

    def axes(self):
        return {"hidden/bias": ()}


def test_axes_that_are_not_those_of_the_weights_are_an_error():
    register_network("mistaken", lambda spec, space, size: Mistaken(MlpOptions((8,)), space, size))
    register_network("misnamed", lambda spec, space, size: Misnamed(MlpOptions((8,)), space, size))
    for kind, told in (
        ("mistaken", r"actor gives axes of \[5\] elements for hidden_0/kernel, .* is \[4, 8\]"),
        ("misnamed", r"gives axes of \[\] elements for hidden/bias, which it has not"),
    ):
        policy = trained(
            dataclasses.replace(spec_of("mlp", SENSORS, CHOICES), actor=NetworkSpec(kind))
        )
        with pytest.raises(MismatchError, match=told):
            policy.plan_transfer(new_action_space=CHOICE_MORE)


CHOICE_MORE = Discrete(4, names=("left", "stay", "right", "up"))
