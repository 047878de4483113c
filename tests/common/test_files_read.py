"""JSON, seals and links of `heredity.common.files`; what writes is in test_files.py."""

import json
from pathlib import Path

import pytest

from heredity.common.errors import RefusedError
from heredity.common.files import (
    check_seal,
    dump_json,
    parse_json,
    seal_json,
    without_links,
)
from heredity.common.reading import read_text

VALUE = {
    "name": 'ant, "quoted", ünïcode\nand a newline',
    "nested": {"list": [1, 2.5, None, True], "sha256": "0" * 64},
    "schema_version": 1,
}


# --- JSON -----------------------------------------------------------------------------------------


def test_json_is_canonical():
    text = dump_json({"b": 1, "a": "ü"})
    assert text == '{\n  "a": "ü",\n  "b": 1\n}\n'
    assert json.loads(text) == {"b": 1, "a": "ü"}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_json_has_no_infinite_numbers(number: float):
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json({"a": number})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        '"text"',
        "null",
        "{'a': 1}",
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e400}',
        '{"a": ' + "[" * 100_000,
        '{"a": ' + "9" * 5_000 + "}",
        '{"a": 1} {"b": 2}',
        '{"a": ["\\ud800"]}',
        '{"\\uDFFF": 1}',
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_json_object_is_refused_by_name(text: str):
    with pytest.raises(RefusedError, match=r"some/file\.json"):
        parse_json(text, "some/file.json")


def test_escaped_characters_are_read():
    assert parse_json('{"a": "\\u0007 \\ud83d\\ude00"}', "x") == {"a": "\a 😀"}


# --- seals ----------------------------------------------------------------------------------------


def test_a_seal_holds():
    assert check_seal(seal_json(VALUE), "x") == VALUE
    # A value that looks like the seal's blank place, or like a seal, is not mistaken for it.
    confusing = {"a": "0" * 64, "b": f'\n  "sha256": "{"0" * 64}"', "z": {"sha256": "0" * 64}}
    assert check_seal(seal_json(confusing), "x") == confusing


def test_every_single_altered_byte_is_seen(tmp_path: Path):
    path = tmp_path / "sealed.json"
    data = seal_json(VALUE).encode()
    passed = []
    for position in range(len(data)):
        # One bit, and the bytes that text mode or JSON might take for the same.
        others = {data[position] ^ (1 << position % 8), *b"\r\n 0\xff"}
        for other in others - {data[position]}:
            path.write_bytes(data[:position] + bytes([other]) + data[position + 1 :])
            try:
                check_seal(read_text(path), path)
            except RefusedError as error:
                assert str(path) in str(error)
            else:
                passed.append((position, other))
    assert passed == []


def test_every_truncation_and_every_lost_byte_is_seen(tmp_path: Path):
    path = tmp_path / "sealed.json"
    data = seal_json({"a": [1, 2], "schema_version": 1}).encode()
    for position in range(len(data)):
        for torn in (data[:position], data[:position] + data[position + 1 :]):
            path.write_bytes(torn)
            with pytest.raises(RefusedError):
                check_seal(read_text(path), path)
    path.write_bytes(data + b"\n")
    with pytest.raises(RefusedError, match="altered"):
        check_seal(read_text(path), path)


def test_what_has_no_seal_is_refused():
    for value in ({}, {"sha256": 3}, {"sha256": "short"}):
        with pytest.raises(RefusedError, match="no seal"):
            check_seal(dump_json(value), "x")


# --- links ---------------------------------------------------------------------------


def test_a_folder_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "1" / "policy").mkdir(parents=True)
    (tmp_path / "last").symlink_to("1")
    assert without_links(tmp_path / "last" / "policy") == tmp_path / "1" / "policy"
    assert without_links(tmp_path / "last") == tmp_path / "1"
    # What goes through none is called as the person called it.
    monkeypatch.chdir(tmp_path)
    assert without_links(Path("1/policy")) == Path("1/policy")
    assert without_links(Path("absent")) == Path("absent")
