"""An encoder from another library's file inside of a world model; its features in the replay.

That it stays as it is while all else learns is what `examples/pretrained_world_model.py` proves.
"""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.algorithms.dreamer.test_algorithm import TINY
from tests.networks.vit_files import write_tiny_vit

import heredity as hd
from heredity.algorithms.dreamer.algorithm import Dreamer
from heredity.algorithms.dreamer.collect import collect
from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.algorithms.dreamer.preparing import ENCODER, prepared
from heredity.algorithms.dreamer.replay import Place, doubled
from heredity.common.errors import UnknownNameError, UsageError
from heredity.environments import HostEnvironment, JaxEnvironment
from heredity.networks import read_vit
from heredity.spaces import Box
from heredity.training.host_dreamer import DreamerHostRunner
from heredity.weights import flatten, merge

FROZEN = ("trunk/encoder/**",)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_vit(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def environment() -> JaxEnvironment:
    made = hd.make("probe/catch")
    assert isinstance(made, JaxEnvironment)
    return made


@pytest.fixture(scope="module")
def config(file: Path, environment: JaxEnvironment) -> DreamerConfig:
    encoder: Any = {"weights": str(file), "picture_size": (8, 8)}
    wished = dataclasses.replace(TINY, encoder=encoder, freeze=FROZEN)
    return prepared(wished, environment)[0]


def made(config: DreamerConfig, environment: Any) -> Dreamer:
    return Dreamer(config, environment.observation_space, environment.action_space)


def test_settings_say_what_the_file_says(file: Path, environment: JaxEnvironment):
    encoder: Any = {"weights": str(file), "picture_size": (8, 8)}
    config, pretrained = prepared(dataclasses.replace(TINY, encoder=encoder), environment)
    assert config.encoder.options == {**read_vit(file).options, "picture_size": (8, 8)}
    assert pretrained is not None and pretrained.folders == (ENCODER,)
    again = DreamerConfig(**dataclasses.asdict(config))
    assert again == config
    functions = made(config, environment).functions
    draw = np.random.default_rng(0)
    shapes = functions.shapes()
    params = jax.tree.map(lambda one: draw.normal(size=one.shape).astype(one.dtype), shapes)
    filled, report = pretrained.inject(params)
    actions = {row.path: row.action for row in report.rows}
    assert actions[f"{ENCODER}/positions"] == "resized"
    assert actions["trunk/posterior/hidden_0/kernel"] == "kept"
    of_file = np.asarray(read_vit(file).tensors["layernorm.weight"])
    np.testing.assert_array_equal(flatten(filled)[f"{ENCODER}/norm/scale"], of_file)


def test_features_are_kept_while_it_is_frozen(config: DreamerConfig, environment: JaxEnvironment):
    algorithm = made(config, environment)
    assert algorithm.keeps_tokens
    constants, state = jax.jit(algorithm.init)(0)
    assert constants and all(path.startswith("trunk/encoder/") for path in flatten(constants))
    assert not any("encoder" in path for path in flatten(state.optimizer.squares))
    params = algorithm.all_params(constants, state)

    @jax.jit
    def acted(params: Any, state: Any) -> Any:
        state = dataclasses.replace(state, experience=algorithm.begin(environment, 0))
        return collect(algorithm, environment, params, state)[0].replay.records

    rings = jax.tree.map(np.asarray, acted(params, state))
    records = jax.tree.map(lambda ring: ring[: config.num_steps], rings)
    trunk = params["trunk"]
    tokens = jax.jit(algorithm.world.rssm.tokens)(trunk, records.observation)
    np.testing.assert_allclose(doubled(records.tokens, jnp.float32), tokens, rtol=2**-7, atol=1e-6)
    batch = algorithm.batch(jax.tree.map(lambda leaf: leaf[:5], records))
    assert batch.tokens is not None and batch.tokens.shape[0] == 4
    thawing = dataclasses.replace(config, unfreeze=(f"{FROZEN[0]}@32",))
    later = made(thawing, environment).at_stage(1)
    assert later.keeps_tokens and later.batch(records).tokens is None


@pytest.mark.parametrize("changes", [{"freeze": ()}, {"cache_features": "never"}])
def test_else_they_are_not_kept(
    config: DreamerConfig, environment: JaxEnvironment, changes: dict[str, Any]
):
    assert not made(dataclasses.replace(config, **changes), environment).keeps_tokens


def test_on_the_host_those_of_the_last_moment_are_its_own(config: DreamerConfig):
    host = hd.make("probe/catch", num_envs=config.num_envs, host=True)
    assert isinstance(host, HostEnvironment)
    waiting = dataclasses.replace(config, train_ratio=0.0)
    runner = DreamerHostRunner(made(waiting, host), host, 0)
    runner.iterate(1)
    trunk = merge(runner.constants, runner.state.params)["trunk"]
    replay = runner._replay
    times = np.arange(replay.written.min())[:, None].repeat(config.num_envs, 1)
    found = replay.read(Place(times, np.arange(config.num_envs)))
    seen, kept = found.observation, found.tokens
    tokens = jax.jit(runner.algorithm.world.rssm.tokens)(trunk, seen)
    np.testing.assert_allclose(doubled(kept, jnp.float32), tokens, rtol=2**-7, atol=1e-6)
    assert found.is_last.any()


@pytest.mark.parametrize(
    ("encoder", "error", "told"),
    [
        ({"heads": 2}, UsageError, "encoder heads 2 is for pretrained weights"),
        ({"weights": ""}, UsageError, "the path of a file was expected"),
        ({"wieghts": "x"}, UnknownNameError, "weights"),
    ],
)
def test_settings_that_cannot_be(encoder: Any, error: type[Exception], told: str):
    with pytest.raises(error, match=told):
        DreamerConfig(encoder=encoder)


def test_a_vit_reads_pictures(config: DreamerConfig):
    numbers = hd.make("probe/constant-reward")
    with pytest.raises(UsageError, match="a vit reads pictures"):
        made(config, numbers)


@pytest.mark.parametrize(("side", "told"), [(84, "can be halved 2 times only"), (96, ""), (64, "")])
def test_pictures_that_stay_large_are_told(side: int, told: str, caplog: pytest.LogCaptureFixture):
    environment: Any = SimpleNamespace(observation_space=Box((side, side, 3), 0, 255, "uint8"))
    prepared(TINY, environment)
    assert told in caplog.text and bool(told) == bool(caplog.text)
