"""Networks of one's own: named by a person, refused from a file that nobody vouches for."""

import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import heredity as hd
from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.network_config import NetworkConfig
from heredity.algorithms.ppo.networks import network_specs
from heredity.cli.main import run_command
from heredity.common.errors import UnknownNameError, UntrustedError, UsageError
from heredity.networks import NetworkSpec, build_network, contract, own, trust_network
from heredity.spaces import Box, Dict, Discrete

MODULE = """
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from heredity.networks import Network

class Residual(nn.Module):
    width: int = 4
    output_size: int = 8

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(self.width)(x)
        x = x + nn.relu(nn.Dense(self.width)(x))
        return nn.Dense(self.output_size)(x)

class Counts(nn.Module):
    output_size: int = 1

    @nn.compact
    def __call__(self, x):
        self.variable("batch_stats", "mean", jnp.zeros, (1,))
        return nn.Dense(self.output_size)(x)

class Whole(nn.Module):
    widths: tuple[int, ...] = (4,)
    output_size: int = 3
    reads_observations = True

    @nn.compact
    def __call__(self, seen):
        picture = seen["picture"]
        assert picture.dtype == jnp.uint8 and picture.ndim == 4
        assert sorted(seen) == ["picture", "turn"] and seen["turn"].ndim == 1
        x = nn.Conv(2, (3, 3))(picture / 255).reshape((picture.shape[0], -1))
        x = jnp.concatenate([x, seen["turn"][:, None]], -1)
        for width in self.widths:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.output_size)(x)

class Half(nn.Module):
    output_size: int = 1

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.output_size, param_dtype=jnp.bfloat16)(x)

def wrong(spec, observation_space, output_size):
    return 3

def two_arguments(spec, output_size):
    return 3

def dense(self, x):
    return nn.Dense(self.output_size)(x)

class WithoutInput(nn.Module):
    def __call__(self):
        return jnp.zeros((1, 2))

class WithMode(nn.Module):
    output_size: int = 2
    @nn.compact
    def __call__(self, x, train):
        return dense(self, x)

class Raising(nn.Module):
    output_size: int = 2
    @nn.compact
    def __call__(self, x):
        return dense(self, x["position"])

class Leaving(nn.Module):
    output_size: int = 2
    @nn.compact
    def __call__(self, x):
        raise SystemExit(3)

class Pair(nn.Module):
    output_size: int = 2
    @nn.compact
    def __call__(self, x):
        return dense(self, x), x

class WholeNumbers(nn.Module):
    output_size: int = 2
    @nn.compact
    def __call__(self, x):
        return dense(self, x).astype(jnp.int32)

class OneNumber(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x)

class OneAxis(nn.Module):
    output_size: int = 2
    @nn.compact
    def __call__(self, x):
        return dense(self, x.reshape((x.shape[0], -1)))

class ForTypeCheckers(nn.Module):
    output_size: int = 2
    activation: "NowhereImported" = nn.relu
    @nn.compact
    def __call__(self, x):
        return self.activation(dense(self, x))

class Trace(Network):
    def __init__(self, spec, space, output_size):
        self.output_size = output_size or np.prod((1, 2))
        self.wrong = spec.options.get("wrong")
    def init(self, key):
        return 3 if self.wrong == "init" else {"kernel": jnp.ones((1, self.output_size))}
    def initial_carry(self, batch_shape):
        if self.wrong == "initial_carry":
            return jnp.zeros(4)
        return jnp.zeros((*batch_shape, 1))
    def apply(self, params, observation, carry=(), *, is_first=None, key=None, taps=()):
        if self.wrong == "is_first":
            carry = jnp.where(is_first[..., None], 0.0, carry)
        elif is_first is not None:
            carry = jnp.where(is_first[..., None], 0.0, carry)
        if self.wrong == "one axis":
            observation = jax.vmap(lambda one: one @ jnp.ones((1, 1)))(observation)
        carry = 0.5 * carry + observation
        output = carry @ params["kernel"]
        if self.wrong == "no taps":
            return output, carry
        if self.wrong == "carry":
            carry = carry[..., 0]
        if self.wrong == "output":
            output = output[..., 0]
        return output, carry, {}
    def axes(self):
        return {}

class WithScan(Trace):
    def scan(self, params, observation, carry=(), *, is_first=None, key=None):
        output, carry, _ = self.apply(params, observation, carry, is_first=is_first)
        return output, carry

class WithoutSize(Trace):
    def __init__(self, spec, space, output_size):
        self.wrong = None

number = 5
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_networks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(contract, "_BUILDERS", dict(contract._BUILDERS))
    yield
    sys.modules.pop("my_networks", None)


def model(kind: str, **options) -> hd.PPO:
    network = {"kind": kind, "options": options}
    return hd.PPO("probe/observation-action-reward", num_envs=4, num_steps=8, network=network)


def test_a_module_of_ones_own_is_trained_saved_and_needs_trust_when_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kind = "my_networks:Residual"
    policy = model(kind, width=6).learn(64).policy
    assert policy.spec.actor.to_json() == {"kind": kind, "width": 6}
    assert policy.params["actor"]["Dense_0"]["kernel"].shape == (1, 6)
    policy.save_pretrained(tmp_path / "policy")
    # Another process has not imported it.
    monkeypatch.delitem(contract._BUILDERS, kind)
    sys.modules.pop("my_networks")
    with pytest.raises(UntrustedError, match="--trust my_networks:Residual"):
        hd.Policy.from_pretrained(tmp_path / "policy")
    assert "my_networks" not in sys.modules
    again = hd.Policy.from_pretrained(tmp_path / "policy", trust=[kind])
    seen = np.ones((3, 1), np.float32)
    np.testing.assert_array_equal(again.predict(seen)[0], policy.predict(seen)[0])
    assert again.policy_hash == policy.policy_hash


@pytest.mark.parametrize(
    ("kind", "options", "error", "told"),
    [
        ("my_networks:Residul", {}, UnknownNameError, "did you mean 'Residual'"),
        ("my_network:Residual", {}, UsageError, "my_network cannot be imported"),
        ("my_networks:Residual", {"widht": 3}, UnknownNameError, "did you mean 'width'"),
        ("my_networks:wrong", {}, UsageError, "gave a int"),
        ("my_networks:number", {}, UsageError, "is a int"),
        ("my_networks:Counts", {}, UsageError, "collections batch_stats"),
    ],
)
def test_what_is_wrong_with_it_is_said(kind, options, error, told):
    with pytest.raises(error, match=told):
        model(kind, **options).learn(64)


def refused(kind: str, size: int | None = 2, **options) -> UsageError:
    trust_network(kind)
    with pytest.raises(UsageError) as found:
        build_network(NetworkSpec(kind, options), Box((1,)), size)
    assert repr(kind) in str(found.value)
    return found.value


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Leaving", r"raised SystemExit: 3 \(.*my_networks\.py:\d+\); one array"),
        ("WithoutInput", r"with float32\[1, 1\] raised TypeError: .*takes 1 positional argument"),
        ("WithMode", "missing 1 required positional argument: 'train'; one array float32"),
        ("Raising", r"raised TypeError: .*'position' \(.*my_networks\.py:\d+\); one array"),
        ("Pair", r"gave \(float32\[1, 2\], float32\[1, 1\]\); one array float32\[1, 2\] was exp"),
        ("WholeNumbers", r"gave int32\[1, 2\]; one array float32\[1, 2\] was expected"),
        ("OneNumber", r"gave float32\[1, 1\]; one array float32\[1, 2\] was expected"),
        ("OneAxis", r"with float32\[5, 7, 1\] \(moments, batch, .*ScopeParamShapeError"),
        ("two_arguments", r"with Box float32\[1\] and 2 raised TypeError: two_arguments\(\) takes"),
        ("WithoutSize", "has output_size None, 2 was expected"),
    ],
)
def test_code_that_does_not_do_what_a_network_does_is_told_what_was_expected(name, told):
    error = refused(f"my_networks:{name}")
    assert re.search(told, str(error)), error
    assert (error.__cause__ is not None) == ("raised" in str(error))


def test_a_trunk_of_ones_own_may_have_any_size():
    assert "any size] was expected" in str(refused("my_networks:Pair", None))


def test_an_option_of_another_type_is_told_before_flax_stumbles_over_it():
    told = str(refused("my_networks:Residual", width="none"))
    assert "option width" in told and "'none': a whole number was expected" in told
    told = str(refused("my_networks:Whole", widths=[4, "wide"]))
    assert "(4, 'wide'): a list of a whole number was expected" in told


@pytest.mark.parametrize(
    ("kind", "wrong", "told"),
    [
        ("Trace", "init", r"init\(key\) gave int32\[\]; a nested dict"),
        ("Trace", "initial_carry", r"initial_carry\(\(7,\)\) gave float32\[4\]; arrays that begin"),
        (
            "Trace",
            "no taps",
            r"apply with observation float32\[7, 1\], carry float32\[7, 1\] .* taps",
        ),
        ("Trace", "carry", r"gave the carry float32\[7\]; the new memory .* float32\[7, 1\]$"),
        ("Trace", "output", r"gave float32\[7\]; one array float32\[7, 2\] was expected"),
        ("Trace", "one axis", r"apply with .* carry float32\[1\] .* raised "),
        ("Trace", "is_first", r"apply with .* and is_first None raised TypeError"),
        (
            "WithScan",
            None,
            r"scan with observation float32\[5, 7, 1\].* gave the carry float32\[5, 7",
        ),
    ],
)
def test_parts_of_a_memory_that_do_not_agree_are_named(kind, wrong, told):
    error = refused(f"my_networks:{kind}", **({"wrong": wrong} if wrong else {}))
    assert re.search(told, str(error)), error


def test_annotations_may_name_what_is_imported_for_type_checkers_alone():
    policy = model("my_networks:ForTypeCheckers").learn(32).policy
    assert policy.params["actor"]["Dense_0"]["kernel"].shape == (1, 2)


def test_a_size_may_be_a_number_of_numpy():
    trust_network("my_networks:Trace")
    assert build_network(NetworkSpec("my_networks:Trace"), Box((1,)), None).output_size == 2


@pytest.mark.parametrize("kind", ["Residual", "Trace"])
def test_it_is_tried_once(kind: str, monkeypatch: pytest.MonkeyPatch):
    trust_network(f"my_networks:{kind}")
    build_network(NetworkSpec(f"my_networks:{kind}"), Box((1,)), 2)
    monkeypatch.setattr(own, "check_output", lambda *_: pytest.fail("tried again"))
    monkeypatch.setattr(own, "check_network", lambda *_: pytest.fail("tried again"))
    build_network(NetworkSpec(f"my_networks:{kind}"), Box((1,)), 2)
    with pytest.raises(pytest.fail.Exception):
        build_network(NetworkSpec(f"my_networks:{kind}"), Box((2,)), 2)


def test_a_memory_goes_from_moment_to_moment_without_a_scan_of_its_own():
    trust_network("my_networks:Trace")
    network = build_network(NetworkSpec("my_networks:Trace"), Box((1,)), 2)
    params = network.init(jax.random.key(0))
    seen = np.arange(12, dtype=np.float32).reshape(4, 3, 1)
    firsts = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]], bool)
    carry = started = np.ones((3, 1), np.float32)
    outputs = []
    for now, first in zip(seen, firsts, strict=True):
        output, carry, _ = network.apply(params, now, carry, is_first=first)
        outputs.append(output)
    found, last = network.scan(params, seen, started, is_first=firsts)
    np.testing.assert_allclose(found, np.stack(outputs))
    np.testing.assert_allclose(last, carry)


PAGE = Path(__file__).parents[2] / "docs" / "networks" / "own.md"


@pytest.mark.parametrize("kind", ["my_builders:wide", "my_memory:Trace"])
def test_what_the_page_tells_to_write_trains(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = kind.partition(":")[0]
    block = re.search(rf"`{name}\.py`:\n\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    (tmp_path / f"{name}.py").write_text(block[1])
    monkeypatch.delitem(sys.modules, name, raising=False)
    run = ["--env", "probe/recall", "--num-envs", "4", "--num-steps", "8", "--no-progress"]
    run += ["--num-minibatches", "2", "--total-timesteps", "64", "--evaluate-every", "64"]
    folder = str(tmp_path / "run")
    assert run_command(["train", "ppo", *run, "--network.kind", kind, "--directory", folder]) == 0
    policy = hd.Policy.from_pretrained(f"{folder}/checkpoints/last/policy")
    assert policy.functions.has_memory == (name == "my_memory")
    sys.modules.pop(name)


def test_options_without_a_kind_of_ones_own_are_refused():
    with pytest.raises(UsageError, match=r"options .* is for the kind package\.module:name, "):
        hd.PPO("probe/constant-reward", network={"options": {"width": 3}})
    with pytest.raises(UnknownNameError, match="'actvation': did you mean 'activation'"):
        hd.PPO("probe/constant-reward", network={"actvation": "relu"})


def test_a_run_names_it_and_imports_nothing_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kind = "my_networks:Residual"
    model(kind).learn(64, directory=tmp_path / "run")
    monkeypatch.delitem(contract._BUILDERS, kind)
    sys.modules.pop("my_networks")
    with pytest.raises(UntrustedError, match="--trust my_networks:Residual"):
        hd.resume(tmp_path / "run").learn(128)
    assert "my_networks" not in sys.modules
    assert run_command(["inspect", str(tmp_path / "run/checkpoints/last/policy")]) == 0
    assert "my_networks" not in sys.modules
    assert hd.resume(tmp_path / "run", trust=[kind]).learn(128).policy.spec.actor.kind == kind


SPACE = Dict({"picture": Box((5, 5, 2), 0, 255, "uint8"), "turn": Discrete(4), "secret": Box((1,))})


def test_a_module_can_ask_for_observations_as_they_are():
    kind = "my_networks:Whole"
    config = NetworkConfig(kind=kind, options={"widths": [6, 5]}, actor_reads=("picture", "turn"))
    trust_network(config.kind)
    _, actor, _ = network_specs(config, SPACE)
    # What comes from a file is equal to what was given.
    assert NetworkSpec.from_json(json.loads(json.dumps(actor.to_json()))) == actor
    assert actor.options == {"widths": [6, 5]}
    network = build_network(actor, SPACE, 3)
    params = network.init(jax.random.key(0))
    assert [params[f"Dense_{n}"]["kernel"].shape[1] for n in range(3)] == [6, 5, 3]
    draw = np.random.default_rng(0)
    batch = stacked([SPACE.sample(draw) for _ in range(6)])
    of_six = network.apply(params, batch)[0]
    assert of_six.shape == (6, 3) and of_six.dtype == np.float32
    for shape in [(), (1,), (2, 3)]:
        count = int(np.prod(shape))
        some = {n: leaf[:count].reshape(shape + leaf.shape[1:]) for n, leaf in batch.items()}
        found = network.apply(params, some)[0]
        np.testing.assert_allclose(found, of_six[:count].reshape((*shape, 3)), rtol=1e-5, atol=1e-6)


def stacked(observations: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([one[name] for one in observations]) for name in observations[0]}


def test_weights_are_float32():
    config = PPOConfig(num_envs=2, network={"kind": "my_networks:Half"})
    trust_network(config.network.kind)
    ppo = PPO(config, Box((2,)), Discrete(2), schedule_timesteps=1)
    with pytest.raises(UsageError, match=r"actor/Dense_0/bias is bfloat16: .*param_dtype"):
        ppo.init(0)
