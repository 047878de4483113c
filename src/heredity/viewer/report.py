"""One page that tells a whole run, with its rollouts in it, and opens without a network."""

from __future__ import annotations

import base64
import functools
import gzip
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from heredity.common.errors import HeredityError
from heredity.common.files import write_atomically
from heredity.common.group_folder import is_group
from heredity.common.provenance import now
from heredity.common.words import counted
from heredity.viewer import sections
from heredity.viewer.charts import Chart, base_layout, learning_charts, steps_layout
from heredity.viewer.extras import plotly_javascript, require
from heredity.viewer.formatting import (
    mean_text,
    score_text,
    script_json,
    spread_text,
    steps_text,
    time_text,
)
from heredity.viewer.frozen import frozen_html, frozen_weights
from heredity.viewer.group import (
    Group,
    group_charts,
    group_figures,
    group_lead,
    read_group,
    seeds_html,
)
from heredity.viewer.markup import escape
from heredity.viewer.open_loop import open_loop_payload
from heredity.viewer.reading import Run, Snapshot, evenly, read_run, short_hash
from heredity.viewer.rollouts import MOST_PICTURE_BYTES, SceneExporter, rollout_payload
from heredity.viewer.templates import fill, page_file
from heredity.viewer.weight_charts import dead_chart, drift_chart, norm_chart
from heredity.viewer.weight_norms import weight_norms
from heredity.viewer.weight_reports import weight_reports_html

MAX_SNAPSHOTS = 24


def write_report(
    run: Path | str, output: Path | str | None = None, max_snapshots: int = MAX_SNAPSHOTS
) -> Path:
    """Write the report of a run, finished or still going.

    Of a run of several seeds, that of each seed is written as well, and the one over all of them
    links to those.

    Args:
        run: The run folder.
        output: Where to; ``report.html`` in the run folder if not given.
        max_snapshots: How many snapshots the timeline shows at most, evenly chosen among all, the
            first and the last among them.

    Returns:
        The path of the page: one file that needs nothing else.

    Raises:
        RefusedError: when `run` is not a run folder.
        MissingExtraError: when viser or plotly is not installed.
        StorageError: when the page cannot be written.
    """
    require("the report")
    if is_group(Path(run)):
        return _write_group(Path(run), output, max_snapshots)
    content = read_run(Path(run))
    target = Path(output) if output is not None else content.folder.report
    write_atomically(target, render(content, max(1, max_snapshots)))
    return target


def _write_group(path: Path, output: Path | str | None, max_snapshots: int) -> Path:
    group = read_group(path)
    for one in group.runs.values():
        write_atomically(one.folder.report, render(one, max(1, max_snapshots)))
    target = Path(output) if output is not None else group.folder.report
    links = {
        seed: quote(Path(os.path.relpath(one.folder.report, target.parent)).as_posix())
        for seed, one in group.runs.items()
    }
    write_atomically(target, render_group(group, links))
    return target


def render_group(group: Group, links: Mapping[int, str]) -> str:
    """The report over several seeds as HTML.

    Args:
        group: The seeds.
        links: Where the report of each seed is found from this page.
    """
    charts = group_charts(group)
    wide = [chart for chart in charts if chart.wide]
    charts = [*wide, *(chart for chart in charts if not chart.wide)]
    curves = "thick: mean over seeds; shaded: 95 % t interval of that mean; thin: each seed"
    parts = [
        sections.part("Return", curves, sections.charts_html(wide, 0)),
        sections.part("Seeds", "each is a run of its own", seeds_html(group, links)),
        sections.part(
            "While training", curves, sections.charts_html(charts[len(wide) :], len(wide))
        ),
        sections.part("Configuration", "", sections.settings_html(group.config)),
    ]
    return _page(
        group.name,
        kind="report over seeds",
        lead=group_lead(group),
        figures=group_figures(group),
        notes=group.notes,
        timeline="",
        parts=parts,
        charts=charts,
    )


def render(run: Run, max_snapshots: int = MAX_SNAPSHOTS) -> str:
    """The report as HTML."""
    notes = list(run.notes)
    total = len(run.snapshots)
    chosen = [run.snapshots[i] for i in evenly(total, max_snapshots)]
    shown, payloads, page = _rollouts(chosen, notes)
    most = max(1, sections.steps_done(run))
    learning = learning_charts(run, most)
    frozen = frozen_weights(run, notes)
    norms = weight_norms(chosen, notes, frozen.compare if frozen else None)
    found = [norm_chart(norms, most), drift_chart(norms, most), dead_chart(chosen, most)]
    weights = [chart for chart in found if chart is not None]
    for chart in weights:
        chart.figure["layout"] |= steps_layout(run, most, wide=True)
    charts = learning + weights
    scripts = [_json_script(f"rollout-{i}", payload) for i, payload in enumerate(payloads)]
    if page is not None:
        scripts.append(_json_script("viser-page", page))
    dreams = _imagined(shown, notes)
    scripts += [_json_script(f"imagined-{i}", payload) for i, payload in dreams.items()]
    positions = {snapshot.step: index for index, snapshot in enumerate(shown)}
    imagined = page_file("dream.html") if dreams else ""
    parts = [
        sections.part(
            "Imagined against real", "from the dotted lines on, the model sees nothing", imagined
        ),
        sections.part("Learning", "", sections.charts_html(learning, 0)),
        sections.part("Weights", "", sections.charts_html(weights, len(learning))),
        sections.part(
            "Frozen weights",
            "compared by this page, byte for byte",
            frozen_html(frozen),
        ),
        sections.part(
            "Operations on weights",
            "what each did, array by array",
            weight_reports_html([*(s.lineage for s in shown), run.checkpoint_lineage]),
        ),
        sections.part("Snapshots", "", sections.snapshots_html(run, positions)),
        sections.part("Lineage", "who comes from whom", sections.lineage_html(run, shown)),
        sections.part("Configuration", "", sections.settings_html(run.config)),
    ]
    return _page(
        run.name,
        kind="run report",
        lead=sections.lead(run),
        figures=sections.figures(run, len(shown)),
        notes=notes,
        timeline=sections.timeline_html(len(shown), total),
        parts=parts,
        charts=charts,
        shown=shown,
        scripts=scripts,
    )


def _page(
    name: str,
    *,
    kind: str,
    lead: str,
    figures: str,
    notes: Sequence[str],
    timeline: str,
    parts: Sequence[str],
    charts: Sequence[Chart],
    shown: Sequence[Snapshot] = (),
    scripts: Sequence[str] = (),
) -> str:
    """One file of everything; only `name` is not HTML yet."""
    data = {
        "snapshots": [_told(snapshot) for snapshot in shown],
        "start": _first_shown(shown),
        "charts": [chart.figure for chart in charts],
        "layout": base_layout(),
    }
    payloads = [
        _json_script("report-data", data),
        *scripts,
        f'<script type="text/plain" id="plotly-source">{_packed_plotly()}</script>',
    ]
    return fill(
        page_file("report.html"),
        {
            "title": escape(f"{name} – heredity"),
            "css": page_file("report.css"),
            "kind": kind,
            "name": escape(name),
            "lead": lead,
            "figures": figures,
            "notes": sections.notes_html(notes),
            "timeline": timeline,
            "sections": "\n".join(parts),
            "version": escape(sections.version()),
            "written": escape(time_text(now())),
            "payloads": "\n".join(payloads),
            "script": page_file("report.js"),
        },
    )


@functools.cache  # the same for every seed of a run
def _packed_plotly() -> str:
    """Plotly at a third of its size, so that a report is small enough to be sent around."""
    return base64.b64encode(gzip.compress(plotly_javascript().encode(), 9, mtime=0)).decode()


def _rollouts(
    chosen: list[Snapshot], notes: list[str]
) -> tuple[list[Snapshot], list[dict[str, Any]], tuple[str, str] | None]:
    """Those snapshots that can be shown, their rollouts, and viser's page if it is needed."""
    shown: list[Snapshot] = []
    payloads: list[dict[str, Any]] = []
    share = MOST_PICTURE_BYTES / max(1, len(chosen))
    with SceneExporter() as exporter:
        for snapshot in chosen:
            payload: dict[str, Any] = {"kind": "none", "cut": ""}
            if snapshot.has_rollout:
                try:
                    payload = rollout_payload(snapshot.recording(), exporter, share)
                except HeredityError as error:
                    reason = getattr(error, "problem", str(error))
                    notes.append(f"The rollout at step {snapshot.step:,} cannot be shown: {reason}")
                    continue
            shown.append(snapshot)
            payloads.append(payload)
        return shown, payloads, exporter.page


def _imagined(shown: Sequence[Snapshot], notes: list[str]) -> dict[int, dict[str, Any]]:
    """What the world models of the shown snapshots imagined, by position on the timeline."""
    found = {}
    for index, snapshot in enumerate(shown):
        if snapshot.has_imagined:
            try:
                found[index] = open_loop_payload(snapshot.imagined())
            except HeredityError as error:
                reason = getattr(error, "problem", str(error))
                notes.append(f"What was imagined at step {snapshot.step:,} is left out: {reason}")
    return found


def _first_shown(shown: Sequence[Snapshot]) -> int:
    """The timeline opens at the newest snapshot: what the run has come to.

    From there a button plays the way to it, from the first snapshot on.
    """
    return max(0, len(shown) - 1)


def _told(snapshot: Snapshot) -> dict[str, Any]:
    """What stands beside a snapshot's rollout."""
    score = snapshot.score
    known = score.episodes if score else None
    return {
        "step_text": f"{snapshot.step:,}",
        "short_step": steps_text(snapshot.step),
        "mean": score.mean if score else None,
        "std": score.std if score else None,
        "mean_text": mean_text(score) if score else score_text(None),
        "spread_text": spread_text(score),
        "episodes_text": f"of {counted(known, 'episode')}" if known is not None else "",
        "hash": snapshot.policy_hash,
        "short_hash": short_hash(snapshot.policy_hash),
    }


def _json_script(name: str, value: Any) -> str:
    return f'<script type="application/json" id="{name}">{script_json(value)}</script>'
