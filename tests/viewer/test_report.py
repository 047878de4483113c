import html.parser
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from viewer_runs import write_run

from heredity.common.errors import MissingExtraError, RefusedError, StorageError
from heredity.common.run_folder import RunFolder
from heredity.viewer import view, write_report

HOSTILE_NAME = "<img src=x onerror=window.hacked=1>"
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=2>\"'{{css}}"


def scripts_of(page: str) -> dict[str, Any]:
    """The data that a report carries, by the id of its element."""
    found = re.findall(r'<script type="application/json" id="([\w-]+)">(.*?)</script>', page)
    return {name: json.loads(text) for name, text in found}


def test_the_report_lies_in_the_run_folder_and_says_where(scene_run: Path):
    path = write_report(scene_run)
    assert path == scene_run / "report.html"
    page = path.read_text()
    assert page.startswith("<!doctype html>")
    assert "{{" not in re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.S)
    data = scripts_of(page)
    assert len(data["report-data"]["snapshots"]) == 10
    assert data["report-data"]["snapshots"][-1]["step_text"] == "50,000,000"
    assert [data[f"rollout-{i}"]["kind"] for i in range(10)] == ["scene"] * 10


def test_it_can_be_written_elsewhere_and_again(signals_run: Path, tmp_path: Path):
    target = tmp_path / "out" / "page.html"
    assert write_report(str(signals_run), str(target)) == target
    first = target.stat().st_size
    write_report(signals_run, target)
    assert target.stat().st_size == first
    assert [p.name for p in target.parent.iterdir()] == ["page.html"]


def test_the_page_names_nothing_that_would_be_fetched(scene_run: Path, signals_run: Path):
    page = write_report(scene_run).read_text() + write_report(signals_run).read_text()
    # What stands in the scripts is packed or data; here it is the page itself that counts.
    shell = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)
    links = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", shell)
    assert links
    assert all(link.startswith("data:") for link in links)
    assert "default-src 'none'" in page


def test_viser_and_plotly_are_in_it_once(scene_run: Path):
    page = write_report(scene_run).read_text()
    assert page.count('id="viser-page"') == page.count('id="plotly-source"') == 1
    assert len(page) < 5_000_000


def test_a_run_without_scenes_does_not_carry_the_scene_player(signals_run: Path):
    page = write_report(signals_run).read_text()
    assert 'id="viser-page"' not in page
    assert len(page) < 2_500_000


def test_twenty_four_of_a_thousand_snapshots_are_shown(tmp_path: Path):
    run = write_run(tmp_path / "long", kind="signals", snapshots=60, steps=5)
    page = write_report(run, max_snapshots=24).read_text()
    shown = scripts_of(page)["report-data"]["snapshots"]
    assert len(shown) == 24
    assert (shown[0]["step_text"], shown[-1]["step_text"]) == ("0", "50,000,000")
    assert "24 of 60 snapshots" in page
    assert page.count("<td>") > 60  # the table has them all


def test_a_torn_rollout_is_left_out_with_a_note(scene_run: Path):
    folder = RunFolder(scene_run)
    steps = folder.snapshot_steps()
    torn = folder.snapshot(steps[3]) / "rollout" / "recording.safetensors"
    torn.write_bytes(torn.read_bytes()[:1000])
    header = folder.snapshot(steps[5]) / "rollout" / "recording.json"
    value = json.loads(header.read_text())
    value["scene"]["shapes"][2]["kind"] = "teapot"
    header.write_text(json.dumps(value))
    page = write_report(scene_run).read_text()
    assert len(scripts_of(page)["report-data"]["snapshots"]) == 8
    notes = page[page.index("things were left out") :]
    assert f"{steps[3]:,}" in notes
    assert "teapot" in notes


def test_a_snapshot_without_rollout_stays_on_the_timeline(signals_run: Path):
    shutil.rmtree(RunFolder(signals_run).snapshot(0) / "rollout")
    page = write_report(signals_run).read_text()
    assert scripts_of(page)["rollout-0"]["kind"] == "none"
    assert "left out of this report" not in page


def test_a_run_that_has_only_begun_has_a_report(empty_run: Path):
    page = write_report(empty_run).read_text()
    assert "There is no snapshot yet" in page
    assert scripts_of(page)["report-data"]["snapshots"] == []


class Tags(html.parser.HTMLParser):
    """The elements and attributes that a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes |= {name for name, _ in attrs}


def hostile_run(root: Path) -> Path:
    """A run folder whose every string wants to be a script."""
    run = write_run(root, kind="signals", snapshots=3, steps=20)
    folder = RunFolder(run)
    config = json.loads(folder.config.read_text())
    config["run_id"] = config["algorithm"] = config["created"] = config["seed"] = HOSTILE
    config["environment"]["id"] = HOSTILE
    config["settings"][HOSTILE] = {HOSTILE: [HOSTILE]}
    config["versions"] = {HOSTILE: HOSTILE}
    config[HOSTILE] = {"deep": {"deeper": HOSTILE}}
    folder.config.write_text(json.dumps(config))
    for step in folder.snapshot_steps():
        place = folder.snapshot(step)
        for name, keys in (("evaluation.json", ["policy_hash"]), ("rollout/recording.json", [])):
            value = json.loads((place / name).read_text())
            value.update(dict.fromkeys(keys, HOSTILE))
            if "columns" in value:
                value["columns"] = [HOSTILE + str(i) for i in range(len(value["columns"]))]
            (place / name).write_text(json.dumps(value))
        lineage = json.loads((place / "policy" / "lineage.json").read_text())
        for entry in lineage["entries"]:
            entry.update(operation=HOSTILE, hash=HOSTILE + str(step), run=HOSTILE, time=HOSTILE)
            entry["arguments"] = {HOSTILE: HOSTILE}
        lineage["entries"][-1]["parent"] = HOSTILE
        (place / "policy" / "lineage.json").write_text(json.dumps(lineage))
    text = folder.metrics.read_text()
    folder.metrics.write_text(
        text.replace("train/value_loss", '"' + HOSTILE.replace('"', "") + '"')
    )
    broken = folder.snapshot(folder.snapshot_steps()[1]) / "evaluation.json"
    broken.write_text(json.dumps({"schema_version": HOSTILE}))
    return run


def test_no_string_of_a_run_folder_becomes_markup(tmp_path: Path):
    page = write_report(hostile_run(tmp_path / HOSTILE_NAME)).read_text()
    assert "hacked" in page
    parsed = Tags()
    parsed.feed(page)
    assert "img" not in parsed.seen
    # The data, two rollouts (one snapshot is broken), plotly, and the page's own script.
    assert parsed.seen.count("script") == 5
    assert not [name for name in parsed.attributes if name.startswith("on")]


@pytest.mark.parametrize("look", [write_report, view])
def test_what_is_no_run_folder_is_refused(look: Any, tmp_path: Path):
    with pytest.raises(RefusedError, match="not a run folder"):
        look(tmp_path)


@pytest.mark.parametrize("look", [write_report, view])
@pytest.mark.parametrize("library", ["viser", "plotly"])
def test_a_missing_library_is_named_with_its_extra(
    look: Any, library: str, empty_run: Path, monkeypatch: pytest.MonkeyPatch
):
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name.split(".")[0] == library:
            raise ModuleNotFoundError(f"No module named {library!r}")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingExtraError, match=rf"{library}.*heredity\[viewer\]"):
        look(empty_run)


def test_importing_the_viewer_does_not_import_what_draws():
    code = (
        "import sys, heredity.viewer; "
        "assert not {'viser', 'plotly', 'PIL', 'jax'} & set(sys.modules), sorted(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_a_place_that_cannot_be_written_is_named(empty_run: Path, tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        write_report(empty_run, blocked / "report.html")


def test_the_console_stays_quiet(scene_run: Path, capsys: pytest.CaptureFixture[str]):
    write_report(scene_run, max_snapshots=1)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""
