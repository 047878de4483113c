"""Text of files as HTML."""

from __future__ import annotations

import html
from typing import Any

from heredity.viewer.reading import short_hash


def escape(value: Any) -> str:
    """Text for HTML, for content and for quoted attributes alike."""
    return html.escape(str(value), quote=True)


def hash_html(value: str) -> str:
    """A short hash that shows the whole of itself when pointed at."""
    if not value:
        return "—"
    return f'<span class="hash" title="{escape(value)}">{escape(short_hash(value))}</span>'
