"""The one way through which files with a version are read.

That every reader goes this way is seen where the readers are: test_older_files.py of each room.
"""

from pathlib import Path
from typing import Any

import pytest

from heredity.common import formats
from heredity.common.errors import RefusedError
from heredity.common.files import dump_json, seal_json
from heredity.common.formats import Format

KNOWN = [value for value in vars(formats).values() if isinstance(value, Format)]


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.kind)
def test_every_past_version_has_a_way_up(known: Format):
    assert set(known.migrations) == set(range(1, known.newest))


def test_no_two_formats_are_called_the_same():
    assert len({known.kind for known in KNOWN}) == len(KNOWN) == 10
    names = [known.name for known in KNOWN if known.name]
    assert len(set(names)) == len(names) == 3


@pytest.mark.parametrize("version", [None, "1", 1.0, True, -1, [1], {}])
def test_a_version_is_a_whole_number(tmp_path: Path, version: object):
    (tmp_path / "x.json").write_text(dump_json({"schema_version": version}))
    with pytest.raises(RefusedError, match=r"x\.json: has schema_version .*, a whole number was"):
        Format("a thing", 3).read(tmp_path / "x.json")
    (tmp_path / "x.json").write_text(dump_json({"content": 1}))
    with pytest.raises(RefusedError, match="has schema_version None, a whole number was"):
        Format("a thing", 3).read(tmp_path / "x.json")


def test_the_future_is_refused_by_name(tmp_path: Path):
    path = tmp_path / "later.json"
    path.write_text(dump_json({"schema_version": 3}))
    told = r"later\.json: has schema_version 3 of a thing, .*up to 2\. Upgrade heredity"
    with pytest.raises(RefusedError, match=told):
        Format("a thing", 2).read(path)
    # Told even where the seal no longer holds: a later version may seal in another way.
    sealed = seal_json({"schema_version": 1})
    path.write_text(sealed.replace('"schema_version": 1', '"schema_version": 9'))
    with pytest.raises(RefusedError, match="schema_version 9"):
        Format("a thing", 2).read(path, sealed=True)


def test_a_seal_may_have_to_be_there_and_is_always_checked(tmp_path: Path):
    path, thing = tmp_path / "x.json", Format("a thing")
    path.write_text(dump_json({"a": 1, "schema_version": 1}))
    assert thing.read(path) == {"a": 1, "schema_version": 1}
    with pytest.raises(RefusedError, match="has no seal"):
        thing.read(path, sealed=True)
    path.write_text(seal_json({"a": 1, "schema_version": 1}))
    assert thing.read(path) == thing.read(path, sealed=True) == {"a": 1, "schema_version": 1}
    path.write_text(path.read_text().replace('"a": 1', '"a": 2'))
    for sealed in (False, True):
        with pytest.raises(RefusedError, match="was altered"):
            thing.read(path, sealed=sealed)


def test_older_files_go_up_version_by_version_in_memory(tmp_path: Path):
    thing = Format("a thing", newest=3)
    thing.migrations[2] = lambda old: {"c": old["b"] + 1}
    thing.migrations[1] = lambda old: {"b": old["a"] + 1}
    path = tmp_path / "x.json"
    for version, content in ((1, {"a": 1}), (2, {"b": 2}), (3, {"c": 3})):
        path.write_text(seal_json({**content, "schema_version": version}))
        before = path.read_bytes()
        assert thing.read(path, sealed=True) == {"c": 3, "schema_version": 3}
        assert path.read_bytes() == before


def test_an_altered_file_is_not_migrated(tmp_path: Path):
    def never(old: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError(old)

    thing = Format("a thing", newest=2, migrations={1: never})
    path = tmp_path / "x.json"
    path.write_text(seal_json({"a": 1, "schema_version": 1}).replace('"a": 1', '"a": 2'))
    with pytest.raises(RefusedError, match="was altered"):
        thing.read(path)


def test_a_version_that_no_way_leads_from_is_refused(tmp_path: Path):
    path = tmp_path / "x.json"
    path.write_text(dump_json({"schema_version": 0}))
    told = r"x\.json: has schema_version 1 of a thing, which this release cannot bring up to 2"
    with pytest.raises(RefusedError, match=told):
        Format("a thing", newest=2, migrations={0: dict}).read(path)


def test_what_is_not_as_its_version_says_is_refused(tmp_path: Path):
    (tmp_path / "x.json").write_text(dump_json({"schema_version": 1}))
    thing = Format("a thing", newest=2, migrations={1: lambda old: {"b": old["a"]}})
    with pytest.raises(RefusedError, match=r"x\.json: is not as schema_version 1 says .*'a'"):
        thing.read(tmp_path / "x.json")


# --- headers of safetensors files -----------------------------------------------------------------


def test_a_header_says_what_a_file_is():
    thing = Format("a thing", newest=12, name="test.thing")
    assert thing.header == {"format": "test.thing", "schema_version": "12"}
    assert thing.check_header(thing.header, Path("x")) == 12
    assert thing.check_header({**thing.header, "schema_version": "3"}, Path("x")) == 3


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({}, "was not written as a thing: its header says format None, 'test.thing' was"),
        ({"format": "pt"}, "its header says format 'pt'"),
        ({"format": "test.thing"}, "schema_version '', a whole number was"),
        ({"format": "test.thing", "schema_version": "1.0"}, "schema_version '1.0'"),
        ({"format": "test.thing", "schema_version": "-1"}, "schema_version '-1'"),
        ({"format": "test.thing", "schema_version": "²"}, "schema_version '²'"),
        ({"format": "test.thing", "schema_version": "9" * 5000}, "a whole number was"),
        ({"format": "test.thing", "schema_version": "2"}, "reads up to 1. Upgrade heredity"),
    ],
    ids=range(8),
)
def test_another_header_is_refused(header: dict[str, str], told: str):
    with pytest.raises(RefusedError) as raised:
        Format("a thing", name="test.thing").check_header(header, Path("x.safetensors"))
    assert str(raised.value).startswith("x.safetensors: ") and told in str(raised.value)
