"""``heredity view``."""

from pathlib import Path

import pytest


def test_view_says_where(trained: Path, heredity, monkeypatch: pytest.MonkeyPatch):
    served = []

    class Handle:
        url = "http://127.0.0.1:8081"

        def wait(self) -> None:
            raise KeyboardInterrupt

        def stop(self) -> None:
            served.append("stopped")

    monkeypatch.setattr("heredity.viewer.view", lambda *given: Handle())
    done = heredity("view", trained, "--port", "8081")
    assert (done.code, done.out, done.err) == (0, f"{Handle.url} (ctrl-C to stop)\n", "")
    assert served == ["stopped"]
    assert heredity("view", trained).err == "port 8080 was taken\n"


def test_view_of_what_is_no_run(heredity, tmp_path: Path):
    done = heredity("view", tmp_path, "--report")
    assert done.code == 3 and str(tmp_path) in done.err
