import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from heredity.common import files
from heredity.common.errors import LostFolderError, StorageError, UsageError
from heredity.common.files import (
    LOCK,
    REPLACED_PREFIX,
    TEMPORARY_PREFIX,
    FolderLock,
    folder_appearing_whole,
    point_symlink,
    remove_folder,
    set_aside,
    sha256_bytes,
    sweep_temporaries,
    write_atomically,
)
from heredity.common.reading import sha256_file


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]


def fail(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, number: int = 1) -> None:
    """Let the `number`-th call of a function say that the disk is full."""
    real, calls = getattr(owner, name), []

    def call(*args: object, **kwargs: object) -> object:
        calls.append(args)
        if len(calls) >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, call)


# --- writing --------------------------------------------------------------------------------------


def test_write_atomically_makes_folders_and_leaves_nothing_behind(tmp_path: Path):
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, "old")
    write_atomically(path, b"new")
    assert path.read_text() == "new"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
    assert sha256_file(path) == sha256_bytes(b"new")


@pytest.mark.parametrize("function", ["open", "fsync", "replace"])
def test_a_failing_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
):
    path = tmp_path / "file"
    write_atomically(path, "old")
    fail(monkeypatch, os if function == "fsync" else Path, function)
    with pytest.raises(StorageError, match=r"file: could not be written \(No space left"):
        write_atomically(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
):
    def interrupted(descriptor: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(error):
        write_atomically(tmp_path / "file", "new")
    assert list(tmp_path.iterdir()) == []


def test_new_folders_are_on_the_disk_before_what_is_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    flushed: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), tmp_path))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with folder_appearing_whole(tmp_path / "run" / "checkpoints" / "1") as temporary:
        assert flushed == [".", "run"]
        (temporary / "file").write_text("x")
    beside = temporary.relative_to(tmp_path).as_posix()
    assert flushed[2:] == [f"{beside}/file", beside, "run/checkpoints"]
    del flushed[:]
    write_atomically(tmp_path / "a" / "b" / "file", "x")
    assert flushed[:2] == [".", "a"] and flushed[3:] == ["a/b"]
    # The old copy goes when the new one's name is on the disk, not before.
    monkeypatch.setattr(files, "_discard", lambda path: flushed.append(f"gone {path.name}"))
    del flushed[:]
    with folder_appearing_whole(tmp_path / "run" / "checkpoints" / "1"):
        pass
    aside = f"gone {REPLACED_PREFIX}1"
    assert flushed[-3:] == [aside, "run/checkpoints", aside]


def test_a_file_in_the_way_of_a_folder_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("here first")
    for path in (tmp_path / "file" / "below", tmp_path / "file" / "far" / "below"):
        with pytest.raises(StorageError, match="could not be written"):
            write_atomically(path, "new")
        with pytest.raises(StorageError, match="could not be written"):
            point_symlink(path, "target")
    assert (tmp_path / "file").read_text() == "here first"


def test_a_folder_appears_whole(tmp_path: Path):
    path = tmp_path / "runs" / "folder"
    with folder_appearing_whole(path) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "file").write_text("content")
        assert not path.exists()
        assert temporary.name.startswith(TEMPORARY_PREFIX)
    assert (path / "deep" / "file").read_text() == "content"
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt()])
def test_nothing_appears_when_the_block_raises(tmp_path: Path, error: BaseException):
    with pytest.raises(type(error)), folder_appearing_whole(tmp_path / "new") as temporary:
        (temporary / "file").write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced(tmp_path: Path):
    for content in ("old", "new"):
        with folder_appearing_whole(tmp_path / "folder") as temporary:
            (temporary / content).write_text(content)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["new"]
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("function", "number", "exists"),
    [
        *(("fsync", number, exists) for number in (1, 2) for exists in (False, True)),
        *(("mkdir", 1, exists) for exists in (False, True)),
        # A new folder is renamed once, one that replaces another twice.
        ("rename", 1, False),
        ("rename", 1, True),
        ("rename", 2, True),
    ],
)
def test_the_old_folder_stays_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, number: int, exists: bool
):
    path = tmp_path / "folder"
    if exists:
        path.mkdir()
        (path / "file").write_text("old")
    real, calls = Path.rename, []
    if function == "rename":
        # Only the numbered call fails: putting the old folder back is also a rename.
        def rename(self: Path, target: Path) -> Path:
            calls.append(target)
            if len(calls) == number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(self, target)

        monkeypatch.setattr(Path, "rename", rename)
    else:
        fail(monkeypatch, os if function == "fsync" else Path, function, number)
    with (
        pytest.raises(StorageError, match=r"folder: .*No space left"),
        folder_appearing_whole(path) as temporary,
    ):
        (temporary / "file").write_text("new")
    monkeypatch.undo()
    assert path.exists() == exists
    if exists:
        assert (path / "file").read_text() == "old"
    assert left_over(tmp_path) == []


def test_a_link_to_a_folder_is_replaced_again_and_again(tmp_path: Path):
    """Somebody moved it to another disk; what stepped aside is then no folder."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "folder").symlink_to("elsewhere")
    for content in ("one", "two", "three"):
        with folder_appearing_whole(tmp_path / "folder") as temporary:
            (temporary / content).write_text(content)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["three"]
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", "folder"}
    (tmp_path / f"{REPLACED_PREFIX}folder").symlink_to("elsewhere")
    sweep_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", "folder"}


def test_a_symlink_is_moved_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    link = tmp_path / "last"
    point_symlink(link, "one")
    point_symlink(link, "two")
    assert os.readlink(link) == "two"
    fail(monkeypatch, Path, "replace")
    with pytest.raises(StorageError, match="last"):
        point_symlink(link, "three")
    monkeypatch.undo()
    assert os.readlink(link) == "two"
    assert left_over(tmp_path) == []


def test_a_folder_is_removed_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "file").write_text("content")
    fail(monkeypatch, files.shutil, "rmtree")
    with pytest.raises(StorageError, match="folder"):
        remove_folder(path)
    monkeypatch.undo()
    # Killed at that moment, it is not half there under its own name; what is left is swept.
    assert not path.exists()
    assert len(left_over(tmp_path)) == 1
    sweep_temporaries(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError):
        remove_folder(path)


def test_sweeping_takes_nothing_else(tmp_path: Path):
    (tmp_path / "kept").mkdir()
    (tmp_path / f"{TEMPORARY_PREFIX}folder").mkdir()
    (tmp_path / f"{TEMPORARY_PREFIX}folder" / "file").write_text("x")
    (tmp_path / f"{TEMPORARY_PREFIX}file").write_text("x")
    (tmp_path / f"{TEMPORARY_PREFIX}link").symlink_to(tmp_path / "kept")
    sweep_temporaries(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    sweep_temporaries(tmp_path / "absent")


def test_what_was_being_replaced_is_given_back_or_removed(tmp_path: Path):
    """Killed after the old folder stepped aside, or after the new one came."""
    aside = tmp_path / f"{REPLACED_PREFIX}folder"
    for there in (False, True):
        aside.mkdir()
        (aside / "file").write_text("old")
        if there:
            (tmp_path / "folder" / "file").write_text("new")
        sweep_temporaries(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["folder"]
        assert (tmp_path / "folder" / "file").read_text() == ("new" if there else "old")


def test_the_old_folder_is_never_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Everything stops after each rename in turn; a sweep then finds the old or the new one."""
    for moment in (1, 2):
        path = tmp_path / str(moment) / "folder"
        path.mkdir(parents=True)
        (path / "file").write_text("old")
        real, calls = Path.rename, []

        def rename(self: Path, target: Path, real=real, calls=calls, moment=moment) -> Path:
            calls.append(target)
            done = real(self, target) if len(calls) <= moment else self
            if len(calls) >= moment:
                raise SystemExit  # as good as a kill: nothing is put back
            return done

        monkeypatch.setattr(Path, "rename", rename)
        with pytest.raises(SystemExit), folder_appearing_whole(path) as temporary:
            (temporary / "file").write_text("new")
        monkeypatch.undo()
        sweep_temporaries(path.parent)
        assert [entry.name for entry in path.parent.iterdir()] == ["folder"]
        assert (path / "file").read_text() == ("old" if moment == 1 else "new")


def test_a_lock_has_one_holder(tmp_path: Path):
    lock = FolderLock(tmp_path / "run")
    with pytest.raises(UsageError, match=rf"run is in use by process {os.getpid()}"):
        FolderLock(tmp_path / "run")
    lock.close()
    lock.close()
    other = FolderLock(tmp_path / "run")
    del other  # dropped is as good as closed
    FolderLock(tmp_path / "run").close()
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/\.lock"):
        FolderLock(tmp_path / "file")


def test_a_lock_follows_no_link(tmp_path: Path):
    """A run folder that came from elsewhere could name any file of this machine."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError, match=r"\.lock: could not be written"):
        FolderLock(tmp_path / "run")
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize("lost", ["moved", "removed", "replaced", "unlocked"])
def test_what_is_locked_is_written_only_where_it_is(tmp_path: Path, lost: str):
    run = tmp_path / "run"
    lock = FolderLock(run)
    write_atomically(run / "a" / "file", "x")
    if lost == "unlocked":
        (run / LOCK).unlink()
    else:
        run.rename(tmp_path / "elsewhere")
    if lost == "replaced":
        run.mkdir()
        (run / LOCK).touch()
    if lost == "removed":
        shutil.rmtree(tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LostFolderError, match=rf"^{run}: was moved, removed or replaced"):
        write_atomically(run / "a" / "file", "y")
    with (
        pytest.raises(LostFolderError, match="resume it where it lies now"),
        folder_appearing_whole(run / "b"),
    ):
        pytest.fail("there is nothing to fill")
    assert sorted(tmp_path.rglob("*")) == before
    write_atomically(tmp_path / "run-2" / "file", "z")  # no business of the lock's
    if lost == "moved":
        (tmp_path / "elsewhere").rename(run)
        write_atomically(run / "a" / "file", "y")
    lock.close()
    write_atomically(run / "c", "z")


def test_a_relative_folder_is_lost_with_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    lock = FolderLock(Path("run"))
    monkeypatch.chdir(tmp_path / "other")
    with pytest.raises(LostFolderError, match="changed its current directory"):
        write_atomically(Path("run/file"), "x")
    assert not list((tmp_path / "other").iterdir())
    monkeypatch.chdir(tmp_path)
    write_atomically(Path("run/file"), "x")
    lock.close()


def test_a_forked_worker_does_not_keep_the_lock(tmp_path: Path):
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from heredity.common.files import FolderLock\n"
        "lock = FolderLock(Path(sys.argv[1]))\n"
        "if os.fork() == 0:\n"
        "    os.close(1); time.sleep(20); os._exit(0)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
    assert done.returncode == -9
    FolderLock(tmp_path).close()


def test_what_was_refused_is_set_aside(tmp_path: Path):
    (tmp_path / "file").write_text("odd")
    aside = set_aside(tmp_path / "file")
    assert aside.name.startswith("file.refused-") and aside.read_text() == "odd"
    with pytest.raises(StorageError):
        set_aside(tmp_path / "file")
