"""The pictures of a run: whether probabilities are right, whom the top of the list catches, whether the level holds.

SVG with text as text, so that a picture stays small, can be searched and shows Chinese in whatever font the reader has.
The same numbers give the same bytes: ids inside the file come from a fixed salt and no date is written. Every picture
is drawn from a table that is logged beside it; nothing is computed here.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from features.windows import to_date

INK, BLUE, ORANGE, GREY = "#1b1f24", "#1f5fa8", "#c2570c", "#8b929a"
SHADES = (BLUE, ORANGE, "#3b7d4f", "#7b4fa3", "#a08a1a", GREY)
STYLE: Mapping[str, object] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "holdfast",  # the same ids in the same picture
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "axes.unicode_minus": False,
}

logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)


def _drawn(draw: Callable[[Axes], None], size: tuple[float, float] = (6.4, 4.0)) -> str:
    """One set of axes, drawn and written as SVG."""
    with mpl.rc_context(dict(STYLE)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # here; the reader's font will have it
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "holdfast"})
    return out.getvalue()


def reliability(deciles: pd.DataFrame, title: str = "Reliability") -> str:
    """Predicted against realised churn by decile with 90 % intervals; `deciles` as metrics.calibration gives it."""

    def draw(axes: Axes) -> None:
        x, y = deciles["predicted"].to_numpy(), deciles["churned"].to_numpy()
        spread = np.abs(np.stack([y - deciles["lower"], deciles["upper"] - y]))
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        axes.errorbar(x, y, yerr=spread, fmt="o", markersize=4, color=BLUE, elinewidth=1)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted churn", ylabel="churned", title=title)

    return _drawn(draw, (4.8, 4.6))


def gain(curves: Mapping[str, pd.DataFrame], title: str = "Cumulative gain") -> str:
    """Share of the churned caught by the top of the list, a line for each forecaster (metrics.gain_curve)."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="chance")
        for colour, (name, curve) in zip(_colours(), curves.items(), strict=False):
            axes.plot(curve["share"], curve["caught"], color=colour, linewidth=1.5, label=name)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="share of customers, highest risk first", title=title)
        axes.set_ylabel("share of churned")
        axes.legend(loc="lower right", fontsize=9)

    return _drawn(draw, (5.2, 4.6))


def spend_by_decile(deciles: pd.DataFrame, unit: str, title: str = "Spend by decile") -> str:
    """Expected beside realised spend per customer, deciles by expected spend."""

    def draw(axes: Axes) -> None:
        at = np.arange(len(deciles))
        axes.bar(at - 0.2, deciles["expected_spend"], 0.4, color=BLUE, label="expected")
        axes.bar(at + 0.2, deciles["spend"], 0.4, color=ORANGE, label="realised")
        axes.set_xticks(at, [str(group) for group in deciles["group"]])
        axes.set(xlabel="decile of expected spend", ylabel=f"{unit} per customer", title=title)
        axes.legend(loc="upper left", fontsize=9)

    return _drawn(draw)


def level(table: pd.DataFrame, title: str = "Level over time") -> str:
    """Predicted over realised churn rate and spend by cutoff; lines (cutoff, metric, value, lower, upper)."""

    def draw(axes: Axes) -> None:
        axes.axhline(1.0, color=GREY, linewidth=1, linestyle="--")
        for shift, (colour, name, metric) in enumerate(((BLUE, "churn", "level"), (ORANGE, "spend", "total"))):
            part = table[table["metric"] == metric].reset_index(drop=True)
            _with_bars(axes, part, colour, name, shift * 0.12)
        names = [to_date(cutoff).isoformat() for cutoff in table["cutoff"].drop_duplicates()]
        axes.set_xticks(np.arange(len(names)), names, rotation=30 if len(names) > 4 else 0)
        axes.set(ylabel="predicted / realised", title=title)
        axes.legend(loc="best", fontsize=9)

    return _drawn(draw)


def _with_bars(axes: Axes, part: pd.DataFrame, colour: str, name: str, shift: float) -> None:
    at = np.arange(len(part)) + shift
    spread = np.abs(np.stack([part["value"] - part["lower"], part["upper"] - part["value"]]))
    axes.errorbar(at, part["value"], yerr=spread, fmt="o-", markersize=4, linewidth=1, color=colour, label=name)


def coverage(deciles: pd.DataFrame, aim: float = 0.9, title: str = "Coverage of the 90 % interval") -> str:
    """Share of customers inside their interval, by decile of expected spend."""

    def draw(axes: Axes) -> None:
        at = np.arange(len(deciles))
        axes.axhline(aim, color=GREY, linewidth=1, linestyle="--")
        axes.bar(at, deciles["coverage"], 0.6, color=BLUE)
        axes.set_xticks(at, [str(group) for group in deciles["group"]])
        axes.set(ylim=(0, 1), xlabel="decile of expected spend", ylabel="share inside", title=title)

    return _drawn(draw)


def bars(names: list[str], values: list[float], xlabel: str, title: str) -> str:
    """Named bars, the longest on top: contributions of feature families, drift by feature."""

    def draw(axes: Axes) -> None:
        order = np.argsort(values, kind="stable")
        axes.barh([names[i] for i in order], [values[i] for i in order], color=BLUE)
        axes.set(xlabel=xlabel, title=title)

    return _drawn(draw, (6.4, 1.2 + 0.26 * len(names)))


def _colours() -> Iterator[str]:
    while True:
        yield from SHADES
