"""Observations that have no room in memory are refused before they are made."""

from __future__ import annotations

import math

import pytest
from tests.environments.counting import Counting

from heredity.common.errors import UsageError
from heredity.environments import HostEnvironment, JaxEnvironment, make, room, wrap
from heredity.environments.gymnasium_vectors import AsyncEnvironment, SyncEnvironment
from heredity.environments.room import bytes_of, check_room, memory_here
from heredity.spaces import Box, Dict, Dim, Discrete, MultiDiscrete


def test_bytes():
    parts = {"a": Box((2, 3), dtype="float64"), "b": Discrete(9), "c": MultiDiscrete((2, 2))}
    assert bytes_of(Dict(parts)) == 48 + 4 + 8
    assert bytes_of(Box((Dim("nodes"), 5))) == 20 and bytes_of(Box(())) == 4


def test_the_memory_of_a_container_counts(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "_LIMIT", tmp_path / "memory.max")
    whole = memory_here()
    assert 1e8 < whole < math.inf
    for told, limit in (("max\n", whole), ("1000000\n", 1e6), (f"{2**62}\n", whole)):
        room._LIMIT.write_text(told)
        assert memory_here() == limit
    room._LIMIT.write_text("1000000\n")
    check_room(1e6, "they", "")
    with pytest.raises(
        UsageError, match=r"^they take 2\.0 GB, there are 0\.0 GB of memory here: shrink"
    ):
        check_room(2e9, "they", "shrink")


class Pictures(JaxEnvironment):
    """Whose observations nobody looks at here."""

    observation_space = Dict({"camera": Box((8, 4, 3), 0, 255, "uint8"), "speed": Box((5,))})
    action_space = Discrete(2)
    reset = step = None  # pyright: ignore[reportAssignmentType]


class Vector(HostEnvironment):
    observation_space, action_space = Pictures.observation_space, Discrete(2)
    num_envs = 3
    reset = step = None  # pyright: ignore[reportAssignmentType]


@pytest.mark.parametrize(
    ("env", "options", "size"),
    [
        (Pictures(), {"resize": (16, 16)}, 16 * 16 * 3 + 20),
        (Pictures(), {"frame_stack": 7}, 7 * (8 * 4 * 3 + 20)),
        (Vector(), {"resize": (2, 2), "frame_stack": 2}, 3 * 2 * (2 * 2 * 3 + 20)),
    ],
)
def test_what_wrappers_make_larger(env, options, size, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "memory_here", lambda: size)
    wrapped = wrap(env, **options)
    assert bytes_of(wrapped.observation_space) * (env.num_envs or 1) == size
    monkeypatch.setattr(room, "memory_here", lambda: size - 1)
    with pytest.raises(UsageError, match=rf"^{type(env).__name__}: with {next(iter(options))}=.*"):
        wrap(env, **options)


def test_what_wrappers_leave_as_it_is_is_not_theirs_to_refuse(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "memory_here", lambda: 1)
    wrap(Pictures(), reward_scale=2.0)


def test_it_is_told_before_anything_is_made():
    with pytest.raises(
        UsageError,
        match=r"^probe/constant-reward: with frame_stack=10{15}, the observations of 4 "
        "environments take .* GB of memory here: give a smaller resize or frame_stack, or",
    ):
        make("probe/constant-reward", 4, frame_stack=10**15)


@pytest.mark.parametrize("kind", [SyncEnvironment, AsyncEnvironment])
def test_vectors_of_what_is_too_large(kind, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "memory_here", lambda: 15)
    with pytest.raises(UsageError, match=r"^mine: the observations of 2 environments take"):
        kind([Counting] * 2, id="mine")
