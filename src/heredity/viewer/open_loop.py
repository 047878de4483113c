"""What a world model imagined of a snapshot's episode, as the report carries it."""

from __future__ import annotations

import base64
import html
from typing import Any, NamedTuple

import numpy as np

from heredity.common.open_loop import OpenLoop
from heredity.common.words import counted
from heredity.viewer.charts import base_layout, line
from heredity.viewer.open_loop_pictures import Drawn, drawn, is_drawn, packed
from heredity.viewer.reading import evenly
from heredity.viewer.rollouts import plain_numbers

# As many moments stand side by side as there is room for; of them so many that were seen.
MOST_MOMENTS, MOST_SEEN = 16, 5
MOST_ENTRIES = 3  # that are drawn
MOST_CURVES = 4
CURVE_HEIGHT = 110
FEW = 40  # points of a curve that each get a dot
REAL, IMAGINED, AGAIN = "@c2", "@c1", "@c0"


class Curve(NamedTuple):
    """One number over the moments.

    Args:
        name: Of the number.
        real: What happened, ``(N,)``.
        imagined: What was imagined, ``(N,)``.
    """

    name: str
    real: np.ndarray
    imagined: np.ndarray


def shown_moments(moments: int, context: int) -> list[int]:
    """The moments that are drawn: the last one, and those around the end of the seeing among them.

    Example:
        >>> shown_moments(10, 5)
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        >>> shown_moments(65, 5)
        [0, 1, 2, 3, 4, 5, 11, 17, 23, 29, 35, 40, 46, 52, 58, 64]
    """
    if moments <= MOST_MOMENTS:
        return list(range(moments))
    seen = evenly(context, MOST_SEEN)
    later = evenly(moments - context, MOST_MOMENTS - len(seen))
    return [*seen, *(context + index for index in later)]


def curves_of(found: OpenLoop) -> list[Curve]:
    """The numbers and choices that are not drawn as pictures."""
    curves = []
    for name, entry in found.entries.items():
        real = np.asarray(found.episode.observations[name], np.float64)
        if is_drawn(entry, real.shape[1:]):
            continue
        real = real.reshape((len(real), -1))
        imagined = np.asarray(found.imagined.observations[name], np.float64).reshape(real.shape)
        width = real.shape[1]
        named = entry.columns if len(entry.columns) == width else None
        for index in range(width):
            title = name if width == 1 else f"{name} {index}"
            if named:
                title = named[index]
            curves.append(Curve(title, real[:, index], imagined[:, index]))
    return curves


def moving(curves: list[Curve], most: int = MOST_CURVES) -> list[Curve]:
    """Those that vary most."""
    variance = [-np.nan_to_num(np.var(curve.real)) for curve in curves]
    chosen = sorted(np.argsort(variance, kind="stable")[:most].tolist())
    return [curves[index] for index in chosen]


def open_loop_payload(found: OpenLoop) -> dict[str, Any]:
    """What the report carries of one snapshot: pictures side by side, and figures."""
    moments = shown_moments(found.moments, found.context)
    strips = [_strip(one, moments) for one in drawn(found)[:MOST_ENTRIES]]
    seen = counted(found.context, "moment")
    imagined = counted(found.moments - found.context, "moment")
    figures = []
    if curves := moving(known := curves_of(found)):
        few = f"the {len(curves)} of {len(known):,} that move most"
        figures.append(
            {
                "title": "Observations",
                "detail": few if len(curves) < len(known) else "",
                "figure": _curves_figure(found, curves),
                "height": CURVE_HEIGHT * len(curves) + 50,
                "wide": True,
            }
        )
    figures += [_reward_figure(found), *_error_figures(found), _going_on_figure(found)]
    return {
        "told": f"{seen} seen, then {imagined} imagined from the actions alone",
        "context": found.context,
        "moments": moments,
        "strips": strips,
        "figures": figures,
    }


def _strip(one: Drawn, moments: list[int]) -> dict[str, Any]:
    def row(name: str, pictures: np.ndarray) -> dict[str, Any]:
        files = [packed(pictures[moment], one.is_crisp) for moment in moments]
        return {
            "name": name,
            "pictures": [
                f"data:{kind};base64,{base64.b64encode(data).decode()}" for kind, data in files
            ],
        }

    height, width = one.real.shape[1:3]
    told = "orange: imagined, but not there · blue: there, but not imagined"
    return {
        "name": one.name,
        "crisp": one.is_crisp,
        "shape": [width, height],
        "told": f"difference — {told}" if one.signed else "difference — black where both agree",
        "rows": [
            row("real", one.real),
            row("imagined", one.imagined),
            row("difference", one.difference),
        ],
    }


def _trace(values: np.ndarray, name: str, color: str, first: int = 0, **more: Any) -> Any:
    mode = "lines+markers" if len(values) <= FEW else "lines"
    x = list(range(first, first + len(values)))
    found = line(x, plain_numbers(values), name, color, mode=mode, **more)
    if color == REAL:  # broad and pale: seen where the other one lies upon it, too
        return found | {"line": {"color": color, "width": 6}, "opacity": 0.4, "mode": "lines"}
    return found | {"marker": {"size": 5}}


def _layout(found: OpenLoop, **more: Any) -> dict[str, Any]:
    """With a mark where the seeing ends."""
    base = base_layout(showlegend=True)
    at = found.context - 0.5
    mark = {"type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1}
    stroke = {"color": "@muted", "width": 1.2, "dash": "dot"}
    base["shapes"] = [mark | {"line": stroke, "layer": "below"}]
    low, high = -0.02 * found.moments - 0.3, 1.02 * (found.moments - 1) + 0.3
    base["xaxis"] |= {"range": [low, high], "title": {"text": "moment", "standoff": 4}}
    if found.moments <= 12:
        base["xaxis"]["dtick"] = 1
    return base | more


def _label(text: str, **place: Any) -> dict[str, Any]:
    return {
        "text": text,
        "showarrow": False,
        "font": {"size": 11, "color": "@muted"},
        "borderpad": 2,
        **place,
    }


def _curves_figure(found: OpenLoop, curves: list[Curve]) -> dict[str, Any]:
    """One below the other, each with an axis of its own."""
    layout = _layout(found)
    axis, gap = layout.pop("yaxis"), 0.16
    each = 1 / len(curves)
    traces, labels = [], []
    for index, curve in enumerate(curves):
        name = "" if index == 0 else str(index + 1)
        top = 1 - index * each
        layout[f"yaxis{name}"] = axis | {"domain": [top - each * (1 - gap), top], "nticks": 4}
        more = {"yaxis": f"y{name}", "showlegend": index == 0}
        traces += [
            _trace(curve.real, "real", REAL, **more),
            _trace(curve.imagined, "imagined", IMAGINED, **more),
        ]
        place = {"xref": "paper", "yref": "paper", "x": 0, "y": top, "xanchor": "left"}
        labels.append(_label(f"<b>{html.escape(curve.name)}</b>", yanchor="bottom", **place))
    last = "" if len(curves) == 1 else str(len(curves))
    layout["xaxis"]["anchor"] = f"y{last}"
    layout["annotations"] = labels
    layout["legend"] = layout["legend"] | {"x": 1, "xanchor": "right"}
    layout["margin"] = layout["margin"] | {"t": 30}
    return {"data": traces, "layout": layout}


def _reward_figure(found: OpenLoop) -> dict[str, Any]:
    traces = [
        _trace(found.episode.rewards, "real", REAL, first=1),
        _trace(found.imagined.rewards[1:], "predicted", IMAGINED, first=1),
    ]
    layout = _layout(found)
    layout["yaxis"] = layout["yaxis"] | {"exponentformat": "e"}
    figure = {"data": traces, "layout": layout}
    return {"title": "Reward", "detail": "on arriving at each moment", "figure": figure}


def _error_figures(found: OpenLoop) -> list[dict[str, Any]]:
    again, imagined = found.errors(found.seen), found.errors(found.imagined)
    figures = []
    for name in [*found.entries][:MOST_ENTRIES]:
        choice = found.entries[name].kind == "choice"
        told = "share that is wrong" if choice else "root of the mean squared difference"
        traces = [
            _trace(again[name], "while seeing everything", AGAIN),
            _trace(imagined[name], "imagined", IMAGINED),
        ]
        layout = _layout(found)
        layout["yaxis"] = layout["yaxis"] | {"rangemode": "tozero"}
        title = "Error" if len(found.entries) == 1 else f"Error of {name}"
        figures.append(
            {"title": title, "detail": told, "figure": {"data": traces, "layout": layout}}
        )
    return figures


def _going_on_figure(found: OpenLoop) -> dict[str, Any]:
    real = np.ones(found.moments)
    real[-1] = 0.0 if found.episode.terminated else 1.0
    traces = [
        _trace(real, "real", REAL),
        _trace(found.imagined.goes_on, "predicted", IMAGINED),
    ]
    layout = _layout(found)
    layout["yaxis"] = layout["yaxis"] | {"range": [-0.05, 1.05]}
    return {
        "title": "Chance to go on",
        "detail": "0 where the task ends; times the discount",
        "figure": {"data": traces, "layout": layout},
    }
