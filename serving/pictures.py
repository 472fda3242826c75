"""Small pictures as SVG: text stays text, so that Chinese can be read, searched and printed; nothing is random.

Three kinds are enough for a report: lines (with their interval as a band), bars, and a grid of shaded cells.
Colours carry no meaning that the words beside them do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
INK, GREY, GRID = "#1c2733", "#5d6b78", "#d9dfe4"
COLOURS = ("#1f6f8b", "#c8553d", "#5a8f3c", "#8a5fa8", "#b8862b", "#46627f")
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 640, 64, 16, 14, 40


@dataclass(frozen=True)
class Series:
    """One line: its name, values, and the interval where it has one."""

    name: str
    values: Floats
    low: Floats | None = None
    high: Floats | None = None


def lines(
    x: Sequence[float] | Floats,
    series: Sequence[Series],
    *,
    x_name: str,
    y_name: str,
    show_x: Callable[[float], str] = "{:g}".format,
    show_y: Callable[[float], str] = "{:g}".format,
    height: int = 260,
    from_zero: bool = True,
) -> str:
    """Lines over x. Absent values break a line; a picture without any value says so."""
    xs = np.asarray(x, float)
    every = np.concatenate([np.ravel(v) for s in series for v in (s.values, s.low, s.high) if v is not None])
    every = every[np.isfinite(every)]
    if not len(every) or not len(xs):
        return _frame(height, f'<text x="{WIDTH / 2}" y="{height / 2}" text-anchor="middle" class="g">—</text>', y_name)
    low, high = min(every.min(), 0.0 if from_zero else every.min()), every.max()
    ticks = nice(low, high if high > low else low + 1)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    place = _Place(xs, low, high, height)
    body = [_axis(place, ticks, xs, show_x=show_x, show_y=show_y, x_name=x_name)]
    for colour, one in zip(_cycle(len(series)), series, strict=True):
        if one.low is not None and one.high is not None:
            body.append(_band(place, xs, one, colour))
        body.append(_line(place, xs, one.values, colour))
    body.append(_legend(series) if len(series) > 1 else "")
    return _frame(height, "".join(body), y_name)


def bars(names: Sequence[str], values: Floats, *, y_name: str, show: Callable[[float], str] = "{:,.0f}".format) -> str:
    """Bars lying down, one a name, with the value at the end; absent values are a dash."""
    row, label = 24, min(220, 20 + max((_breadth(name) for name in names), default=0) * 7)
    height = TOP + row * len(names) + 8
    known = values[np.isfinite(values)]
    most, least = max(float(known.max(initial=0.0)), 0.0), min(float(known.min(initial=0.0)), 0.0)
    unit = (WIDTH - label - 110) / ((most - least) or 1.0)
    zero = label - least * unit
    body = []
    for k, (name, value) in enumerate(zip(names, values, strict=True)):
        y = TOP + row * k
        body.append(f'<text x="{label - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        if not np.isfinite(value):
            body.append(f'<text x="{zero + 4:.1f}" y="{y + 15}" class="g">—</text>')
            continue
        start, length = zero + min(value, 0) * unit, abs(value) * unit
        body.append(f'<rect x="{start:.1f}" y="{y + 4}" width="{length:.1f}" height="15" fill="{COLOURS[0]}"/>')
        body.append(f'<text x="{start + length + 5:.1f}" y="{y + 15}" class="g">{escape(show(float(value)))}</text>')
    return _frame(height, "".join(body), y_name)


def grid(rows: Sequence[str], columns: Sequence[str], values: Floats, *, y_name: str, most: float | None = None) -> str:
    """Shaded cells with their share written in, (rows, columns); absent cells stay empty."""
    cell_h, label = 21, min(170, 20 + max((_breadth(name) for name in rows), default=0) * 7)
    cell_w = min(64.0, (WIDTH - label - 8) / max(len(columns), 1))
    height = TOP + 20 + cell_h * len(rows) + 6
    top = most or float(np.nanmax(values, initial=0.0)) or 1.0
    body = [
        f'<text x="{label + cell_w * (k + 0.5):.1f}" y="{TOP + 12}" text-anchor="middle" class="g">'
        f"{escape(name)}</text>"
        for k, name in enumerate(columns)
    ]
    for r, name in enumerate(rows):
        y = TOP + 20 + cell_h * r
        body.append(f'<text x="{label - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        for c in range(len(columns)):
            if np.isfinite(values[r, c]):
                box = (label + cell_w * c, float(y), cell_w, float(cell_h))
                body.append(_cell(box, float(values[r, c]), top))
    return _frame(height, "".join(body), y_name)


def _cell(box: tuple[float, float, float, float], value: float, top: float) -> str:
    x, y, w, h = box
    depth = min(max(value / top, 0.0), 1.0)
    ink = "#ffffff" if depth > 0.6 else INK
    text = f"{value:.0%}" if w > 30 else f"{100 * value:.0f}"
    return (
        f'<rect x="{x:.1f}" y="{y:g}" width="{w - 1:.1f}" height="{h - 1:g}" fill="{COLOURS[0]}" '
        f'fill-opacity="{0.04 + 0.96 * depth:.3f}"/>'
        f'<text x="{x + w / 2:.1f}" y="{y + 14:g}" text-anchor="middle" fill="{ink}" class="s">{text}</text>'
    )


def nice(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that cover a span: nice(0, 7.3) is 0, 2, 4, 6, 8."""
    raw = (high - low) / about
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(next(m for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999) * power)
    first = int(np.floor(low / step + 1e-9))
    last = int(np.ceil(high / step - 1e-9))
    return [round(step * k, 10) for k in range(first, last + 1)]


@dataclass(frozen=True)
class _Place:
    """From values to pixels."""

    x: Floats
    low: float
    high: float
    height: int

    def at(self, x: float, y: float) -> tuple[float, float]:
        span = float(self.x.max() - self.x.min()) or 1.0
        across = LEFT + (x - float(self.x.min())) / span * (WIDTH - LEFT - RIGHT)
        down = TOP + (self.high - y) / ((self.high - self.low) or 1.0) * (self.height - TOP - BOTTOM)
        return across, down


def _axis(
    place: _Place,
    ticks: Sequence[float],
    xs: Floats,
    *,
    show_x: Callable[[float], str],
    show_y: Callable[[float], str],
    x_name: str,
) -> str:
    body = []
    for tick in ticks:
        _, y = place.at(float(xs[0]), tick)
        body.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>')
        body.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" class="g">{escape(show_y(tick))}</text>')
    for k in sorted({round(j) for j in np.linspace(0, len(xs) - 1, min(6, len(xs)))}):
        x, _ = place.at(float(xs[k]), place.low)
        label = escape(show_x(float(xs[k])))
        body.append(f'<text x="{x:.1f}" y="{place.height - 22}" text-anchor="middle" class="g">{label}</text>')
    body.append(f'<text x="{WIDTH - RIGHT}" y="{place.height - 6}" text-anchor="end" class="g">{escape(x_name)}</text>')
    return "".join(body)


def _line(place: _Place, xs: Floats, values: Floats, colour: str) -> str:
    pieces, open_ = [], False
    for x, y in zip(xs, values, strict=True):
        if not np.isfinite(y):
            open_ = False
            continue
        a, b = place.at(float(x), float(y))
        pieces.append(f"{'L' if open_ else 'M'}{a:.1f} {b:.1f}")
        open_ = True
    return f'<path d="{" ".join(pieces)}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _band(place: _Place, xs: Floats, one: Series, colour: str) -> str:
    assert one.low is not None and one.high is not None  # noqa: PT018  the caller asked
    known = np.isfinite(one.low) & np.isfinite(one.high)
    upper = [place.at(float(x), float(y)) for x, y in zip(xs[known], one.high[known], strict=True)]
    lower = [place.at(float(x), float(y)) for x, y in zip(xs[known], one.low[known], strict=True)][::-1]
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in upper + lower)
    return f'<polygon points="{points}" fill="{colour}" fill-opacity="0.16"/>'


def _legend(series: Sequence[Series]) -> str:
    body, x = [], float(LEFT)
    for colour, one in zip(_cycle(len(series)), series, strict=True):
        body.append(f'<rect x="{x:.0f}" y="2" width="10" height="10" fill="{colour}"/>')
        body.append(f'<text x="{x + 14:.0f}" y="11">{escape(one.name)}</text>')
        x += 28 + 7 * _breadth(one.name)
    return "".join(body)


def _cycle(n: int) -> list[str]:
    return [COLOURS[k % len(COLOURS)] for k in range(n)]


def _breadth(text: str) -> int:
    """Columns a text takes: a Chinese character takes two."""
    return sum(2 if ord(char) > 0x2E80 else 1 for char in text)


def _frame(height: int, body: str, name: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="{escape(name)}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(name)}</title><style>text{{font:12px system-ui,'
        f'"Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif;fill:{INK}}}text.g{{fill:{GREY}}}'
        f"text.s{{font-size:11px}}</style>{body}</svg>"
    )
