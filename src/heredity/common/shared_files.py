"""Files of arrays that never change, so that several checkpoints can share them."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import uuid
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from heredity.common.errors import StorageError
from heredity.common.files import check_in_place, sha256_bytes
from heredity.common.formats import Format
from heredity.common.reading import check_hash
from heredity.common.tensors import StoredTensor, stored_tensors, tensor_bytes


class SharedFile:
    """A safetensors file that is written once; a copy of it costs no room where links are possible.

    Args:
        path: Of the file.
        sha256: Of its bytes.
        passing: Whether it goes when nobody holds this any more.
    """

    def __init__(self, path: Path, sha256: str, *, passing: bool = False) -> None:
        self.path = path
        self.sha256 = sha256
        if passing:
            weakref.finalize(self, _remove, path, os.getpid())

    @classmethod
    def written(cls, folder: Path, tensors: Mapping[str, np.ndarray], kind: Format) -> SharedFile:
        """A new file in a folder, which goes when nobody holds it any more.

        It is not flushed: what is not in a checkpoint yet need not outlive the machine.

        Args:
            folder: Made if it is not there, where it is to be.
            tensors: What is in it.
            kind: Its format.

        Raises:
            StorageError: when the disk refuses.
        """
        content = tensor_bytes(tensors, kind.header)
        path = _place_in(folder)
        try:
            path.write_bytes(content)
        except OSError as error:
            _remove(path, os.getpid())
            raise StorageError(path, error) from error
        return cls(path, sha256_bytes(content), passing=True)

    def check(self) -> None:
        """See that it is what it was.

        Raises:
            RefusedError: when it is missing, or its bytes are others.
        """
        check_hash(self.path, self.sha256, "the manifest")

    def taken(self, folder: Path) -> SharedFile:
        """The same file under a name of its own, which goes when nobody holds it any more.

        Raises:
            StorageError: when the disk refuses.
        """
        path = _place_in(folder)
        self.put(path)
        return SharedFile(path, self.sha256, passing=True)

    def put(self, path: Path) -> None:
        """Give it another name, or copy it where there are no links.

        Raises:
            StorageError: when the disk refuses.
        """
        try:
            try:
                os.link(self.path, path)
            except FileNotFoundError:
                raise
            except OSError:  # another disk, or one that has no links
                shutil.copyfile(self.path, path)
        except OSError as error:
            raise StorageError(path, error) from error

    @functools.cached_property
    def tensors(self) -> dict[str, StoredTensor]:
        """What is in it, read when it is asked for.

        Raises:
            RefusedError: when it is missing or torn.
        """
        return stored_tensors(self.path)[0]


def _place_in(folder: Path) -> Path:
    """A name of its own in a folder, which is made if it is not there."""
    check_in_place(folder)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(folder, error) from error
    return folder / f"{uuid.uuid4().hex}.safetensors"


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker holds a copy of everything
        with contextlib.suppress(OSError):
            path.unlink()
