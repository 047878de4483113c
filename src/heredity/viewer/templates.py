"""The files that the report's page is made of, and putting values into their places."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping


def page_file(name: str) -> str:
    """The text of a file of the page."""
    return (importlib.resources.files("heredity.viewer") / "page" / name).read_text("utf-8")


def fill(template: str, values: Mapping[str, object]) -> str:
    """Put values into the ``{{places}}`` of a template, in one pass.

    One pass, so that a value that happens to hold the name of a place stays as it is.

    Example:
        >>> fill("<p>{{a}} {{b}}</p>", {"a": "{{b}}", "b": 7})
        '<p>{{b}} 7</p>'
    """
    return re.sub(r"\{\{(\w+)\}\}", lambda place: str(values[place.group(1)]), template)
