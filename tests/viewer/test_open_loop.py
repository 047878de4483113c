"""What a world model imagined, in the report and as files."""

import base64
import dataclasses
import io
import itertools
import json
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image
from test_charts import _resolved
from test_report import HOSTILE_NAME, scripts_of
from viewer_browser import Browser

from heredity.common.errors import UsageError
from heredity.common.open_loop import Entry, Episode, OpenLoop, Prediction
from heredity.common.run_folder import RunFolder
from heredity.viewer import write_report
from heredity.viewer.open_loop import (
    MOST_CURVES,
    MOST_MOMENTS,
    curves_of,
    moving,
    open_loop_payload,
    shown_moments,
)
from heredity.viewer.open_loop_file import write_open_loop
from heredity.viewer.open_loop_pictures import LESS, MORE, NOTHING, drawn

MOMENTS = 7
ENTRIES = {
    "board": Entry("numbers"),
    "camera": Entry("picture", 255.0),
    "channels": Entry("picture", 1.0),
    "goal": Entry("choice"),
    "state": Entry("numbers", columns=("still", HOSTILE_NAME, "b", "c", "d")),
}


def imagined(moments: int = MOMENTS, context: int = 3, **wrong: np.ndarray) -> OpenLoop:
    """An episode that was imagined rightly, but for some entries."""
    draws = np.random.default_rng(0)
    state = np.linspace(-1, 1, moments)[:, None] * [0.0, 5.0, 1.0, 2.0, 3.0]
    real = {
        "board": (np.arange(moments)[:, None, None] == np.arange(12).reshape(4, 3)).astype(float),
        "camera": draws.integers(0, 256, (moments, 64, 48, 3)).astype(np.uint8),
        "channels": draws.integers(0, 2, (moments, 5, 5, 4)).astype(bool),
        "goal": np.arange(moments) % 3,
        "state": state.astype(np.float32),
    }
    rewards = np.arange(1.0, moments)
    episode = Episode(real, np.zeros((moments - 1, 2)), rewards, terminated=True)
    right = Prediction(real, np.concatenate([[0.0], rewards]), np.full(moments, 0.9))
    guess = Prediction({**real, **wrong}, right.rewards + 1, right.goes_on)
    return OpenLoop(episode, ENTRIES, context, right, guess)


def test_boards_and_pictures_are_drawn():
    board = np.zeros((MOMENTS, 4, 3))
    board[:, 3, 2] = 1.0
    found = {one.name: one for one in drawn(imagined(board=board))}
    assert list(found) == ["board", "camera", "channels"]
    one = found["board"]
    assert one.signed and one.is_crisp and one.real.shape == (MOMENTS, 4, 3, 3)
    assert one.real.dtype == np.uint8
    # At moment 1 the second place of the first row is bright, and imagined is the last one.
    assert (one.real[1, 0, 1] > one.real[1, 0, 0]).all()
    np.testing.assert_array_equal(one.difference[1, 0, 1], LESS)
    np.testing.assert_array_equal(one.difference[1, 3, 2], MORE)
    np.testing.assert_array_equal(one.difference[1, 2, 2], NOTHING)
    camera = found["camera"]
    assert not camera.signed and not camera.is_crisp and not camera.difference.any()
    np.testing.assert_array_equal(camera.real, imagined().episode.observations["camera"])
    assert found["channels"].real.shape == (MOMENTS, 5, 5, 3) and found["channels"].is_crisp


def test_stacked_pictures_show_the_newest():
    stack = np.zeros((2, 8, 8, 4), np.uint8)
    stack[..., -1] = 200
    episode = Episode({"camera": stack}, np.zeros((1, 2)), np.zeros(1))
    told = Prediction({"camera": stack}, np.zeros(2), np.ones(2))
    found = OpenLoop(episode, {"camera": Entry("picture", 255.0)}, 1, told, told)
    (one,) = drawn(found)
    assert (one.real == 200).all() and one.signed


def test_a_wild_guess_leaves_what_was_real_to_be_seen():
    wild = np.full((MOMENTS, 4, 3), 1e9)
    wild[0, 0, 0] = np.nan
    one = drawn(imagined(board=wild))[0]
    assert one.real.max() == drawn(imagined())[0].real.max()


def test_the_numbers_that_move_most_have_curves():
    found = imagined()
    curves = curves_of(found)
    assert [curve.name for curve in curves] == ["goal", "still", HOSTILE_NAME, "b", "c", "d"]
    chosen = [curve.name for curve in moving(curves)]
    assert len(chosen) == MOST_CURVES and chosen == ["goal", HOSTILE_NAME, "c", "d"]
    np.testing.assert_array_equal(curves[2].real, found.episode.observations["state"][:, 1])


@pytest.mark.parametrize(("moments", "context"), [(2, 1), (16, 5), (17, 16), (65, 5), (65, 50)])
def test_the_moments_that_are_shown(moments: int, context: int):
    found = shown_moments(moments, context)
    assert len(found) <= MOST_MOMENTS and found == sorted(set(found))
    assert {0, context - 1, context, moments - 1} <= set(found)


def test_the_payload_is_what_the_page_needs():
    found = imagined()
    payload = json.loads(json.dumps(open_loop_payload(found), allow_nan=False))
    assert payload["moments"] == list(range(MOMENTS)) and payload["context"] == 3
    assert [strip["name"] for strip in payload["strips"]] == ["board", "camera", "channels"]
    board = payload["strips"][0]
    assert board["shape"] == [3, 4] and board["crisp"]
    assert [row["name"] for row in board["rows"]] == ["real", "imagined", "difference"]
    address = board["rows"][0]["pictures"][2]
    picture = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), drawn(found)[0].real[2])
    titles = [one["title"] for one in payload["figures"]]
    assert titles[:2] == ["Observations", "Reward"] and titles[-1] == "Chance to go on"
    for one in payload["figures"]:
        go.Figure(_resolved(one["figure"]))
        (mark,) = one["figure"]["layout"]["shapes"]
        assert mark["x0"] == mark["x1"] == 2.5
    reward = payload["figures"][1]["figure"]["data"]
    assert reward[0]["x"] == [1, 2, 3, 4, 5, 6] and reward[0]["y"] == [1, 2, 3, 4, 5, 6]
    assert reward[1]["y"] == [2, 3, 4, 5, 6, 7]
    assert HOSTILE_NAME not in json.dumps(payload["figures"])


@pytest.mark.parametrize("ending", ["webp", "gif"])
def test_an_animation_has_a_picture_of_each_moment(ending: str, tmp_path: Path):
    few = {name: ENTRIES[name] for name in ("board", "state")}
    found = dataclasses.replace(imagined(), entries=few)
    path = write_open_loop(found, tmp_path / f"imagined.{ending}")
    with Image.open(path) as image:
        assert getattr(image, "n_frames") == MOMENTS  # noqa: B009 - of some formats alone
        frames = []
        for index in range(MOMENTS):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGB")).astype(int))
    assert all(np.abs(a - b).max() > 60 for a, b in itertools.pairwise(frames))


def test_other_files(tmp_path: Path):
    found = imagined(goal=np.zeros(MOMENTS))  # with all kinds of entries
    with Image.open(write_open_loop(found, tmp_path / "imagined.PNG")) as image:
        assert image.format == "PNG" and image.width > 600
    with np.load(write_open_loop(found, tmp_path / "imagined.npz")) as arrays:
        np.testing.assert_array_equal(arrays["real/camera"], found.episode.observations["camera"])
        assert arrays["context"] == 3
        np.testing.assert_array_equal(arrays["error/imagined/reward"], [0, *[1] * (MOMENTS - 1)])
        assert not arrays["error/reconstructed/goal"].any()
        assert arrays["error/imagined/goal"].any()
    with pytest.raises(UsageError, match=r"ends in '.mp4': .webp, .gif"):
        write_open_loop(found, tmp_path / "imagined.mp4")


def with_imagined(run: Path) -> Path:
    folder = RunFolder(run)
    for step in folder.snapshot_steps()[1:]:
        place = folder.snapshot(step) / "imagined"
        place.mkdir()
        imagined().save(place)
    return run


def test_what_is_torn_is_a_note(signals_run: Path):
    run = with_imagined(signals_run)
    steps = RunFolder(run).snapshot_steps()
    torn = RunFolder(run).snapshot(steps[2]) / "imagined" / "open_loop.safetensors"
    torn.write_bytes(torn.read_bytes()[:-3])
    page = write_report(run).read_text()
    assert f"What was imagined at step {steps[2]:,} is left out" in page
    found = [name for name in scripts_of(page) if name.startswith("imagined-")]
    assert found == ["imagined-1", "imagined-3"]


def test_a_run_without_a_world_model_has_no_such_part(signals_run: Path):
    assert 'id="dream"' not in write_report(signals_run).read_text()


def test_the_page_shows_it_snapshot_by_snapshot(browser: Browser, signals_run: Path):
    browser.open(write_report(with_imagined(signals_run)).as_uri())
    shown = "document.body.dataset.dream === '{}'"
    browser.wait_for(shown.format(3))
    count = "document.querySelectorAll('#dream-strips img').length"
    assert browser.evaluate(count) == 3 * 3 * MOMENTS
    assert browser.evaluate(
        "[...document.querySelectorAll('#dream-strips img')].every(i => i.naturalWidth > 0)"
    )
    assert browser.evaluate("document.querySelectorAll('#dream-charts .js-plotly-plot').length") > 3
    told = browser.evaluate("document.querySelector('#dream-told').textContent")
    assert told == "3 moments seen, then 4 moments imagined from the actions alone"
    browser.evaluate("document.querySelector('#dream-before').click()")
    browser.wait_for(shown.format(2))
    browser.evaluate("document.querySelector('#slider').value")
    browser.evaluate("go(0)")
    browser.wait_for(shown.format(0))
    assert browser.evaluate(count) == 0
    assert "nothing was imagined" in browser.evaluate(
        "document.querySelector('#dream-told').textContent"
    )
    assert browser.complaints == [] and browser.strangers == []
    assert browser.evaluate("window.hacked === undefined")
