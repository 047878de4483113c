import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heredity.common.errors import RefusedError
from heredity.common.formats import EVALUATION, LINEAGE, RECORDING, RUN
from heredity.common.run_folder import RunFolder
from heredity.viewer import view, write_report
from heredity.viewer.reading import Score, evenly, number, read_run, read_snapshots


def test_a_whole_run_is_read_without_a_note(scene_run: Path):
    run = read_run(scene_run)
    assert run.notes == []
    assert [s.step for s in run.snapshots] == RunFolder(scene_run).snapshot_steps()
    assert run.name == "ant"
    assert run.environment == "brax/ant"
    assert run.snapshots[-1].score is not None
    assert run.snapshots[-1].policy_hash == run.snapshots[-1].lineage[-1]["hash"]
    assert run.evaluations["results"].shape == (10, 8)
    assert run.checkpoint_lineage


def test_a_run_that_has_only_begun_is_empty(empty_run: Path):
    run = read_run(empty_run)
    assert (run.snapshots, run.metrics, run.evaluations, run.notes) == ([], {}, {}, [])


def test_what_is_no_run_folder_is_refused(tmp_path: Path):
    with pytest.raises(RefusedError, match="not a run folder"):
        read_run(tmp_path)
    with pytest.raises(RefusedError, match="not a run folder"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize("look", [read_run, write_report, view])
def test_what_lies_inside_a_run_is_refused_with_the_run_that_it_is_of(look: Any, scene_run: Path):
    folder = RunFolder(scene_run)
    snapshot = folder.snapshot(0)
    checkpoint = folder.checkpoint(folder.checkpoint_steps()[-1])
    (checkpoint / "training_state").mkdir()
    places = {
        "a policy": snapshot / "policy",
        "a snapshot": snapshot,
        "a checkpoint": checkpoint,
        "a rollout": snapshot / "rollout",
    }
    for kind, place in places.items():
        before = sorted(place.rglob("*"))
        with pytest.raises(RefusedError) as refused:
            look(place)
        told = str(refused.value)
        assert f"is {kind}, not a run folder" in told and str(scene_run) in told
        assert sorted(place.rglob("*")) == before


def test_a_policy_that_lies_alone_is_refused(scene_run: Path, tmp_path: Path):
    alone = tmp_path / "handed" / "on"
    shutil.copytree(RunFolder(scene_run).snapshot(0) / "policy", alone)
    with pytest.raises(RefusedError, match=r"is a policy, not a run folder.*--directory"):
        read_run(alone)


def test_torn_snapshots_are_left_out_by_name(scene_run: Path):
    folder = RunFolder(scene_run)
    steps = folder.snapshot_steps()
    (folder.snapshot(steps[2]) / "evaluation.json").write_text('{"schema_version": 1, "mea')
    (folder.snapshot(steps[4]) / "policy" / "lineage.json").unlink()
    (folder.snapshot(steps[6]) / "policy" / "lineage.json").write_text("[]")
    run = read_run(scene_run)
    assert [s.step for s in run.snapshots] == [s for i, s in enumerate(steps) if i not in (2, 4, 6)]
    assert len(run.notes) == 3
    assert all(f"{steps[i]:,}" in note for i, note in zip((2, 4, 6), run.notes, strict=True))
    assert str(scene_run) not in "".join(run.notes)


def test_an_altered_lineage_is_noticed(scene_run: Path):
    from heredity.common.files import seal_json

    path = RunFolder(scene_run).snapshot(0) / "policy" / "lineage.json"
    value = json.loads(path.read_text())
    path.write_text(seal_json(value))
    assert read_run(scene_run).notes == []
    path.write_text(path.read_text().replace('"snapshot"', '"snapshop"'))
    assert "altered" in read_run(scene_run).notes[0]


def test_older_files_are_brought_up(scene_run: Path, monkeypatch: pytest.MonkeyPatch):
    """A version 0 of everything that the viewer reads: not one file has another way in."""
    folder = RunFolder(scene_run)
    place = folder.snapshot(0)
    files = [
        (RUN, folder.config),
        (EVALUATION, place / "evaluation.json"),
        (RECORDING, place / "rollout" / "recording.json"),
        (LINEAGE, place / "policy" / "lineage.json"),
    ]
    now = read_run(scene_run)
    rewards = now.snapshots[0].recording().rewards
    for known, path in files:
        value = json.loads(path.read_text())
        path.write_text(json.dumps({"schema_version": 0, "all": value}))
        with pytest.raises(RefusedError, match=f"schema_version 0 of {known.kind}, which this"):
            known.read(path)
        monkeypatch.setitem(known.migrations, 0, lambda old: old["all"])
    before = {path: path.read_bytes() for _, path in files}
    run = read_run(scene_run)
    assert run.notes == []
    assert (run.config, run.snapshots) == (now.config, now.snapshots)
    np.testing.assert_array_equal(run.snapshots[0].recording().rewards, rewards)
    assert {path: path.read_bytes() for _, path in files} == before


def test_a_later_lineage_is_left_out_by_name(scene_run: Path):
    path = RunFolder(scene_run).snapshot(0) / "policy" / "lineage.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    (note,) = read_run(scene_run).notes
    assert "schema_version 2 of a lineage" in note and "Upgrade heredity" in note


def test_a_snapshot_that_is_retired_meanwhile_is_no_news(scene_run: Path):
    """Training goes on, and keeps only some."""
    folder = RunFolder(scene_run)
    steps = folder.snapshot_steps()
    notes: list[str] = []
    shutil.rmtree(folder.snapshot(steps[0]))
    assert [s.step for s in read_snapshots(folder, steps, notes)] == steps[1:]
    assert notes == []


def test_a_snapshot_without_evaluation_takes_its_score_from_the_lineage(scene_run: Path):
    folder = RunFolder(scene_run)
    (folder.snapshot(0) / "evaluation.json").unlink()
    shutil.rmtree(folder.snapshot(0) / "rollout")
    first = read_run(scene_run).snapshots[0]
    assert first.score is not None
    assert first.score.mean == pytest.approx(-120)
    assert not first.has_rollout


def test_torn_tables_are_notes(scene_run: Path):
    (scene_run / "evaluations.npz").write_bytes(b"PK\x03\x04 torn")
    (scene_run / "metrics.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    run = read_run(scene_run)
    assert len(run.notes) == 2
    assert run.metrics == {}


def test_evaluations_that_do_not_fit_are_left_out(scene_run: Path):
    np.savez(scene_run / "evaluations.npz", timesteps=np.arange(3), results=np.zeros((2, 4)))
    assert read_run(scene_run).evaluations == {}


@pytest.mark.parametrize("value", [None, [], "6", {"mean_return": "6"}, {"mean_return": None}])
def test_what_is_no_score_is_none(value: object):
    assert Score.from_json(value) is None


def test_a_whole_number_that_no_float_holds_is_none():
    assert (number(10**400), number(-(10**400)), number(10**300)) == (None, None, 1e300)


@pytest.mark.parametrize(("count", "most"), [(1000, 24), (25, 24), (24, 24), (1, 24), (0, 24)])
def test_evenly_keeps_first_and_last(count: int, most: int):
    chosen = evenly(count, most)
    assert len(chosen) == min(count, most)
    assert chosen == sorted(set(chosen))
    if count:
        assert (chosen[0], chosen[-1]) == (0, count - 1)
        gaps = np.diff(chosen)
        assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1
