"""Networks of one's own: named by a person, refused from a file that nobody vouches for."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import heredity as hd
from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.network_config import NetworkConfig
from heredity.algorithms.ppo.networks import import_network, network_specs
from heredity.cli.main import run_command
from heredity.common.errors import UnknownNameError, UntrustedError, UsageError
from heredity.networks import NetworkSpec, build_network, contract
from heredity.spaces import Box, Dict, Discrete

MODULE = """
import flax.linen as nn
import jax.numpy as jnp

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
    import_network(config)
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
    import_network(config.network)
    ppo = PPO(config, Box((2,)), Discrete(2), schedule_timesteps=1)
    with pytest.raises(UsageError, match=r"actor/Dense_0/bias is bfloat16: .*param_dtype"):
        ppo.init(0)
