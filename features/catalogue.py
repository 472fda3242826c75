"""The catalogue: every feature is one decorated pure function, and everything there is to know about it stands there.

The function's name is the feature's name, its docstring its documentation, the file it stands in its family. The
decorator says what a computer cannot read from the code: the unit, when it is absent and why, the clause a list prints,
which tables it needs, and whose rows it may depend on. `docs/features.md` is generated from this; the laws of
`features.laws` hold for whatever is in here, so a new feature is covered without writing a test.

A shop's own features live in its own files (`[features] modules`) in the same form.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from features.absence import NEVER, Absence, undeclared
from features.errors import BadConfiguration, HoldfastError, UsageError
from features.history import Bools, History
from features.windows import Windows

Scope = Literal["own", "population", "season"]
Unit = Literal["days", "money", "money a day", "count", "count a day", "share", "share a day", "ratio", "score", "flag"]

FAMILIES = ("rhythm", "money", "basket", "service", "response", "browsing", "life", "market", "neighbours", "process")
COSTS = Path(__file__).with_name("costs.json")


@dataclass(frozen=True)
class Span:
    """A window that scales with the horizon: `times` H, at least a day. `suffix` ends the names of its features."""

    suffix: str
    times: float

    def days(self, horizon: int) -> int:
        return max(1, round(self.times * horizon))


EIGHTH, QUARTER, HALF = Span("eighth_h", 1 / 8), Span("quarter_h", 1 / 4), Span("half_h", 1 / 2)
ONE, TWO, FOUR = Span("1h", 1), Span("2h", 2), Span("4h", 4)


@dataclass(frozen=True)
class Feature:
    """One column of a snapshot. Calling it with a History gives a float64 per row, NaN where it is absent.

    `absent` says when it is NaN and why; while one of its `tables` is not kept or has no record yet, it is absent
    besides. `phrase` is a clause per language with a {value} and, where the feature looks at a window that scales with
    the horizon, {days}. `scope`: "own" depends on this customer's rows alone, "population" also on frozen tables of
    everybody known at the cutoff, "season" also on the calendar.
    """

    name: str
    family: str
    unit: Unit
    absent: Absence
    phrase: Mapping[str, str]
    tables: tuple[str, ...]
    scope: Scope
    doc: str
    function: Callable[..., Any]
    span: Span | None = None

    @property
    def absence(self) -> str:
        """When and why it is NaN, in words."""
        kept = [f"no {table.replace('_', ' ')} on record yet" for table in self.tables if table != "purchases"]
        return "; ".join([*kept, *([] if kept and self.absent is NEVER else [self.absent.text])])

    def is_absent(self, h: History) -> Bools:
        """Where it is NaN, by its own declaration."""
        rule = self.absent.rule(h, self.span.days(h.H) if self.span else h.H)
        unrecorded = [np.isnan(h.recorded_days(table)) for table in self.tables]
        absent: Bools = np.logical_or.reduce([rule, *unrecorded])
        return absent

    def __call__(self, h: History) -> NDArray[np.float64]:
        got = self.function(h) if self.span is None else self.function(h, self.span.days(h.H))
        values = np.asarray(got, np.float64)
        if values.shape != (len(h),):
            raise UsageError(
                f"the feature {self.name} must answer one number per row",
                where=f"{self.function.__module__}.{self.function.__name__}",
                allowed=f"an array of {len(h)}",
                got=f"shape {values.shape}",
            )
        for table in self.tables:
            values = h.recorded(values, table)
        return values

    def say(self, value: float, language: str, windows: Windows, currency: str = "") -> str:
        """The clause a list prints for a value: "3 purchase days in the last 46 days"."""
        days = self.span.days(windows.horizon) if self.span else windows.horizon
        return self.phrase[language].format(value=self.show(value, language, currency), days=days)

    def show(self, value: float, language: str = "en", currency: str = "") -> str:
        """A value in its unit: whole days and counts, money with two digits, shares as percentages."""
        return show(value, self.unit, language, currency)


def show(value: float, unit: Unit, language: str = "en", currency: str = "") -> str:
    """A value in a unit, as a list prints it; a dash where it is absent."""
    if np.isnan(value):
        return "—"
    if unit == "flag":
        yes, no = ("yes", "no") if language == "en" else ("是", "否")
        return yes if value >= 0.5 else no
    text = _digits(value, unit)
    return f"{text} {currency}".rstrip() if unit.startswith("money") else text


def _digits(value: float, unit: Unit) -> str:
    if unit.endswith("a day"):  # rates and slopes are small: three digits that count
        return f"{value:.3g}"
    if unit == "share":
        return f"{value:.1%}" if abs(value) < 0.1 else f"{value:.0%}"
    if unit in ("days", "count"):
        return f"{value:,.0f}" if abs(value - round(value)) < 0.05 else f"{value:,.1f}"
    return f"{value:,.2f}"


CATALOGUE: dict[str, Feature] = {}
"""Every feature that has been defined, by name. `catalogue()` loads the families first."""


def feature(
    *,
    unit: Unit,
    absence: Absence | str,
    phrase: Mapping[str, str],
    tables: Sequence[str] = ("purchases",),
    scope: Scope = "own",
    over: Sequence[Span] = (),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function of a History into the catalogue under its own name.

    With `over` the function also takes a number of days and becomes one feature per span, the span's suffix ending the
    name. Raises BadConfiguration where something is left out or a name is taken.
    """

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        family = function.__module__.rpartition(".")[2]
        doc = " ".join((function.__doc__ or "").split())
        for span in over or (None,):
            name = function.__name__ if span is None else f"{function.__name__}_{span.suffix}"
            absent = absence if isinstance(absence, Absence) else Absence(absence, undeclared)
            made = Feature(name, family, unit, absent, dict(phrase), tuple(tables), scope, doc, function, span)
            _refuse_incomplete(made)
            CATALOGUE[name] = made
        return function

    return enter


def _refuse_incomplete(made: Feature) -> None:
    where = f"{made.function.__module__}.{made.function.__name__}"
    if not made.doc or not made.absent.text:
        raise BadConfiguration("a feature needs a docstring and an absence", where=where)
    if made.unit not in get_args(Unit) or made.scope not in get_args(Scope):
        raise BadConfiguration(
            "a feature's unit or scope is unknown",
            where=where,
            allowed=f"units {', '.join(get_args(Unit))}; scopes {', '.join(get_args(Scope))}",
            got=f"{made.unit}, {made.scope}",
        )
    for language in ("en", "zh-CN"):
        if "{value}" not in made.phrase.get(language, ""):
            raise BadConfiguration(f"a feature's {language} phrase must hold {{value}}", where=where)
    taken = CATALOGUE.get(made.name)
    if taken is not None and taken.function.__module__ != made.function.__module__:
        raise BadConfiguration(
            f"two features are called {made.name}", where=where, got=f"taken by {taken.function.__module__}"
        )


@cache
def catalogue() -> Mapping[str, Feature]:
    """Every built-in feature by name, in the order of the families and of their files."""
    for family in FAMILIES:
        importlib.import_module(f"features.families.{family}")
    return {f.name: f for family in FAMILIES for f in CATALOGUE.values() if _module(f) == f"features.families.{family}"}


def _module(made: Feature) -> str:
    return made.function.__module__


def select(
    tables: Iterable[str], families: Sequence[str] = (), modules: Sequence[str | Path] = ()
) -> tuple[Feature, ...]:
    """The features whose tables the shop has, of some families (all by default), then those of the shop's own modules.

    Raises BadConfiguration for a family nobody knows and for a module that is not there or cannot be run.
    """
    present, own = set(tables), [made for path in modules for made in load(path)]
    known = (*FAMILIES, *dict.fromkeys(made.family for made in own))
    for family in families:
        if family not in known:
            raise BadConfiguration(
                f"no feature family is called {family!r}", where="[model] families", allowed=", ".join(known)
            )
    every = (*catalogue().values(), *own)
    return tuple(f for f in every if present.issuperset(f.tables) and (not families or f.family in families))


def named(names: Iterable[str], modules: Sequence[str | Path] = ()) -> tuple[Feature, ...]:
    """The features of these names, in their order. Raises UsageError for a name nobody knows."""
    known = {**catalogue(), **{made.name: made for path in modules for made in load(path)}}
    names = tuple(names)
    missing = [name for name in names if name not in known]
    if missing:
        raise UsageError("no such features", got=", ".join(missing), do="docs/features.md lists every feature")
    return tuple(known[name] for name in names)


def load(path: str | Path) -> tuple[Feature, ...]:
    """The features a shop's own file defines.

    Raises BadConfiguration where the file is not there, cannot be run, defines none, or takes a built-in name.
    """
    path = Path(path)
    catalogue()
    module = f"shop_{fingerprint(path)[:12]}.{path.stem}"
    made = _LOADED.get(module) or _run(module, path)
    if not made:
        raise BadConfiguration(
            "the feature module defines none", where=str(path), do="decorate a function with @feature"
        )
    _LOADED[module] = made
    return made


_LOADED: dict[str, tuple[Feature, ...]] = {}


def _run(name: str, path: Path) -> tuple[Feature, ...]:
    """Run a file as a module of its own and take what it entered out of the catalogue again."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadConfiguration("the feature module is not a Python file", where=str(path), do="name a .py file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except HoldfastError:
        raise
    except Exception as error:  # whatever a shop's own code raises is the shop's to mend
        got = f"{type(error).__name__}: {error}"
        raise BadConfiguration("the feature module cannot be run", where=str(path), got=got) from error
    finally:
        del sys.modules[name]  # its functions then travel to other processes by value
        made = tuple(f for f in CATALOGUE.values() if _module(f) == name)
        for entered in made:
            del CATALOGUE[entered.name]
    return made


def fingerprint(path: str | Path) -> str:
    """sha256 of a module's bytes: what the bundle keeps of it."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise BadConfiguration(
            "the feature module cannot be read", where="[features] modules", got=f"{path}: {error.strerror}"
        ) from error


# -- the page ----------------------------------------------------------------------------------------------------------

_INTRO = """# Features

{count} features in {families} families. Each is one function in `features/families/`; a name that ends in a span
(`eighth_h`, `quarter_h`, `half_h`, `1h`, `2h`, `4h`) looks at so many horizons H before the cutoff and is printed with
its {{days}}. A feature is absent (NaN, printed as —) as its row says, and while a table it needs is not kept or has no
record yet; it is never 0 for want of knowledge. *Scope*: `own` depends on the customer's own rows alone, `population`
also on frozen tables of everybody known at the cutoff, `season` also on the calendar. *µs* is the measured price of a
row on one core, in a run of the whole catalogue over 24 weekly cutoffs (`python benchmarks/features.py --costs`); what
features share is paid by the first that asks.
"""


def markdown() -> str:
    """docs/features.md: every feature with its unit, meaning, absence, phrases, tables, scope and price."""
    costs, every = json.loads(COSTS.read_text(encoding="utf-8")), catalogue()
    lines = [_INTRO.format(count=len(every), families=len(FAMILIES))]
    for family in FAMILIES:
        module = importlib.import_module(f"features.families.{family}")
        lines += [f"## {family}", "", (module.__doc__ or "").strip(), ""]
        lines += [
            "| feature | unit | what it is | absent | as printed | needs | scope | µs |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [_row(list(group), costs) for _, group in groupby(_of_family(family), lambda made: made.function)]
        lines.append("")
    return "\n".join(lines)


def _of_family(family: str) -> list[Feature]:
    return [made for made in catalogue().values() if made.family == family]


def _row(group: list[Feature], costs: Mapping[str, float]) -> str:
    """One line for the features of one function."""
    made = group[0]
    names = "<br>".join(f"`{f.name}`" for f in group)
    price = "<br>".join(f"{costs[f.name]:.3f}" if f.name in costs else "—" for f in group)
    needs = ", ".join(table for table in made.tables if table != "purchases") or "—"
    printed = f"{made.phrase['en']}<br>{made.phrase['zh-CN']}"
    return f"| {names} | {made.unit} | {made.doc} | {made.absence} | {printed} | {needs} | {made.scope} | {price} |"
