"""The report over several seeds in a browser, written anew whenever the page is loaded."""

from __future__ import annotations

import http.server
import re
import threading
import webbrowser
from pathlib import Path

from heredity.common.errors import HeredityError
from heredity.common.group_folder import GroupFolder
from heredity.viewer.extras import require
from heredity.viewer.group import read_group
from heredity.viewer.markup import escape
from heredity.viewer.reading import read_run
from heredity.viewer.report import render, render_group

_SEED = re.compile(r"/seed-(\d{1,10})/report\.html")
MORE_PORTS = 100  # that are tried when one is taken


class GroupViewer:
    """A running server of the report; each seed's own is a link in it.

    Attributes:
        url: Where a browser finds it.
    """

    def __init__(self, run: Path, host: str, port: int) -> None:
        folder = GroupFolder(run)
        folder.read_config()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, page = _page(folder, self.path)
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, format: str, *args: object) -> None:
                """The console is the person's."""

        self._server = _bound(host, port, Handler)
        shown = "localhost" if host == "0.0.0.0" else host
        self.url = f"http://{shown}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10.0)

    def wait(self) -> None:
        """Block until `stop` is called elsewhere, or the person interrupts."""
        # Waiting in slices, because a wait without end does not see ctrl-C everywhere.
        while self._thread.is_alive():
            self._thread.join(timeout=0.5)


def _bound(
    host: str, port: int, handler: type[http.server.BaseHTTPRequestHandler]
) -> http.server.ThreadingHTTPServer:
    """A server on that port, or on the next one that is free."""
    tried = range(port, port + MORE_PORTS) if port else (0,)
    refused: OSError | None = None
    for one in tried:
        try:
            return http.server.ThreadingHTTPServer((host, one), handler)
        except OSError as error:
            refused = error
    raise refused or OSError(f"no port at {port}")


def _page(folder: GroupFolder, path: str) -> tuple[int, str]:
    """What is at a path of the server: status, and HTML."""
    path = path.partition("?")[0]
    try:
        if path in ("/", "/report.html"):
            group = read_group(folder.root)
            return 200, render_group(group, {s: f"/seed-{s}/report.html" for s in group.runs})
        if (found := _SEED.fullmatch(path)) and int(found[1]) in folder.seeds():
            return 200, render(read_run(folder.member(int(found[1])).root))
    except HeredityError as error:
        return 500, f"<!doctype html><title>heredity</title><pre>{escape(error)}</pre>"
    return 404, "<!doctype html><title>heredity</title><p>There is no such page.</p>"


def view_group(
    run: Path | str, host: str = "127.0.0.1", port: int = 8080, open_browser: bool = True
) -> GroupViewer:
    """Show the report over the seeds of a run in the browser, finished or still going.

    Args:
        run: The folder of the run.
        host: Address to listen on; the default is seen from this machine alone.
        port: Port to listen on; if it is taken, the next free one.
        open_browser: Whether to open a browser window at it.

    Returns:
        The running server: `GroupViewer.wait` blocks, `GroupViewer.stop` ends it.

    Raises:
        RefusedError: when `run` is not a run of several seeds.
        MissingExtraError: when viser or plotly is not installed.
    """
    require("the live viewer")
    viewer = GroupViewer(Path(run), host, port)
    if open_browser:
        webbrowser.open(viewer.url)
    return viewer
