import dataclasses

import pytest
from command_line import TINY

from heredity.cli.parsing import options_told, peek


def test_peeking_takes_the_last_value():
    words = ["--env", "a", "--seed", "1", "--env=b", "--env.x", "c"]
    assert peek(words, "--env") == "b"
    assert peek(words, "--seed") == "1"
    assert peek(words, "--other") is None
    assert peek(["--env"], "--env") is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--total-timesteps", "5.5"], "whole number such as 5000000, 5_000_000 or 5e6"),
        (["--total-timesteps", "nan"], "whole number such as"),
        (["--total-timesteps", "1e400"], "whole number such as"),
        (["--total-timesteps", "many"], "whole number such as"),
        (["--total-timesteps", "-1"], "total_timesteps -1: a whole number >= 1"),
        (["--total-timesteps", "1e30"], "below 2**53"),
        (["--total-timesteps", "64", "--seed", "-1"], "seed -1: a whole number >= 0"),
        (["--total-timesteps", "64", "--seed", "4294967296"], "below 2**32"),
        (["--total-timesteps", "64", "--snapshot-every", "0"], "snapshot_every 0"),
        (
            ["--total-timesteps", "64", "--num-minibatches", "7"],
            "num_minibatches 7 does not divide",
        ),
        (["--total-timesteps", "64", "--learning-rate", "nan"], "learning_rate nan"),
        (["--total-timesteps", "64", "--learning-rate", "fast"], "fast"),
        (["--total-timesteps", "64", "--discount", "1.1"], "discount 1.1"),
        (["--total-timesteps", "64", "--network.activation", "relux"], "did you mean 'relu'"),
        (["--total-timesteps", "64", "--distribution", "norml"], "norml"),
        (["--total-timesteps", "64", "--on-divergence", "rolback"], "rolback"),
        (["--total-timesteps", "64", "--freeze", "actor/hiden_0/**"], "did you mean"),
        (
            ["--total-timesteps", "64", "--preset", "gymnax/CartPole"],
            "did you mean 'gymnax/CartPole-v1'",
        ),
        (
            ["--total-timesteps", "64", "--env", "gymnax/CartPol-v1"],
            "did you mean 'gymnax/CartPole-v1'",
        ),
        (
            ["--total-timesteps", "64", "--env", "probs/constant-reward"],
            "did you mean 'probe/constant",
        ),
        (["--total-timesteps", "64", "--env", "constant-reward"], "an id reads adapter/name"),
        (["--total-timesteps", "64", "--env", ""], "unknown environment ''"),
        (["--total-timesteps", "64", "--env", "no_such_module:make"], "no module 'no_such_module'"),
        (["--total-timesteps", "64", "--env", "os:no_such"], "unknown factory in os 'no_such'"),
        (["--total-timesteps", "64", "--env.lenght", "3"], "--env.length"),
        (["--total-timesteps", "64", "--env.length", "0"], "length=0"),
        (["--total-timesteps", "64", "--totl-timesteps", "3"], "--total-timesteps"),
        (["--total-timesteps"], "--total-timesteps"),
        ([], "--total-timesteps"),
        (["--total-timesteps", "64", "extra"], "extra"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_wrong_use_is_answered(heredity, tmp_path, words: list[str], told: str):
    done = heredity("train", *TINY, *words, "--directory", tmp_path / "run")
    assert done.code == 2, done
    assert told in done.told
    assert done.out == ""
    assert not (tmp_path / "run").exists()


def test_the_environment_is_needed(heredity):
    done = heredity("train", "ppo", "--total-timesteps", "64")
    assert done.code == 2 and "--env is needed" in done.err


def test_options_of_the_recorded_environment_stay_unless_they_are_told():
    @dataclasses.dataclass(frozen=True)
    class Options:
        length: int = 10
        host: bool = False

    recorded = {"id": "probe/a", "options": {"length": 3, "host": True}}
    told = ["--env", "probe/a", "--env.length=7"]
    assert options_told(Options(7), told, "probe/a", recorded) == {"length": 7, "host": True}
    assert options_told(Options(), [], "probe/a", recorded) == {"length": 3, "host": True}
    switched = ["--env.no-host"]
    assert options_told(Options(), switched, "probe/a", recorded) == {"length": 3, "host": False}
    for other in ({"id": "probe/b", "options": {"length": 3}}, None):
        assert options_told(Options(), [], "probe/a", other) == {"length": 10, "host": False}
