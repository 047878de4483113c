import copy
import itertools
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common.errors import MismatchError, RefusedError, UnknownNameError, UsageError
from heredity.networks import DistributionSpec, MlpOptions
from heredity.networks.mlp import ACTIVATIONS
from heredity.policies import ActorCritic, Policy, PolicySpec
from heredity.spaces import Box, Dict, Dim, Discrete, MultiDiscrete, Space
from heredity.weights import content_hash, flatten, put, unflatten

SMALL = MlpOptions(hidden=(8,)).spec()
STATE = Box((3,), names=("x", "v", "angle"))
OBSERVATIONS = {
    "box": STATE,
    "scalar": Box(()),
    "image": Box((2, 2), 0, 255, "uint8"),
    "discrete": Discrete(4, start=-1),
    "multi_discrete": MultiDiscrete((2, 3)),
    "dict": Dict(
        {"state": STATE, "goal": Discrete(5), "deep": Dict({"choices": MultiDiscrete((2, 2))})}
    ),
}
ACTIONS = {
    "discrete": (Discrete(3, start=5), "categorical"),
    "multi_discrete": (MultiDiscrete((2, 4)), "multi_categorical"),
    "normal": (Box((2,), -1.0, np.array([1.0, 3.0])), "normal"),
    "tanh_normal": (Box((2,), -1.0, np.array([1.0, 3.0])), "tanh_normal"),
}


def make(observation: Space = STATE, action: str = "discrete", seed: int = 0, **more) -> Policy:
    space, kind = ACTIONS[action]
    spec = PolicySpec(observation, space, SMALL, DistributionSpec(kind), **more)
    return Policy(spec, ActorCritic(spec).init(seed))


def samples(space: Space, count: int) -> list:
    generator = np.random.default_rng(0)
    return [space.sample(generator) for _ in range(count)]


def stacked(values: list) -> object:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *values)


# --- predict --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observation", "action"),
    [*((name, "discrete") for name in OBSERVATIONS), *(("dict", name) for name in ACTIONS)],
)
def test_single_and_batched_are_the_same(observation: str, action: str):
    space = OBSERVATIONS[observation]
    policy = make(space, action, critic=SMALL, normalize_observations=observation == "dict")
    values = samples(space, 5)
    singles = [policy.predict(value)[0] for value in values]
    batch, state = policy.predict(stacked(values))
    assert state is None
    assert len(batch) == 5
    for single, row in zip(singles, batch, strict=True):
        assert policy.spec.action_space.contains(single)
        assert np.shape(single) == np.shape(row)
        np.testing.assert_allclose(single, row, rtol=1e-5, atol=1e-6)
    one, _ = policy.predict(stacked(values[:1]))
    assert np.shape(one) == (1, *np.shape(singles[0]))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("action", ACTIONS)
def test_one_observation_in_numpy_acts_as_the_compiled_policy_does(action: str, activation: str):
    space, kind = ACTIONS[action]
    network = MlpOptions((16, 8), activation=activation).spec()
    state = Dict({"state": STATE, "goal": Discrete(5)})
    spec = PolicySpec(
        state, space, network, DistributionSpec(kind), normalize_observations=True,
        observation_clip=2.0,
    )  # fmt: skip
    generator = np.random.default_rng(1)
    # Weights wide enough that the squashing, the bounds and the cut of the normaliser all matter.
    leaves = {
        path: generator.uniform(0.1, 2, leaf.shape).astype(leaf.dtype)
        if path.startswith("normalizer")
        else generator.normal(size=leaf.shape).astype(leaf.dtype)
        for path, leaf in flatten(ActorCritic(spec).init(0)).items()
    }
    policy = Policy(spec, unflatten(leaves))
    compiled = jax.jit(
        lambda observation: policy.act(policy.params, observation, deterministic=True)[0]
    )
    found = []
    for value in samples(state, 40):
        value["state"] = (value["state"] * 3).astype(np.float32)
        found.append(policy.predict(value)[0])
        np.testing.assert_allclose(found[-1], compiled(value), rtol=2e-5, atol=2e-6)
    assert len(np.unique(found, axis=0)) > 2
    infinite = {"state": np.array([np.inf, -np.inf, 0], np.float32), "goal": np.int64(1)}
    np.testing.assert_allclose(policy.predict(infinite)[0], compiled(infinite), rtol=2e-5)


def test_weights_cannot_be_changed_in_place():
    policy = make()
    with pytest.raises(ValueError, match="read-only"):
        policy.params["actor"]["output"]["bias"][:] = 1
    with pytest.raises(UsageError, match=r"policy.inject\(...\) and policy.descendant"):
        policy.params = {}
    policy.params["actor"]["output"]["bias"] = np.full(3, 7, np.float32)  # of a dict of its own
    assert policy.policy_hash == content_hash(policy.params)
    assert not (policy.params["actor"]["output"]["bias"] == 7).any()


def test_a_variance_is_not_below_zero():
    policy = make(normalize_observations=True)
    wrong = put(policy.params, "normalizer/observation/variance", np.full(3, -1, np.float32))
    with pytest.raises(MismatchError, match="normalizer/observation/variance has numbers below"):
        Policy(policy.spec, wrong)


def test_weights_are_an_ordinary_dict_to_jax_and_to_pickle():
    policy = make()
    doubled = jax.tree.map(lambda leaf: leaf * 2, policy.params)
    assert type(doubled) is type(policy.params["actor"]) is dict
    for copied in (pickle.loads(pickle.dumps(policy)), copy.deepcopy(policy)):
        assert copied.policy_hash == policy.policy_hash
    # What nobody can write to need not be copied.
    again = Policy(policy.spec, policy.params)
    assert again.params["actor"]["output"]["bias"] is policy.params["actor"]["output"]["bias"]


@pytest.mark.parametrize("action", ACTIONS)
def test_draws_belong_to_the_space_and_follow_from_the_key(action: str):
    policy = make(action=action)
    value = np.zeros(3, np.float32)
    drawn = [policy.predict(value, deterministic=False, key=key)[0] for key in range(20)]
    again = [policy.predict(value, deterministic=False, key=key)[0] for key in range(20)]
    assert all(policy.spec.action_space.contains(one) for one in drawn)
    np.testing.assert_array_equal(drawn, again)
    assert len({np.asarray(one).tobytes() for one in drawn}) > 1


def test_draws_without_a_key_go_on_and_replay():
    first, second = make(action="normal"), make(action="normal")
    value = np.zeros(3, np.float32)
    drawn = [first.predict(value, deterministic=False)[0] for _ in range(4)]
    first.predict(value, deterministic=False, key=99)  # a keyed draw takes no turn
    drawn += [first.predict(value, deterministic=False)[0]]
    np.testing.assert_array_equal(
        drawn, [second.predict(value, deterministic=False)[0] for _ in range(5)]
    )
    assert len({one.tobytes() for one in drawn}) == 5


@pytest.mark.parametrize("key", [-1, 2**32, 1.5, "1", None.__class__])
def test_a_key_is_a_whole_number(key: object):
    with pytest.raises(UsageError, match="key"):
        make().predict(np.zeros(3), deterministic=False, key=key)


def test_answers_are_numpy_and_may_be_changed():
    action, _ = make(action="normal").predict(np.zeros((2, 3)))
    assert isinstance(action, np.ndarray)
    action *= 2
    chosen, _ = make().predict([0.0, 0.0, 0.0])
    assert isinstance(chosen, np.int64) and 5 <= chosen < 8


@pytest.mark.parametrize("given", [[0, 1, 2], (0.0, 1.0, 2.0), np.arange(3), np.arange(3.0)])
def test_numbers_of_any_kind_are_taken(given: object):
    assert make().predict(given) == make().predict(np.arange(3, dtype=np.float32))


@pytest.mark.parametrize(
    ("space", "value", "told"),
    [
        ("box", np.zeros(4), r"observation has shape \(4,\), \(3,\) or \(batch, 3\)"),
        ("box", np.zeros((2, 2, 3)), r"shape \(2, 2, 3\)"),
        ("box", 1.0, r"shape \(\)"),
        ("box", [], r"shape \(0,\)"),
        ("box", np.full(7, np.nan), r"shape \(7,\)"),
        ("box", [0, np.nan, np.nan], "NaN in column v, angle"),
        ("box", [[0, 0, 0], [np.nan, 0, 0]], "NaN in column x"),
        ("box", [[1, 2], [3]], "not an array"),
        ("box", "text", "dtype <U4"),
        ("box", None, "dtype object"),
        ("box", {"state": 1}, "dtype object"),
        ("box", np.zeros(3, complex), "dtype complex128"),
        ("scalar", np.array([1.0, np.nan]), "NaN"),
        ("image", np.full((2, 2), 0.5), "dtype float64, whole numbers were"),
        ("image", np.full((2, 2), 256), "does not fit uint8: 256"),
        ("image", np.full((2, 2), -1), "does not fit uint8: -1"),
        ("discrete", 3, "observation is 3, choices from -1 to below 3"),
        ("discrete", -2, "observation is -2"),
        ("discrete", [0, 9], r"observation is \[0, 9\]"),
        ("discrete", 1.0, "dtype float64, whole numbers were"),
        ("discrete", True, "dtype bool"),
        ("multi_discrete", [0, 3], r"below \[2, 3\]"),
        ("multi_discrete", [0, 1, 1], r"shape \(3,\)"),
        ("dict", np.zeros(3), "has the keys ndarray"),
        ("dict", {"state": np.zeros(3)}, r"has the keys \['state'\], \['deep', 'goal', 'state'\]"),
        ("dict", {1: 2, "state": 0, "goal": 0}, "has the keys"),
        ("dict", {"state": np.zeros(3), "goal": 0, "deep": 0}, "observation/deep has the keys int"),
        (
            "dict",
            {"state": [np.nan, 0, 0], "goal": 0, "deep": {"choices": [0, 0]}},
            "observation/state has NaN in column x",
        ),
        (
            "dict",
            {"state": np.zeros((2, 3)), "goal": 0, "deep": {"choices": [0, 0]}},
            "mixes",
        ),
        (
            "dict",
            {"state": np.zeros((2, 3)), "goal": [0, 0, 0], "deep": {"choices": [[0, 0]] * 2}},
            "batches of different sizes",
        ),
    ],
)
def test_what_is_no_observation_is_told(space: str, value: object, told: str):
    with pytest.raises(MismatchError, match=told) as raised:
        make(OBSERVATIONS[space]).predict(value)
    assert raised.value.exit_code == 3


def test_what_is_too_large_for_a_float_is_not_nan():
    policy = make(normalize_observations=True)
    assert policy.predict([1e300, 0, 0])[0] in (5, 6, 7)
    assert policy.predict([np.inf, 0, -np.inf])[0] in (5, 6, 7)
    # A sum that overflows is no NaN.
    assert policy.predict(np.full(3, 3e38, np.float32))[0] in (5, 6, 7)


@pytest.mark.parametrize("action", ["discrete", "normal"])
@pytest.mark.parametrize("value", [[np.inf, np.inf, np.inf], [1e300, -1e300, 0]])
@pytest.mark.parametrize("deterministic", [True, False])
def test_no_action_follows_from_infinite_numbers(action: str, value: list, deterministic: bool):
    policy = make(action=action)
    with pytest.raises(MismatchError, match=r"no action follows from this .*inf"):
        policy.predict(value, deterministic=deterministic)
    with pytest.raises(MismatchError, match="no action follows from this observation"):
        policy.predict([[0, 0, 0], value], deterministic=deterministic)


def test_a_policy_can_be_sent_to_another_process():
    policy = make(normalize_observations=True)
    seen = np.float32([0.1, -0.2, 0.3])
    policy.predict(seen)  # and what is compiled stays here
    sent = pickle.loads(pickle.dumps(policy))
    assert sent.policy_hash == policy.policy_hash and sent.lineage == policy.lineage
    assert sent.spec == policy.spec and sent.predict(seen) == policy.predict(seen)


def test_a_policy_says_what_it_is():
    policy = make(environment={"id": "gym/Ant-v5", "options": {}})
    told = f"<Policy for gym/Ant-v5: {policy.parameter_count} numbers, sha256:"
    assert repr(policy) == f"{told}{policy.policy_hash[:12]}>"
    assert repr(make()).startswith("<Policy for no named environment: ")


def test_an_empty_batch_is_a_batch():
    assert make(action="normal").predict(np.zeros((0, 3)))[0].shape == (0, 2)


# --- building -------------------------------------------------------------------------------------


def test_the_policy_stays_what_it_is_while_its_buffers_are_donated():
    spec = make().spec
    params = ActorCritic(spec).init(0)
    policy = Policy(spec, params)
    before, value = policy.policy_hash, np.ones(3)
    action = policy.predict(value)
    step = jax.jit(lambda p: jax.tree.map(lambda leaf: leaf * 0 - 1, p), donate_argnums=0)
    step(params)
    assert Policy(spec, policy.params).policy_hash == before
    assert policy.predict(value) == action
    ours = unflatten({path: leaf.copy() for path, leaf in flatten(policy.params).items()})
    other = Policy(spec, ours)
    ours["actor"]["output"]["bias"][:] = np.nan
    assert Policy(spec, other.params).policy_hash == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"actor/output/bias": None}, "actor/output/bias is missing"),
        ({"actor/extra": np.zeros(2)}, "actor/extra is not specified"),
        ({"actor/output/bias": np.zeros(4, np.float32)}, r"actor/output/bias is float32\[4\]"),
        (
            {"actor/output/bias": np.zeros(3, np.float64)},
            r"float64\[3\], float32\[3\] was expected",
        ),
    ],
)
def test_weights_have_to_fit_the_specification(change: dict, told: str):
    policy = make()
    leaves = {n: v for n, v in {**flatten(policy.params), **change}.items() if v is not None}
    with pytest.raises(MismatchError, match=told):
        Policy(policy.spec, unflatten(leaves))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"observation_space": Box((Dim("nodes"), 2))}, UsageError),
        ({"action_space": Discrete(Dim("nodes"))}, UsageError),
        ({"action_space": Box((2,))}, UsageError),
        ({"distribution": DistributionSpec("gaussian")}, UnknownNameError),
    ],
)
def test_what_cannot_be_built_is_told(change: dict, kind: type):
    given = {
        "observation_space": STATE, "action_space": Discrete(3), "actor": SMALL,
        "distribution": DistributionSpec("categorical"),
    }  # fmt: skip
    with pytest.raises(kind):
        ActorCritic(PolicySpec(**{**given, **change}))


def test_a_policy_without_a_critic_has_no_value():
    policy = make()
    with pytest.raises(UsageError, match="no critic"):
        policy.functions.value(policy.params, np.zeros(3))
    with pytest.raises(UsageError, match="needs a key"):
        policy.act(policy.params, jnp.zeros((1, 3)))


def test_spaces_of_an_environment_are_checked():
    policy = make()
    policy.check_spaces(Box((3,), -9.0, 9.0), policy.spec.action_space)
    with pytest.raises(MismatchError, match="observations are not the policy's"):
        policy.check_spaces(Box((4,)), policy.spec.action_space)
    with pytest.raises(MismatchError, match="column 0 is 'v'"):
        policy.check_spaces(Box((3,), names=("v", "x", "angle")), policy.spec.action_space)
    with pytest.raises(MismatchError, match="actions are not the policy's"):
        policy.check_spaces(STATE, Discrete(3))


def test_acting_is_pure():
    policy = make(action="normal", normalize_observations=True)
    seen = jnp.asarray(samples(STATE, 4))
    key = jax.random.key(3)
    act = jax.jit(lambda p, o, k: policy.act(p, o, key=k)[0])
    np.testing.assert_array_equal(act(policy.params, seen, key), act(policy.params, seen, key))
    other = make(action="normal", seed=1, normalize_observations=True)
    assert not np.array_equal(act(policy.params, seen, key), act(other.params, seen, key))
    for one, two in itertools.combinations([policy, other], 2):
        assert one.policy_hash != two.policy_hash


@pytest.mark.parametrize("space", [Discrete(4), Box((3,), 0, 255, "uint8")])
def test_where_nothing_can_be_normalised_normalising_changes_nothing(space: Space):
    policy = make(space, normalize_observations=True)
    assert "normalizer" not in policy.params
    value = samples(space, 1)[0]
    assert policy.predict(value)[0] == make(space).predict(value)[0]


@pytest.mark.parametrize("action", ["normal", "multi_discrete"])
def test_where_sums_overflow_one_observation_acts_as_a_batch_of_one(action: str):
    for seed in range(5):
        policy = make(action=action, seed=seed)
        value = np.full(3, 3e38, np.float32)
        with np.errstate(all="ignore"):
            single, batch = policy.predict(value)[0], policy.predict(value[None])[0]
        np.testing.assert_array_equal(single, batch[0])


def test_weights_that_are_no_numbers_are_refused_when_they_are_loaded(tmp_path: Path):
    policy = make()
    leaves = {path: leaf.copy() for path, leaf in flatten(policy.params).items()}
    leaves["actor/output/bias"][0] = np.nan
    Policy(policy.spec, unflatten(leaves)).save_pretrained(tmp_path / "diverged")
    with pytest.raises(RefusedError, match="has NaN in actor/output/bias"):
        Policy.from_pretrained(tmp_path / "diverged")
