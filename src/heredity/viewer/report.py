"""One page that tells a whole run, with its rollouts in it, and opens without a network."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path
from typing import Any

from heredity.common.errors import HeredityError
from heredity.common.files import write_atomically
from heredity.common.provenance import now
from heredity.viewer import sections
from heredity.viewer.charts import base_layout, learning_charts, norm_chart, steps_layout
from heredity.viewer.extras import plotly_javascript, require
from heredity.viewer.formatting import (
    counted,
    mean_text,
    score_text,
    script_json,
    spread_text,
    steps_text,
    time_text,
)
from heredity.viewer.reading import Run, Snapshot, evenly, read_run, short_hash
from heredity.viewer.rollouts import MOST_PICTURE_BYTES, SceneExporter, rollout_payload
from heredity.viewer.templates import fill, page_file
from heredity.viewer.weight_norms import weight_norms

MAX_SNAPSHOTS = 24


def write_report(
    run: Path | str, output: Path | str | None = None, max_snapshots: int = MAX_SNAPSHOTS
) -> Path:
    """Write the report of a run, finished or still going.

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
    content = read_run(Path(run))
    target = Path(output) if output is not None else content.folder.report
    write_atomically(target, render(content, max(1, max_snapshots)))
    return target


def render(run: Run, max_snapshots: int = MAX_SNAPSHOTS) -> str:
    """The report as HTML."""
    notes = list(run.notes)
    total = len(run.snapshots)
    chosen = [run.snapshots[i] for i in evenly(total, max_snapshots)]
    shown, payloads, page = _rollouts(chosen, notes)
    most = max(1, sections.steps_done(run))
    learning = learning_charts(run, most)
    norms = norm_chart(weight_norms(chosen, notes), most)
    if norms is not None:
        norms.figure["layout"] |= steps_layout(run, most, wide=True)
    charts = learning + ([norms] if norms is not None else [])
    data = {
        "snapshots": [_told(snapshot) for snapshot in shown],
        "start": _first_shown(shown),
        "charts": [chart.figure for chart in charts],
        "layout": base_layout(),
    }
    scripts = [_json_script("report-data", data)]
    scripts += [_json_script(f"rollout-{i}", payload) for i, payload in enumerate(payloads)]
    if page is not None:
        scripts.append(_json_script("viser-page", page))
    # Packed, plotly is a third of its size, and the report small enough to be sent around.
    packed = base64.b64encode(gzip.compress(plotly_javascript().encode(), 9, mtime=0)).decode()
    scripts.append(f'<script type="text/plain" id="plotly-source">{packed}</script>')
    positions = {snapshot.step: index for index, snapshot in enumerate(shown)}
    parts = [
        sections.part("Learning", "", sections.charts_html(learning, 0)),
        sections.part("Weights", "", sections.charts_html([norms] if norms else [], len(learning))),
        sections.part("Snapshots", "", sections.snapshots_html(run, positions)),
        sections.part("Lineage", "who comes from whom", sections.lineage_html(run, shown)),
        sections.part("Configuration", "", sections.settings_html(run.config)),
    ]
    return fill(
        page_file("report.html"),
        {
            "title": sections.escape(f"{run.name} – heredity"),
            "css": page_file("report.css"),
            "name": sections.escape(run.name),
            "lead": sections.lead(run),
            "figures": sections.figures(run, len(shown)),
            "notes": sections.notes_html(notes),
            "timeline": sections.timeline_html(len(shown), total),
            "sections": "\n".join(parts),
            "version": sections.escape(sections.version()),
            "written": sections.escape(time_text(now())),
            "payloads": "\n".join(scripts),
            "script": page_file("report.js"),
        },
    )


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


def _first_shown(shown: list[Snapshot]) -> int:
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
