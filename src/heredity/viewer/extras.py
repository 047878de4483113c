"""The optional libraries that draw: imported when needed, named when they are missing."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from heredity.common.errors import MissingExtraError

if TYPE_CHECKING:
    import viser

EXTRA = "viewer"


def require(what: str) -> None:
    """Check that everything of the extra is there, before any work is done.

    Args:
        what: Who needs it, for the message.

    Raises:
        MissingExtraError: when a library is not installed.
    """
    for name in ("viser", "plotly"):
        _import(name, what)


def _import(name: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(what, EXTRA, str(error)) from None


def plotly_javascript() -> str:
    """The source of plotly.js, minified, as plotly's package carries it."""
    offline = _import("plotly.offline", "the report")
    return str(offline.get_plotlyjs())


def start_server(host: str, port: int, label: str | None = None) -> viser.ViserServer:
    """A viser server that does not print its banner.

    Args:
        host: Address to listen on.
        port: Port to listen on; if it is taken, the next free one.
        label: Title of its panel.
    """
    server = _import("viser", "the viewer").ViserServer
    with quiet():
        return server(host=host, port=port, label=label, verbose=False)


def stop_server(server: viser.ViserServer) -> None:
    """Stop a server that `start_server` started, as quietly."""
    with quiet():
        server.stop()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what viser says at start and stop from the console: it is not asked by `verbose`."""
    console = _import("rich", "the viewer").get_console()
    before = console.quiet
    console.quiet = True
    try:
        yield
    finally:
        console.quiet = before
