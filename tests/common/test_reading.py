"""Files that are none: pipes, devices, folders; and files that are larger than they may be."""

import errno
import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from heredity.common.errors import RefusedError
from heredity.common.files import seal_json, sha256_bytes
from heredity.common.formats import RUN
from heredity.common.reading import check_hash, open_regular, read_bytes, read_text, sha256_file
from heredity.common.run_folder import read_rows
from heredity.common.tensors import read_tensors


def test_reading_refuses_by_name(tmp_path: Path):
    with pytest.raises(RefusedError, match=r"absent\.json: is missing"):
        read_text(tmp_path / "absent.json")
    (tmp_path / "file").write_text("{}")
    with pytest.raises(RefusedError, match="is missing"):
        read_text(tmp_path / "file" / "below.json")
    with pytest.raises(RefusedError, match="cannot be read"):
        read_text(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(RefusedError, match=r"latin\.json: is not UTF-8"):
        read_text(tmp_path / "latin.json")


def test_text_is_read_byte_for_byte(tmp_path: Path):
    (tmp_path / "text").write_bytes(b"a\r\nb\rc\n")
    assert read_text(tmp_path / "text") == "a\r\nb\rc\n"


def test_bytes_are_read_up_to_what_a_file_may_hold(tmp_path: Path):
    content = bytes(range(256)) * 10_000
    (tmp_path / "bytes").write_bytes(content)
    assert read_bytes(tmp_path / "bytes", len(content)) == content
    with pytest.raises(RefusedError, match="2,560,000 bytes, at most 2,559,999"):
        read_bytes(tmp_path / "bytes", len(content) - 1)
    # Some files of the kernel's say that they are empty.
    assert b"processor" in read_bytes(Path("/proc/cpuinfo"), 2**24)
    with pytest.raises(RefusedError, match="more than 100 bytes"):
        read_bytes(Path("/proc/cpuinfo"), 100)


def test_a_file_has_the_bytes_that_a_record_speaks_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "file"
    with pytest.raises(RefusedError, match="file: is missing"):
        check_hash(path, sha256_bytes(b"x"), "the list")
    path.write_bytes(b"x")
    check_hash(path, sha256_bytes(b"x"), "the list")
    for expected in (sha256_bytes(b"y"), None, 3):
        with pytest.raises(RefusedError, match="altered or torn: the list says sha256"):
            check_hash(path, expected, "the list")

    def broken(stream: object, digest: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    # A bad sector: one copy is lost, which is no reason not to try another.
    monkeypatch.setattr(hashlib, "file_digest", broken)
    with pytest.raises(RefusedError, match=r"file: cannot be read \(Input/output error\)"):
        check_hash(path, sha256_bytes(b"x"), "the list")


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


NO_FILES = {
    "a pipe": os.mkfifo,
    "a device without an end": lambda path: path.symlink_to("/dev/zero"),
    "a socket": bind,
    "a folder": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path),
}
READERS = {
    "text": read_text,
    "json": RUN.read,
    "rows": read_rows,
    "hash": sha256_file,
    "record": lambda path: check_hash(path, "0" * 64, "the list"),
    "tensors": read_tensors,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, reader: str
):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    path = Path("file.json")
    make: Callable[[Path], None] = NO_FILES[kind]
    make(path)
    with pytest.raises(RefusedError, match=r"file\.json: "):
        READERS[reader](path)


def test_no_more_is_read_than_a_file_may_hold(tmp_path: Path):
    path = tmp_path / "large.json"
    path.touch()
    os.truncate(path, 2**40)  # a hole: it takes no space, and would take all memory
    with pytest.raises(RefusedError, match=r"large\.json: holds 1,099,511,627,776 bytes, at most"):
        RUN.read(path)
    with pytest.raises(RefusedError, match="at most 1,073,741,824 were expected"):
        read_rows(path)
    # This one says that it is empty, and is not.
    assert len(read_text(Path("/proc/self/status"), most=20)) == 20


def test_a_sector_that_goes_bad_in_the_block_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(RefusedError, match=r"file: cannot be read \(Input/output error\)"),
        open_regular(tmp_path / "file"),
    ):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_links_to_files_are_followed(tmp_path: Path):
    (tmp_path / "file").write_text(seal_json({"schema_version": RUN.newest}))
    (tmp_path / "link").symlink_to("file")
    assert RUN.read(tmp_path / "link", sealed=True) == {"schema_version": RUN.newest}
