"""The report in a real browser: it opens from a file, plays, and asks the network for nothing."""

from pathlib import Path

import numpy as np
from test_report import HOSTILE_NAME, hostile_run
from viewer_browser import Browser
from viewer_runs import write_run

from heredity.viewer import write_report

READY = "document.querySelector('#screen').dataset.ready === '{}'"


def shown(browser: Browser, path: Path) -> np.ndarray:
    return browser.screenshot(path, "#screen").astype(np.int32)


def tint(picture: np.ndarray) -> tuple[int, int]:
    """How many pixels are clearly red and clearly blue, between the labels and the controls."""
    red, green, blue = np.moveaxis(picture[50:-60], -1, 0)
    return int(np.sum(red - np.maximum(green, blue) > 60)), int(np.sum(blue - red > 60))


def move_slider(browser: Browser, to: int) -> None:
    browser.evaluate(
        f"(()=>{{const s=document.querySelector('#slider');s.value={to};"
        "s.dispatchEvent(new Event('input',{bubbles:true}))})()"
    )


def test_the_slider_changes_the_scene(browser: Browser, tmp_path: Path):
    run = write_run(tmp_path / "ant", snapshots=3, steps=40, tinted=True)
    path = write_report(run)
    # A small window, because it is drawn in software here.
    browser.open(path.as_uri(), 520, 480)
    browser.wait_for(READY.format(2))
    red, blue = tint(shown(browser, tmp_path / "last.png"))
    assert red > 500 > blue
    move_slider(browser, 0)
    browser.wait_for(READY.format(0))
    red, blue = tint(shown(browser, tmp_path / "first.png"))
    assert blue > 500 > red
    told = browser.evaluate(
        "['step','score','hash','where'].map(i=>document.getElementById(i).textContent)"
    )
    assert told[0] == "0"
    assert told[1].startswith("\N{MINUS SIGN}1")
    assert len(told[2]) == 12
    assert told[3] == "1 of 3"
    assert browser.strangers == []
    assert any(url.startswith("file:") for url in browser.requests)
    assert browser.complaints == []


def test_keys_buttons_and_play_through_move_the_timeline(browser: Browser, signals_run: Path):
    browser.open(write_report(signals_run).as_uri())
    browser.wait_for(READY.format(3))
    browser.key("ArrowLeft")
    browser.wait_for(READY.format(2))
    browser.key("Home")
    browser.wait_for(READY.format(0))
    marker = "Number(document.querySelector('#curve .here').getAttribute('cx'))"
    before = browser.evaluate(marker)
    browser.evaluate("document.querySelector('#after').click()")
    browser.wait_for(READY.format(1))
    assert browser.evaluate(marker) > before + 50
    browser.evaluate("document.querySelector('button[data-show=\"2\"]').click()")
    browser.wait_for(READY.format(2))
    browser.evaluate("document.querySelector('#play').click()")
    browser.wait_for(READY.format(3))
    browser.wait_for("document.body.dataset.charts === 'drawn'")
    assert browser.evaluate("document.querySelectorAll('.chart .main-svg').length") > 10
    assert browser.strangers == []
    assert browser.complaints == []


def test_pictures_are_played_and_can_be_sought(browser: Browser, frames_run: Path, tmp_path: Path):
    browser.open(write_report(frames_run).as_uri())
    browser.wait_for(READY.format(3))
    source = "document.querySelector('#screen img').src"
    first = browser.evaluate(source)
    assert first.startswith("data:image/jpeg;base64,")
    browser.wait_until(lambda: browser.evaluate(source) != first, "the next picture")
    browser.evaluate("document.querySelector('.reel button').click()")
    browser.evaluate(
        "(()=>{const s=document.querySelector('.reel input');s.value=7;"
        "s.dispatchEvent(new Event('input'))})()"
    )
    assert browser.evaluate(source) == browser.evaluate(
        "JSON.parse(document.getElementById('rollout-3').textContent).pictures[7]"
    )
    picture = shown(browser, tmp_path / "ball.png")
    assert np.sum((picture[..., 0] > 200) & (picture[..., 2] < 120)) > 500  # the ball is seen
    assert browser.strangers == []
    assert browser.complaints == []


def test_the_story_is_offered_and_told_from_the_first_snapshot(browser: Browser, tmp_path: Path):
    run = write_run(tmp_path / "ball", kind="frames", snapshots=2, steps=30)
    browser.open(write_report(run).as_uri())
    browser.wait_for(READY.format(1))
    assert browser.evaluate("document.querySelector('#story').textContent") == "Watch it learn"
    assert browser.evaluate("document.querySelector('#story').checkVisibility()")
    browser.evaluate("document.querySelector('#story').click()")
    browser.wait_for(READY.format(0))
    assert not browser.evaluate("document.querySelector('#story').checkVisibility()")
    browser.wait_for(READY.format(1))
    assert browser.complaints == []


def test_one_snapshot_has_nothing_to_move_between(browser: Browser, tmp_path: Path):
    run = write_run(tmp_path / "pole", kind="signals", snapshots=1, steps=20)
    browser.open(write_report(run).as_uri())
    browser.wait_for(READY.format(0))
    for hidden in ("#slider", "#curve", "#play", "#story"):
        assert not browser.evaluate(f"document.querySelector('{hidden}').checkVisibility()"), hidden
    assert "1 snapshot" in browser.evaluate("document.querySelector('.hint').textContent")
    assert "1 snapshots" not in browser.evaluate("document.body.textContent")
    assert browser.complaints == []


def test_the_page_follows_the_persons_colours_and_width(
    browser: Browser, frames_run: Path, tmp_path: Path
):
    page = write_report(frames_run).as_uri()
    browser.open(page)
    assert browser.screenshot(tmp_path / "light.png")[5, 5].min() > 230
    browser.open(page, dark=True)
    assert browser.screenshot(tmp_path / "dark.png")[5, 5].max() < 40
    browser.open(page, width=390, height=844)
    browser.wait_for("document.body.dataset.charts === 'drawn'")
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.complaints == []


def test_a_run_that_has_only_begun_opens_without_a_complaint(browser: Browser, empty_run: Path):
    browser.open(write_report(empty_run).as_uri())
    browser.wait_for("document.body.dataset.charts === 'drawn'")
    assert "no snapshot yet" in browser.evaluate("document.querySelector('#screen').textContent")
    assert browser.complaints == []


def test_a_hostile_run_folder_runs_no_script(browser: Browser, tmp_path: Path):
    browser.open(write_report(hostile_run(tmp_path / HOSTILE_NAME)).as_uri())
    browser.wait_for(READY.format(1))
    browser.wait_for("document.body.dataset.charts === 'drawn'")
    assert browser.evaluate("window.hacked === undefined")
    assert browser.evaluate("document.querySelectorAll('img').length") == 0
    assert "window.hacked=1" in browser.evaluate("document.querySelector('h1').textContent")
    assert "window.hacked=1" in browser.evaluate("document.querySelector('#screen').textContent")
    assert browser.strangers == []
    assert browser.complaints == []


def test_the_browser_would_have_noticed(browser: Browser, tmp_path: Path):
    """The tests above can fail: a page that does ask and complain is told."""
    page = tmp_path / "asking.html"
    page.write_text(
        "<script>fetch('http://example.invalid/a').catch(()=>0);console.error('x')</script>"
    )
    browser.open(page.as_uri())
    browser.wait_until(lambda: bool(browser.strangers and browser.complaints), "being told")
