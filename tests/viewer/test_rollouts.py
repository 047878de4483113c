import base64
import dataclasses
import json

import msgspec
import numpy as np
import pytest
import zstandard
from viewer_runs import ant_recording, picture_recording, signal_recording

from heredity.common.errors import UsageError
from heredity.common.recording import Recording
from heredity.viewer.endings import HOLD_SECONDS
from heredity.viewer.rollouts import (
    MOST_SIGNALS,
    SceneExporter,
    pictures_payload,
    rollout_payload,
    signals_payload,
)


def messages_of(data: str) -> dict:
    """What a viser recording holds: a size, then zstd of a length and msgpack."""
    raw = base64.b64decode(data)
    size = int.from_bytes(raw[:8], "little")
    inner = zstandard.ZstdDecompressor().decompress(raw[8:], max_output_size=size)
    length = int.from_bytes(inner[:8], "little")
    return msgspec.msgpack.decode(inner[8 : 8 + length])


def test_rollouts_share_one_page_and_last_as_long_as_they_were():
    with SceneExporter() as exporter:
        first, cut, lasts = exporter.export(ant_recording(0.0, steps=40))
        page = exporter.page
        second, _, _ = exporter.export(ant_recording(1.0, steps=60))
        assert exporter.page == page
    assert page is not None
    assert "</html>" in page[1]
    assert first not in page[0] + page[1]
    assert (cut, lasts) == ("", pytest.approx(2.0))
    assert messages_of(first)["durationSeconds"] == pytest.approx(2.0)
    assert messages_of(second)["durationSeconds"] == pytest.approx(3.0)


def test_a_rollout_starts_with_its_own_first_pose():
    recording = ant_recording(1.0, steps=30)
    with SceneExporter() as exporter:
        exporter.export(ant_recording(0.0, steps=40, seed=5))
        data, _, _ = exporter.export(recording)
    moves = [
        m for t, m in messages_of(data)["messages"] if t == 0 and m["type"] == "SetPositionMessage"
    ]
    torso = next(m for m in moves if m["name"] == "/body/0")
    assert recording.positions is not None
    assert torso["position"][2] == pytest.approx(recording.positions[0, 0, 2], abs=1e-3)


def test_a_scene_with_many_bodies_is_shown_with_fewer_frames():
    recording = ant_recording(1.0, steps=400)
    assert recording.scene and recording.positions is not None and recording.rotations is not None
    many = 100
    crowd = dataclasses.replace(
        recording,
        scene=dataclasses.replace(recording.scene, bodies=tuple(f"b{i}" for i in range(many))),
        positions=np.repeat(recording.positions[:, :1], many, axis=1),
        rotations=np.repeat(recording.rotations[:, :1], many, axis=1),
    )
    with SceneExporter() as exporter:
        data, _, _ = exporter.export(crowd)
    assert len({t for t, _ in messages_of(data)["messages"]}) <= 201
    assert messages_of(data)["durationSeconds"] == pytest.approx(20.0, rel=0.02)


def test_pictures_keep_their_bytes():
    recording = picture_recording(1.0, steps=5, image_format="PNG")
    payload = pictures_payload(recording, 1e9)
    head, _, data = payload["pictures"][3].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == recording.frames[3]
    assert payload["cut"] == ""


def test_pictures_are_thinned_until_they_fit_and_said_to_be():
    recording = picture_recording(1.0, steps=60)
    weight = sum(map(len, recording.frames))
    payload = pictures_payload(recording, weight / 3)
    # Every third and, because it is how it ended, the last.
    assert len(payload["pictures"]) == len(payload["times"]) == 21
    assert payload["times"][1:3] == pytest.approx([0.1, 0.2], rel=1e-3)
    assert payload["times"][-1] == pytest.approx(59 / 30, rel=1e-3)
    assert payload["cut"] == "1 picture in 3"


def test_what_is_no_picture_is_refused():
    recording = dataclasses.replace(picture_recording(1.0, steps=2), frames=(b"<svg/>", b"GIF89a"))
    with pytest.raises(UsageError, match="neither JPEG nor PNG"):
        pictures_payload(recording, 1e9)


def test_signals_are_named_and_those_that_vary_most():
    payload = signals_payload(signal_recording(0.5))
    assert [s["name"] for s in payload["series"]] == [
        "cart_position", "cart_velocity", "pole_angle", "pole_velocity",
    ]  # fmt: skip
    wide = np.sin(np.arange(50))[:, None] * np.arange(40)
    payload = signals_payload(Recording(np.ones(50), 0.1, observations=wide))
    assert [s["name"] for s in payload["series"]] == [f"observation {i}" for i in range(28, 40)]
    assert f"{MOST_SIGNALS} of 40" in payload["cut"]


def test_numbers_that_json_does_not_know_become_none():
    bad = Recording(np.array([1.0, np.inf]), 0.1, observations=np.array([[np.nan], [2.0]]))
    payload = signals_payload(bad)
    assert payload["series"][0]["values"] == [None, 2.0]
    assert payload["rewards"] == [1.0, None]
    json.dumps(payload, allow_nan=False)


def test_a_damaged_recording_raises_one_kind_of_error():
    with SceneExporter() as exporter, pytest.raises(UsageError):
        rollout_payload(dataclasses.replace(ant_recording(0, 5), rotations=None), exporter, 1e6)
    with SceneExporter() as exporter, pytest.raises(UsageError, match="step_seconds"):
        rollout_payload(dataclasses.replace(signal_recording(0), step_seconds=-1), exporter, 1e6)


def test_the_last_moment_is_held_and_told():
    recording = dataclasses.replace(ant_recording(0.0, steps=40), end="terminated")
    with SceneExporter() as exporter:
        payload = rollout_payload(recording, exporter, 1e6)
        assert messages_of(payload["data"])["durationSeconds"] == pytest.approx(2 + HOLD_SECONDS)
        assert payload["lasts"] == pytest.approx(2 + HOLD_SECONDS)
        assert payload["cut"] == "episode ended at 2 s: terminated"
        going = dataclasses.replace(recording, end="cut")
        payload = rollout_payload(going, exporter, 1e6)
        assert payload["cut"] == "still going at 2 s, no longer watched"
        assert payload["lasts"] == pytest.approx(2.0)
        long = dataclasses.replace(ant_recording(0.0, steps=1000), end="truncated")
        payload = rollout_payload(long, exporter, 1e6)
        assert payload["cut"] == "first 20 s of 50 s"
        assert payload["lasts"] == pytest.approx(20.0, abs=0.1)


def test_pictures_keep_their_moments_and_the_episode_its_own_numbers():
    recording = dataclasses.replace(
        picture_recording(1.0, steps=4),
        rewards=np.full(65, 0.5),
        step_seconds=0.02,
        frame_steps=(0, 2, 4, 65),
        end="terminated",
    )
    with SceneExporter() as exporter:
        payload = rollout_payload(recording, exporter, 1e9)
    assert payload["times"] == pytest.approx([0, 0.04, 0.08, 1.3])
    assert payload["lasts"] == pytest.approx(1.3 + HOLD_SECONDS)
    assert (payload["episode"], payload["episode_detail"]) == ("32.5", "in 65 steps")
    assert payload["cut"] == "episode ended at 1.3 s: terminated"
    with pytest.raises(UsageError, match="4 pictures have 2 moments"):
        pictures_payload(dataclasses.replace(recording, frame_steps=(0, 1)), 1e9)


def test_signals_are_told_in_steps_with_the_observation_they_ended_at():
    recording = Recording(np.ones(3), 0.05, observations=np.arange(4.0)[:, None], end="truncated")
    payload = signals_payload(recording)
    assert payload["series"][0]["values"] == [0, 1, 2, 3]
    assert (payload["rewards"], payload["stride"]) == ([1, 1, 1], 1)
    assert payload["cut"] == "episode ended at 3 steps: truncated"
