from pathlib import Path

import pytest

from heredity.common.errors import RefusedError
from heredity.common.files import seal_json
from heredity.common.group_folder import GroupFolder, is_group, runs_in


def test_seeds_are_in_their_order_and_other_folders_are_none(tmp_path: Path):
    for name in ("seed-10", "seed-2", "seed-02", "seed--1", "seed-x", "seed-3.refused-ab12cd"):
        (tmp_path / name).mkdir()
    (tmp_path / "seed-4").write_text("")
    assert GroupFolder(tmp_path).seeds() == [2, 10]
    assert not is_group(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert is_group(tmp_path)
    assert [run.root.name for run in runs_in(tmp_path)] == ["seed-2", "seed-10"]


def test_members_are_those_that_the_record_names(tmp_path: Path):
    group = GroupFolder(tmp_path)
    assert group.members({"seeds": [3, 2]}) == [2, 3]
    assert group.members({}) == []
    for wrong in (None, 3, ["3"], [True], [-1]):
        with pytest.raises(RefusedError, match="names the seeds"):
            group.members({"seeds": wrong})


def test_the_record_of_a_member_is_of_this_run(tmp_path: Path):
    group, config = GroupFolder(tmp_path), {"run_id": "ants", "seeds": [2, 3]}
    with pytest.raises(RefusedError, match=r"seed-3: is missing: .* is a run of the seeds 2, 3"):
        group.read_member(3, config)
    own = group.member(3)
    own.root.mkdir()
    own.config.write_text(seal_json({"schema_version": 1, "run_id": "ants-3"}))
    assert group.read_member(3, config, sealed=True)["run_id"] == "ants-3"
    own.config.write_text(seal_json({"schema_version": 1, "run_id": "bees-3"}))
    with pytest.raises(RefusedError, match=r"config\.json: is of the run bees-3, ants-3 was exp"):
        group.read_member(3, config)


def test_a_run_is_itself(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    assert [run.root for run in runs_in(tmp_path)] == [tmp_path]


def test_what_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(RefusedError, match="cannot be read"):
        GroupFolder(tmp_path / "nowhere").seeds()
