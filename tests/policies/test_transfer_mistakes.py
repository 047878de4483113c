"""What must not pass silently when a policy is moved."""

import dataclasses
import math

import numpy as np
import pytest
from transfer_policies import SENSORS, TORQUES, drawn, means_of, spec_of, trained

from heredity.common.errors import MismatchError, UnknownNameError, UsageError
from heredity.networks import DistributionSpec
from heredity.policies import Policy
from heredity.policies.transfer import changed_space
from heredity.policies.transfer.elements import matched_entries
from heredity.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from heredity.weights.report import Measurement


@pytest.mark.parametrize("mean", [math.nan, math.inf, 1e300, "x", True])
def test_a_mean_is_a_number(mean: object):
    policy = trained(spec_of("mlp", SENSORS, TORQUES))
    with pytest.raises(UsageError, match=r"mean .* of speed: a number up to 1e30 was expected"):
        policy.plan_transfer(changed_space(SENSORS, drop=["speed"]), means={"speed": mean})


def test_what_is_measured_has_to_be_a_number():
    for value in (math.nan, math.inf):
        assert Measurement("difference", value, "1 observation").holds is False
        assert "DOES NOT HOLD" in str(Measurement("difference", value, "1 observation"))


def test_a_given_mean_stands_for_the_sensor_whatever_the_epsilon_of_the_normaliser():
    policy = trained(spec_of("mlp", SENSORS, TORQUES, normalize=True, observation_epsilon=0.5))
    plan = policy.plan_transfer(changed_space(SENSORS, drop=["speed"]), means={"speed": 3.0})
    moved, _ = policy.transfer(plan)
    at = SENSORS.names.index("speed")
    seen = np.random.default_rng(0).normal(size=(20, len(SENSORS.names))).astype(np.float32)
    seen[:, at] = 3.0
    (before, _), (after, _) = policy.predict(seen), moved.predict(np.delete(seen, at, axis=1))
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_a_clip_that_nothing_reaches_is_no_bound():
    policy = trained(spec_of("mlp", SENSORS, TORQUES, normalize=True, observation_clip=1e30))
    plan = policy.plan_transfer(changed_space(SENSORS, drop=["speed"]))
    assert plan.guarantee.kind == "approximate"


@pytest.mark.parametrize(("choices", "share"), [(200, 0.01), (3, 0.9)])
def test_the_most_likely_action_stays(choices: int, share: float):
    policy = trained(spec_of("mlp", SENSORS, Discrete(choices)))
    kernel = policy.params["actor"]["output"]["kernel"] * 0.01  # nearly even
    policy, _ = policy.inject({"kernel": kernel}, into="actor/output", allow=["bias"])
    plan = policy.plan_transfer(
        new_action_space=Discrete(choices + 1), positions=True, new_share=share
    )
    moved, _ = policy.transfer(plan)
    seen = np.random.default_rng(0).normal(size=(100, len(SENSORS.names))).astype(np.float32)
    np.testing.assert_array_equal(moved.predict(seen)[0], policy.predict(seen)[0])


def test_a_new_name_goes_where_it_is_found():
    sensors = Box((3,), names=("hip", "knee", "z"))
    actions = Box((2,), -1.0, 1.0, names=("hip", "knee"))
    policy = trained(spec_of("mlp", sensors, actions))
    plan = policy.plan_transfer(Box((3,), names=("hip2", "knee", "z")), renamed={"hip": "hip2"})
    assert plan.guarantee.kind == "exact" and plan.spec.action_space == actions
    with pytest.raises(UnknownNameError, match="ankel"):
        policy.plan_transfer(
            sensors, Box((2,), -1.0, 1.0, names=("hip", "ankle")), renamed={"knee": "ankel"}
        )


def test_new_columns_of_whole_numbers_have_all_of_them():
    space = changed_space(Box((2,), 0, 255, "uint8", names=("a", "b")), add=["c"])
    assert isinstance(space, Box) and np.all(space.high == 255) and np.all(space.low == 0)


@pytest.mark.parametrize("seed", [-1, 2**32, "x"])
def test_a_seed_has_32_bits(seed: object):
    policy = trained(spec_of("mlp", SENSORS, TORQUES))
    with pytest.raises(UsageError, match="seed"):
        policy.plan_transfer(hidden=(99, 99), seed=seed)


def test_a_dropped_name_may_go_to_another_column():
    policy = trained(spec_of("mlp", SENSORS, TORQUES, normalize=True))
    seen = drawn(SENSORS, 8)
    moved, _ = policy.transfer(policy.plan_transfer(drop=["speed"], renamed={"height": "speed"}))
    assert "height" not in moved.spec.observation_space.names
    place = SENSORS.names.index("speed"), SENSORS.names.index("height")
    seen[:, place[0]] = policy.params["normalizer"]["observation"]["mean"][place[0]]
    without = np.delete(seen, place[0], axis=1)
    np.testing.assert_allclose(means_of(moved, without), means_of(policy, seen), atol=1e-5)


def test_wrong_kinds_of_arguments_are_told():
    policy = trained(spec_of("mlp", SENSORS, TORQUES))
    for call, told in (
        (lambda: policy.transfer(None), "a plan was expected"),
        (lambda: policy.plan_transfer(renamed=["speed"]), "a dict of new names"),
        (lambda: policy.plan_transfer(SENSORS, drop=["speed"]), "leave new_observation_space out"),
        (lambda: changed_space(SENSORS, drop=SENSORS.names), "no column of the observation"),
        (lambda: changed_space(SENSORS, drop="speed"), "lists of names"),
    ):
        with pytest.raises(UsageError, match=told):
            call()


def test_the_reason_for_a_missing_mean_is_true():
    space = Dict({"body": SENSORS, "mode": Discrete(3)})
    policy = trained(spec_of("mlp", space, TORQUES, normalize=True))
    with pytest.raises(MismatchError, match="observation/mode is normalised by no statistics"):
        policy.plan_transfer(drop=["mode"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (TORQUES, Box((2,), -1.0, 1.0, names=("left", "right"))),
        (Discrete(2, names=("a", "b")), Discrete(2, names=("c", "d"))),
        (MultiDiscrete((2, 3), names=("gear", "light")), MultiDiscrete((2,), names=("lamp",))),
    ],
)
def test_actions_of_which_nothing_is_left_are_refused(old: Space, new: Space):
    spec = spec_of("mlp", SENSORS, TORQUES)
    kind = {Box: "normal", Discrete: "categorical", MultiDiscrete: "multi_categorical"}[type(old)]
    family = DistributionSpec(kind)
    policy = trained(dataclasses.replace(spec, action_space=old, distribution=family))
    with pytest.raises(MismatchError, match=r"no action of the new ones, .* is one of"):
        policy.plan_transfer(new_action_space=new)


def test_a_note_names_each_action_once():
    spec = dataclasses.replace(
        spec_of("mlp", SENSORS, TORQUES),
        distribution=DistributionSpec("tanh_normal"),
    )
    policy = trained(spec)
    plan = policy.plan_transfer(
        new_action_space=Box((2,), -1.0, 1.0, names=("hip", "wrist")),
    )
    row = next(row for row in plan.rows if row.path == "actor/output/kernel")
    assert row.note == "+ wrist; - knee"


PAIR = Dict({"a": Box((1,), names=("x",)), "b": Box((1,), names=("x",))})


def test_an_entry_gives_its_name_to_the_one_that_gets_it():
    only = Dict({"b": PAIR["b"]})
    found = matched_entries(PAIR, only, renamed={"a": "b"})
    assert {path: match.source for path, match in found.items()} == {
        "observation/b": "observation/a"
    }
    with pytest.raises(UsageError, match="two entries one name: observation/c"):
        matched_entries(PAIR, Dict({"c": PAIR["b"]}), renamed={"a": "c", "b": "c"})
    policy = trained(spec_of("mlp", PAIR, TORQUES, normalize=True))
    plan = policy.plan_transfer(renamed={"a": "b"}, drop=["b"])
    assert plan.sources == {"observation/b": "observation/a"}
    with pytest.raises(UsageError, match="two entries would be called 'b'"):
        policy.plan_transfer(renamed={"a": "b"})


def test_a_column_stays_in_its_entry():
    policy = trained(spec_of("mlp", PAIR, TORQUES, normalize=True))
    with pytest.raises(UsageError, match="gives a column of b the name 'a/w'"):
        policy.plan_transfer(renamed={"b/x": "a/w"})
    new = Dict({"a": Box((2,), names=("x", "w")), "b": PAIR["b"]})
    with pytest.raises(UsageError, match="gives a column of b the name 'a/w'"):
        policy.plan_transfer(new, renamed={"b/x": "a/w"})
    plan = policy.plan_transfer(renamed={"b": "c", "b/x": "c/w"})
    assert plan.spec.observation_space["c"].names == ("w",) and plan.report.coverage == 1.0


def test_a_sensor_is_not_added_and_dropped_at_once():
    policy = trained(spec_of("mlp", SENSORS, TORQUES, normalize=True))
    with pytest.raises(UsageError, match="'speed' is added and dropped"):
        policy.plan_transfer(add=["speed"], drop=["speed"], means={"speed": 1.0})
    for drop in ("b", "b/y"):
        with pytest.raises(UsageError, match="'b/y' is added and dropped"):
            changed_space(PAIR, add=["b/y"], drop=[drop])


def test_a_name_of_a_sensor_and_an_action_is_told_apart():
    legs = Box((2,), -1.0, 1.0, names=("hip", "knee"))
    policy = trained(spec_of("mlp", legs, legs))
    with pytest.raises(UsageError, match="observation/hip or action/hip"):
        policy.plan_transfer(renamed={"hip": "waist"})
    with pytest.raises(UsageError, match="observation/hip or action/hip"):
        waist = Box((2,), -1.0, 1.0, names=("waist", "knee"))
        policy.plan_transfer(waist, waist, renamed={"hip": "waist"})
    for told, seen, done in (
        ({"action/hip": "waist"}, "hip", "waist"),
        ({"observation/hip": "observation/waist"}, "waist", "hip"),
        ({"observation/hip": "waist", "action/hip": "action/waist"}, "waist", "waist"),
    ):
        plan = policy.plan_transfer(renamed=told)
        assert plan.spec.observation_space.names[0] == seen
        assert plan.spec.action_space.names[0] == done


def test_a_mean_that_was_never_measured_is_asked_for():
    policy = trained(spec_of("mlp", SENSORS, TORQUES, normalize=True))
    never = policy.params
    count = np.array(never["normalizer"]["observation"]["count"])
    count[SENSORS.names.index("speed")] = 0
    never["normalizer"]["observation"]["count"] = count
    policy = Policy(policy.spec, never)
    with pytest.raises(MismatchError, match="mean of speed is not known: its statistics have seen"):
        policy.plan_transfer(drop=["speed"])
    assert policy.plan_transfer(drop=["angle"]).guarantee.kind == "bounded"
    assert policy.plan_transfer(drop=["speed"], means={"speed": 1.0}).folded
    # What nothing reads needs none.
    wider, _ = policy.transfer(policy.plan_transfer(add=["radar"]))
    assert wider.plan_transfer(drop=["radar"]).guarantee.kind == "rounding"
