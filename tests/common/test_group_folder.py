from pathlib import Path

import pytest

from heredity.common.errors import RefusedError
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


def test_a_run_is_itself(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    assert [run.root for run in runs_in(tmp_path)] == [tmp_path]


def test_what_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(RefusedError, match="cannot be read"):
        GroupFolder(tmp_path / "nowhere").seeds()
