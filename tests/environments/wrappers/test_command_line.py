"""Options of wrappers and of random worlds on the command line."""

import pytest

from heredity.algorithms.registry import ALGORITHMS
from heredity.cli.parsing import options_given
from heredity.cli.train import _parse
from heredity.common.errors import UsageError


def parsed(env, *words):
    given = _parse(ALGORITHMS["ppo"], ["--env", env, "--total-timesteps", "64", *words])
    return options_given(given.options)


def test_they_stand_beside_the_environments_own():
    options = parsed(
        "gymnax/CartPole-v1", "--env.frame-stack", "4", "--env.resize", "8", "9",
        "--env.reward-clip", "1", "--env.grayscale", "--env.max-episode-steps", "7",
    )  # fmt: skip
    assert options["frame_stack"] == 4 and options["resize"] == (8, 9)
    assert options["reward_clip"] == 1.0 and options["grayscale"] is True
    assert options["max_episode_steps"] == 7 and options["params"] == {}
    assert options["action_repeat"] == 1


def test_ranges_are_names_with_two_numbers():
    words = ("--env.randomize", "friction", "0.5", "1.5", "mass", "0.8", "1.2")
    expected = {"friction": (0.5, 1.5), "mass": (0.8, 1.2)}
    assert parsed("brax/reacher", *words)["randomize"] == expected
    assert parsed("brax/reacher", "--env.randomize")["randomize"] == {}
    assert parsed("brax/reacher")["randomize"] == {}


def test_a_misspelt_one_is_told_the_nearest():
    with pytest.raises(UsageError, match=r"--env.frame-stak': did you mean '--env.frame-stack'"):
        parsed("gym/CartPole-v1", "--env.frame-stak", "4")


def test_help_tells_what_they_do(capsys):
    with pytest.raises(SystemExit):
        parsed("brax/reacher", "--help")
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--env.frame-stack" in told
    assert "How many of the last observations are shown together" in told
    assert "Factors on the physical model, drawn anew for each episode" in told
    assert "--env.max-episode-steps" not in told  # brax calls its own episode_length
