"""The report over several seeds."""

import re
import shutil
import socket
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from test_report import HOSTILE, scripts_of
from viewer_browser import Browser
from viewer_runs import write_run

from heredity.common.errors import RefusedError
from heredity.common.files import dump_json
from heredity.common.intervals import mean_interval
from heredity.common.run_folder import RunFolder
from heredity.viewer import GroupViewer, view, write_report
from heredity.viewer.group import read_group

SEEDS = (3, 4, 5)
STEPS = [0, 25_000_000, 50_000_000]


@pytest.fixture(scope="module")
def _group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seeds") / "ants"
    for seed in SEEDS:
        run = write_run(root / f"seed-{seed}", kind="signals", snapshots=3, run_id=f"ants-{seed}")
        results = np.array([[0.0, 2.0], [100.0, 102.0], [400.0, 402.0]]) * (seed - 2)
        np.savez(RunFolder(run).evaluations, timesteps=np.array(STEPS), results=results)
    config = RunFolder(root / "seed-3").read_config()
    whole = {**config, "run_id": "ants", "seeds": list(SEEDS), "seed": 3}
    (root / "config.json").write_text(dump_json(whole))
    return root


@pytest.fixture
def group(_group: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(_group, tmp_path / "ants", symlinks=True))


def shell(page: str) -> str:
    return re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)


def test_it_tells_the_mean_and_its_interval(group: Path):
    assert write_report(group) == group / "report.html"
    page = (group / "report.html").read_text()
    assert "{{" not in shell(page)
    interval = mean_interval([401.0, 802.0, 1203.0])
    assert interval.low < 0 < interval.high
    assert ">802.0<" in page and ">−194.1 to 1,798<" in page
    assert "3 seeds</b>, 3 to 5" in page and "brax/ant" in page
    data = scripts_of(page)["report-data"]
    assert data["snapshots"] == []
    (*thin, low, high, mean) = data["charts"][0]["data"]
    assert [trace["name"] for trace in thin] == ["seed 3", "seed 4", "seed 5"]
    assert mean["x"] == STEPS and mean["y"] == [2.0, 202.0, 802.0]
    assert low["y"][-1] == pytest.approx(interval.low, rel=1e-3)
    assert high["y"][-1] == pytest.approx(interval.high, rel=1e-3)
    titles = re.findall(r"<h3>(.*?)</h3>", page)
    assert titles[:2] == ["Mean return of evaluations", "Return"] and "Value loss" in titles


def test_each_seed_is_a_link_away(group: Path, tmp_path: Path):
    elsewhere = tmp_path / "out" / "page.html"
    for path in (write_report(group), write_report(group, elsewhere)):
        links = re.findall(r'<a href="([^"]+)"', shell(path.read_text()))
        assert len(links) == 3
        for seed, link in zip(SEEDS, links, strict=True):
            member = (path.parent / link).resolve()
            assert member == (group / f"seed-{seed}" / "report.html").resolve()
            assert f"run ants-{seed}" in member.read_text()


def test_a_torn_seed_is_a_note_and_not_in_the_mean(group: Path):
    (group / "seed-4" / "config.json").write_text("{")
    (group / "seed-5" / "metrics.csv").write_bytes(b"\xff\xfe")
    page = write_report(group).read_text()
    assert "Seed 4 was left out: is not valid JSON" in page
    assert "Seed 5: metrics.csv was left out" in page
    data = scripts_of(page)["report-data"]["charts"]
    assert data[0]["data"][-1]["y"] == [2.0, 202.0, 802.0]  # of 3 and 5
    assert len(data) == 1  # a curve that some seeds lack has no mean


def test_a_missing_seed_is_a_note(group: Path):
    shutil.rmtree(group / "seed-4")
    page = write_report(group).read_text()
    assert "Seed 4 was left out: its folder is missing" in page and "2 seeds</b>, 3 to 5" in page


def test_the_mean_is_over_the_steps_that_all_have(group: Path):
    evaluations = RunFolder(group / "seed-5").evaluations
    np.savez(evaluations, timesteps=np.array(STEPS[::2]), results=np.array([[1.0], [2.0]]))
    data = scripts_of(write_report(group).read_text())["report-data"]["charts"]
    assert data[0]["data"][-1]["x"] == STEPS[::2]


def test_seeds_that_have_only_begun(tmp_path: Path):
    for seed in (0, 1):
        run = write_run(tmp_path / "ants" / f"seed-{seed}", snapshots=0)
        (run / "metrics.csv").unlink()
    shutil.copy(tmp_path / "ants" / "seed-0" / "config.json", tmp_path / "ants" / "config.json")
    page = write_report(tmp_path / "ants").read_text()
    assert "not evaluated" in page and scripts_of(page)["report-data"]["charts"] == []


def test_names_of_files_are_text(group: Path):
    config = RunFolder(group).read_config()
    config["environment"]["id"] = config["algorithm"] = config["created"] = HOSTILE
    (group / "config.json").write_text(dump_json(config))
    page = write_report(group).read_text()
    assert "hacked=1</script>" not in page and "<img" not in shell(page)


def test_what_is_no_run_is_refused(group: Path):
    (group / "config.json").write_text("{}")
    with pytest.raises(RefusedError, match="schema_version"):
        write_report(group)
    with pytest.raises(RefusedError, match="is not a run folder"):
        read_group(group / "seed-9")


def fetched(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_is_served_as_it_is_now(group: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        viewer = view(group, port=taken.getsockname()[1], open_browser=False)
    assert isinstance(viewer, GroupViewer)
    try:
        assert int(viewer.url.rpartition(":")[2]) != taken
        status, page = fetched(viewer.url)
        assert status == 200 and ">802.0<" in page
        (link, *_) = re.findall(r'<a href="([^"]+)"', shell(page))
        status, member = fetched(viewer.url + link)
        assert status == 200 and "run ants-3" in member
        shutil.rmtree(group / "seed-5")
        assert ">601.5<" in fetched(viewer.url + "/?again")[1]
        for path in ("/seed-5/report.html", "/seed-3/config.json", "/%2e%2e/x"):
            assert fetched(viewer.url + path)[0] == 404
        (group / "config.json").write_text("{")
        assert fetched(viewer.url)[0] == 500
    finally:
        viewer.stop()
    viewer.wait()
    assert not (group / "report.html").exists()


def test_a_browser_draws_it(browser: Browser, group: Path):
    browser.open(write_report(group).as_uri())
    browser.wait_for("document.body.dataset.charts === 'drawn'")
    assert browser.evaluate("document.querySelectorAll('.plot .main-svg').length > 3")
    assert browser.strangers == [] and browser.complaints == []
