"""A policy with a world model, planned for other spaces: what of it follows from which."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.algorithms.dreamer.networks import policy_spec
from heredity.common.errors import MismatchError
from heredity.policies import ActorCritic, Policy
from heredity.policies.transfer.carry_out import transferred
from heredity.policies.transfer.elements import ADDED
from heredity.spaces import Box, Dict, Discrete, MultiDiscrete, Space, space_to_json
from heredity.weights import flatten, get

SIZES: dict[str, Any] = {
    "deter": 8, "blocks": 2, "hidden": 5, "units": 6, "groups": 2, "classes": 3, "depth": 2
}  # fmt: skip
BODY = Box((2,), names=("x", "v"))
CAMERA = Box((8, 8, 3), 0, 255, "uint8")
SEEN = Dict({"body": BODY, "camera": CAMERA, "mode": Discrete(2)})
CHOICE = Discrete(3, names=("left", "stay", "right"))
FEATURES = 8 + 2 * 3
TOKENS = 6 + 4 * 4 * 4  # units, and what one convolution leaves of a picture


def policy_of(seen: Space = SEEN, done: Space = CHOICE, **settings: Any) -> Policy:
    """With weights that all differ."""
    spec = policy_spec(DreamerConfig(**SIZES, **settings), seen, done)
    count = 0

    def numbers(leaf: Any) -> np.ndarray:
        nonlocal count
        count += leaf.size
        return np.arange(count - leaf.size, count, dtype=np.float32).reshape(leaf.shape)

    return Policy(spec, jax.tree.map(numbers, ActorCritic(spec).shapes()))


def test_new_sensors_are_read_with_zeros_and_predicted_anew():
    policy = policy_of()
    camera = Box((8, 8, 1), 0, 255, "uint8")
    wider = Box((3,), names=("x", "wind", "v"))
    new = Dict({"body": wider, "camera": CAMERA, "depth": camera, "mode": Discrete(2)})
    plan = policy.plan_transfer(new)
    assert plan.guarantee.kind == "rounding"  # the wind is in the middle
    heads = plan.spec.heads["decoder"].options["predicts"]
    assert heads == space_to_json(new)
    assert plan.recipe("decoder/vectors/outputs/body/kernel").places[1].tolist() == [0, ADDED, 1]
    assert plan.recipe("decoder/pictures/output/kernel").places[3].tolist() == [0, 1, 2, ADDED]
    old, moved = policy.params, transferred(plan, policy.params)
    for params, path, axis, added in (
        (old, "trunk/encoder/vectors/hidden_0/kernel", 0, 1),
        (old, "trunk/encoder/pictures/convolution_0/kernel", 2, 3),
    ):
        now = np.asarray(get(moved, path))
        np.testing.assert_array_equal(np.delete(now, added, axis), get(params, path))
        assert not np.take(now, added, axis).any()
    drawn = np.asarray(get(moved, "decoder/vectors/outputs/body/kernel"))
    np.testing.assert_array_equal(drawn[:, [0, 2]], get(old, "decoder/vectors/outputs/body/kernel"))
    assert drawn[:, 1].any()


def test_a_first_picture_is_read_with_zeros():
    policy = policy_of(Dict({"body": BODY}))
    plan = policy.plan_transfer(Dict({"body": BODY, "camera": CAMERA}))
    assert plan.guarantee.kind == "exact"
    reads = plan.recipe("trunk/posterior/hidden_0/kernel").places[0]
    assert reads.tolist() == [*range(8 + 6), *[ADDED] * (TOKENS - 6)]
    assert plan.recipe("trunk/encoder/pictures/convolution_0/kernel").source is None
    assert plan.recipe("decoder/pictures/from_deter/kernel").source is None


def test_what_is_renamed_keeps_its_weights():
    policy = policy_of()
    plan = policy.plan_transfer(renamed={"body": "bust", "camera": "camera_2"})
    assert all(recipe.source is not None for recipe in plan.recipes)
    source = plan.recipe("decoder/vectors/outputs/bust/kernel").source
    assert source == "decoder/vectors/outputs/body/kernel"
    assert {row.action for row in plan.rows} == {"copied"}, "they keep their order"


def test_new_actions_are_nothing_to_the_dynamics():
    for done, new in (
        (CHOICE, Discrete(4, names=("left", "jump", "stay", "right"))),
        (Box((2,), -1, 1, names=("a", "b")), Box((3,), -1, 1, names=("a", "jump", "b"))),
        (MultiDiscrete((2, 3), names=("a", "b")), MultiDiscrete((2, 2, 3), names=("a", "n", "b"))),
    ):
        policy = policy_of(BODY, done)
        plan = policy.plan_transfer(new_action_space=new)
        path = "trunk/dynamics/from_action/kernel"
        recipe, now = plan.recipe(path), get(transferred(plan, policy.params), path)
        kept = recipe.places[0] != ADDED
        assert plan.spec.trunk is not None and plan.spec.trunk.options["actions"] == len(now)
        np.testing.assert_array_equal(now[kept], get(policy.params, path))
        assert not np.any(now[~kept]) and not kept.all()


def test_equal_chances_are_in_the_bound_of_new_choices():
    policy = policy_of(BODY, CHOICE, actor_uniform_mix=0.2)
    new = Discrete(4, names=(*CHOICE.names, "jump"))
    plan = policy.plan_transfer(new_action_space=new, new_share=0.01)
    bound = plan.guarantee.bound
    assert bound is not None and bound == pytest.approx(0.01 + 0.2 / 4)
    moved = ActorCritic(plan.spec)
    logits = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    # What carry_out begins the new logit with.
    less = np.log(1 / 3 * 0.99 / 0.01)
    more = np.concatenate([logits, logits.mean(axis=1, keepdims=True) - less], axis=1)
    before = np.exp(policy.functions.family.parameters({}, jnp.asarray(logits)))
    after = np.exp(moved.family.parameters({}, jnp.asarray(more)))
    variation = 0.5 * np.abs(after - np.pad(before, ((0, 0), (0, 1)))).sum(axis=1).max()
    assert 0.05 < variation <= bound + 1e-6


@pytest.mark.parametrize("side", [4, 12, 16])
def test_pictures_of_another_size_are_refused(side: int):
    policy, other = policy_of(Dict({"camera": CAMERA})), Box((side, side, 3), 0, 255, "uint8")
    for name, renamed in (("camera", None), ("eye", {"camera": "eye"})):
        with pytest.raises(MismatchError, match=r"for a world model that saw \(8, 8, 3\)"):
            policy.plan_transfer(Dict({name: other}), renamed=renamed)


def test_wider_layers_would_be_other_norms():
    """Units that are zero, and read by nobody, change what the others put out."""
    policy = policy_of(BODY)
    with pytest.raises(MismatchError, match="a norm over all units follows each"):
        policy.plan_transfer(hidden=(9,))
    with pytest.raises(MismatchError, match="a norm over all units follows each"):
        policy.plan_transfer(critic_hidden=(9,))
    network = policy.functions.networks["continue"]
    params = network.init(jax.random.key(0))
    layer = params["hidden_0"]
    more = {
        "kernel": np.pad(layer["kernel"], ((0, 0), (0, 3))),
        "bias": np.pad(layer["bias"], (0, 3)),
        "norm": np.pad(layer["norm"], (0, 3), constant_values=1.0),
    }
    output = {**params["output"], "kernel": np.pad(params["output"]["kernel"], ((0, 3), (0, 0)))}
    seen = np.random.default_rng(0).normal(size=(4, FEATURES)).astype(np.float32)
    before = network.apply(params, seen)[0]
    after = network.apply({"hidden_0": more, "output": output}, seen)[0]
    assert np.abs(after / before - 1).min() > 0.1


def test_every_axis_of_every_weight_is_known():
    from heredity.policies.axes import is_opaque, policy_axes

    for seen in (SEEN, Box((3, 3, 2), 0, 255, "uint8"), Dict({"a": CAMERA, "b": CAMERA})):
        functions = policy_of(seen, MultiDiscrete((2, 3))).functions
        axes = policy_axes(functions)
        assert axes.keys() == flatten(functions.shapes()).keys()
        assert not any(is_opaque(one) for one in axes.values())
