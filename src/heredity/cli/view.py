"""``heredity view``: how a policy grew, in the browser or as one file."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import tyro

from heredity.cli.parsing import otherwise, parse


@dataclasses.dataclass(frozen=True)
class View:
    """Watch a run: a live 3-D timeline in the browser, or one HTML file that opens offline.

    Args:
        directory: Folder of the run; of several seeds, the report over all of them is shown, with
            the mean return and its interval.
        report: Write report.html and print its path, instead of serving a page.
        output: Where to write the report.
        port: Port that the live view listens on; the next free one if it is taken.
        host: Address that the live view listens on; 0.0.0.0 lets other machines see it.
        browser: Open the page in a browser.
    """

    directory: Annotated[Path, tyro.conf.Positional]
    report: bool = False
    output: Annotated[Path | None, otherwise("default: report.html in the run folder")] = None
    port: int = 8080
    host: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = "127.0.0.1"
    browser: bool = True


def main(arguments: Sequence[str]) -> int:
    """Run ``heredity view``."""
    given = parse(View, arguments, "heredity view")
    from heredity.viewer import view, write_report

    if given.report:
        print(write_report(given.directory, given.output))
        return 0
    handle = view(given.directory, given.host, given.port, given.browser)
    try:
        _tell_where(handle.url, given.port)
        handle.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        handle.stop()
    return 0


def _tell_where(url: str, wanted: int) -> None:
    """The address of the page, flushed: a program that started the viewer waits for this line."""
    if wanted not in (0, urlsplit(url).port):
        print(f"port {wanted} was taken", file=sys.stderr)
    print(f"{url} (ctrl-C to stop)", flush=True)
