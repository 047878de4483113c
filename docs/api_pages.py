"""A hook of mkdocs: one page of reference for each room of the package that there is.

The pages are made from the docstrings while the site is built, so none can be forgotten or stale.
"""

from __future__ import annotations

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

SOURCE = Path(__file__).resolve().parent.parent / "src"
PACKAGE = SOURCE / "heredity"
# From the facade downwards, as the imports go; a room that is not here comes last, by name.
ORDER = (
    "api",
    "cli",
    "viewer",
    "deploy",
    "training",
    "algorithms",
    "environments",
    "policies",
    "networks",
    "weights",
    "spaces",
    "common",
)


def rooms() -> list[Path]:
    """The modules and packages directly inside the package that are public."""
    found = [
        path
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.name[0] != "_"
    ]
    rank = {name: place for place, name in enumerate(ORDER)}
    return sorted(found, key=lambda path: (rank.get(path.stem, len(rank)), path.stem))


def modules(room: Path) -> list[Path]:
    """The public modules of a room that say something about themselves, packages before content."""
    if room.suffix == ".py":
        return [room]
    found = [
        path
        for path in room.rglob("*.py")
        if path.stem == "__init__" or path.name[0] != "_"
        if not any(part[0] == "_" for part in path.relative_to(room).parts[:-1])
    ]
    return sorted(found, key=lambda path: (path.parent.parts, path.stem != "__init__", path.stem))


def dotted(path: Path) -> str:
    """The name by which a file is imported."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def page(room: Path) -> str:
    """The Markdown of one room: its own docstring, then every module of it."""
    lines = [f"# {dotted(room)}", ""]
    for path in modules(room):
        documented = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) is not None
        if path.stem == "__init__":
            # What a package offers is shown once, in the module that defines it.
            if not documented:
                continue
            options = ["members: false", "show_root_heading: false", "show_root_toc_entry: false"]
            if path.parent != room:
                options = ["members: false"]
        else:
            options = []
        if room.suffix == ".py":
            options = ["show_root_heading: false", "show_root_toc_entry: false"]
        lines.append(f"::: {dotted(path)}")
        if options:
            lines += ["    options:", *(f"      {option}" for option in options)]
        lines.append("")
    return "\n".join(lines)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the reference behind the pages that are written by hand."""
    pages = [{dotted(room): f"api/{room.stem}.md"} for room in rooms()]
    assert config.nav is not None
    config.nav = [*config.nav, {"Reference": pages}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to those found in docs/."""
    for room in rooms():
        files.append(File.generated(config, f"api/{room.stem}.md", content=page(room)))
    return files
