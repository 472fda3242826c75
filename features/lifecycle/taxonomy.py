"""Stage schemes as data: ordered rules over features, each with the sentence that says why a customer stands there.

A scheme (taxonomy) is a list of stages; a customer is in the first stage whose rule holds, and the last stage has
no rule. Six schemes come with holdfast (`stages.toml` beside this file) and stand side by side: a customer has one
stage in each. A shop edits a copy, `stages.toml` beside its holdfast.toml; what it leaves out is not there. A
scheme whose tables the shop does not keep is not applied, and says which table it needs.

Each stage carries its card: what the stage is for, by which figure it is judged, what may be done, and by whom.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.catalogue import Unit, show
from features.errors import BadConfiguration, MissingInput
from features.history import Floats
from features.lifecycle.expression import Expression, parse
from features.lifecycle.measures import known, unit_of
from features.windows import Windows

PACKAGED = Path(__file__).with_name("stages.toml")
LANGUAGES = ("en", "zh-CN")
CONSTANTS = ("H", "A", "drop", "mid_value", "high_value")

Texts = Mapping[str, str]


@dataclass(frozen=True)
class Stage:
    """One stage and its card. `place` is its place in life (1 first); `when` is None for the stage of all who are left.
    `outside` marks what the scheme's source has no name for, such as those lost in a scheme of the living."""

    name: str
    place: int
    label: Texts
    because: Texts
    when: Expression | None
    goal: Texts
    kpi: Texts
    actions: tuple[str, ...]
    owner: str
    outside: bool = False


@dataclass(frozen=True)
class Taxonomy:
    """One scheme. `stages` stand in the order of their rules; `needs` are tables without which it is not applied."""

    name: str
    source: str
    title: Texts
    needs: tuple[str, ...]
    stages: tuple[Stage, ...]

    @property
    def in_life(self) -> tuple[Stage, ...]:
        """The stages in their order in life."""
        return tuple(sorted(self.stages, key=lambda stage: stage.place))

    def lacks(self, tables: Iterable[str]) -> tuple[str, ...]:
        """The tables it needs that the shop does not have."""
        return tuple(name for name in self.needs if name not in set(tables))

    def assign(self, columns: Mapping[str, Any], rows: int) -> NDArray[np.int8]:
        """Each row's stage as its place in `stages`: int8 (rows,)."""
        code = np.full(rows, len(self.stages) - 1, np.int8)
        free = np.ones(rows, bool)
        for number, stage in enumerate(self.stages):
            if stage.when is not None:
                here = free & stage.when.holds(columns, rows)
                code[here] = number
                free &= ~here
        return code

    def names(self, code: NDArray[np.int8]) -> NDArray[np.object_]:
        """Codes as stage names."""
        return np.array([stage.name for stage in self.stages], object)[code]


@dataclass(frozen=True)
class Schemes:
    """Everything `stages.toml` says. `measures` are named expressions, each of which may use those before it; `value`
    names the column whose quantiles `mid` and `high` cut the value tiers."""

    path: Path
    value: str
    mid: float
    high: float
    measures: Mapping[str, Expression]
    taxonomies: tuple[Taxonomy, ...]

    def __getitem__(self, name: str) -> Taxonomy:
        for taxonomy in self.taxonomies:
            if taxonomy.name == name:
                return taxonomy
        raise BadConfiguration(
            f"no stage scheme is called {name!r}",
            where=str(self.path),
            allowed=", ".join(taxonomy.name for taxonomy in self.taxonomies),
        )

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Every feature and measure of the lifecycle that the rules, measures and sentences read, in order of name."""
        rules = [stage.when for taxonomy in self.taxonomies for stage in taxonomy.stages if stage.when is not None]
        read = {self.value}.union(*(one.names for one in (*rules, *self.measures.values())))
        for taxonomy in self.taxonomies:
            for stage in taxonomy.stages:
                read |= {name for text in stage.because.values() for name in _fields(text)}
        return tuple(sorted(read - set(self.measures) - set(CONSTANTS)))

    def complete(
        self, columns: Mapping[str, NDArray[Any]], windows: Windows, tiers: tuple[float, float]
    ) -> dict[str, Any]:
        """The columns with constants and the file's own measures added. `tiers` are the values from which a customer is
        of mid and of high value."""
        constants = (windows.horizon, windows.active, windows.drop, *tiers)
        full: dict[str, Any] = {**columns, **dict(zip(CONSTANTS, map(np.float64, constants), strict=True))}
        rows = len(columns[self.value])
        for name, expression in self.measures.items():
            full[name] = expression.number(full, rows)
        return full

    def edges(self, value: Floats) -> tuple[float, float]:
        """From which value on a customer is of mid and of high value: quantiles among those with any value at all.
        Infinite where nobody has."""
        some = value[value > 0]
        if not len(some):
            return np.inf, np.inf
        mid, high = np.quantile(some, [self.mid, self.high])
        return float(mid), float(high)

    def say(self, stage: Stage, columns: Mapping[str, Any], row: int, language: str, currency: str = "") -> str:
        """The sentence that says why the customer of a row is in the stage, with its figures."""
        text, told = stage.because[language], {}
        for name in _fields(text):
            value = columns[name] if name in CONSTANTS else columns[name][row]
            told[name] = show(float(value), self._unit(name), language, currency)
        return text.format(**told)

    def _unit(self, name: str) -> Unit:
        """A sum or difference of one unit has that unit; anything else a rule works out is a bare ratio."""
        if name in CONSTANTS:
            return "days" if name in ("H", "A") else "ratio"
        if name not in self.measures:
            return unit_of(name)
        units = {self._unit(part) for part in self.measures[name].names}
        return units.pop() if len(units) == 1 and self.measures[name].adds else "ratio"


def _fields(text: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]


# -- reading the file --------------------------------------------------------------------------------------------------


def load(path: Path | None = None) -> Schemes:
    """Read stage schemes; the packaged ones without a path.

    Raises MissingInput where the file is not there and BadConfiguration for anything it may not say.
    """
    path = PACKAGED if path is None else path
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingInput("there is no file of stage schemes", where=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfiguration("the stage schemes are not TOML", where=str(path), got=str(error)) from None
    try:
        schemes = _schemes(said, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise BadConfiguration(
            "the stage schemes lack something", where=str(path), got=str(error), do=f"compare with {PACKAGED}"
        ) from None
    _check_names(schemes)
    return schemes


def beside(folder: Path) -> Schemes:
    """The shop's own `stages.toml` in this folder, else the packaged schemes."""
    own = folder / "stages.toml"
    return load(own if own.exists() else None)


def _schemes(said: Mapping[str, Any], path: Path) -> Schemes:
    value = said["value"]
    if not 0 < value["mid"] < value["high"] < 1:
        raise BadConfiguration(
            "the value tiers are not in order", where=f"{path} [value]", allowed="0 < mid < high < 1", got=str(value)
        )
    measures = {name: parse(text, f"{path} [measures] {name}") for name, text in said.get("measures", {}).items()}
    taxonomies = tuple(_taxonomy(name, one, path) for name, one in said["taxonomies"].items())
    return Schemes(path, value["by"], value["mid"], value["high"], measures, taxonomies)


def _taxonomy(name: str, said: Mapping[str, Any], path: Path) -> Taxonomy:
    where = f"{path} [taxonomies.{name}]"
    stages = tuple(_stage(one, place + 1, where) for place, one in enumerate(said["stages"]))
    if not stages or stages[-1].when is not None or any(stage.when is None for stage in stages[:-1]):
        raise BadConfiguration(
            "the last stage, and only the last, has no rule", where=where, do="leave `when` out of the last stage"
        )
    if len({stage.name for stage in stages}) < len(stages):
        raise BadConfiguration("two stages have one name", where=where)
    return Taxonomy(name, said["source"], _texts(said["title"], where), tuple(said.get("needs", ())), stages)


def _stage(said: Mapping[str, Any], place: int, where: str) -> Stage:
    where = f"{where} {said['name']}"
    return Stage(
        name=said["name"],
        place=said.get("place", place),
        label=_texts(said["label"], where),
        because=_texts(said["because"], where),
        when=parse(said["when"], where) if "when" in said else None,
        goal=_texts(said["goal"], where),
        kpi=_texts(said["kpi"], where),
        actions=tuple(said["actions"]),
        owner=said["owner"],
        outside=said.get("outside", False),
    )


def _texts(said: Mapping[str, str], where: str) -> Texts:
    missing = [language for language in LANGUAGES if not said.get(language)]
    if missing:
        raise BadConfiguration(
            "a text is missing in a language", where=where, got=f"no {', '.join(missing)}: {dict(said)}"
        )
    return {language: said[language] for language in LANGUAGES}


def _check_names(schemes: Schemes) -> None:
    """Every name that is read exists, so that a slip is told at reading and not at midnight."""
    earlier: list[str] = []
    for name, expression in schemes.measures.items():
        _refuse_unknown(expression.names - set(earlier), expression.where)
        earlier.append(name)
    for taxonomy in schemes.taxonomies:
        for stage in taxonomy.stages:
            read = set(stage.when.names if stage.when else ()) | {n for t in stage.because.values() for n in _fields(t)}
            _refuse_unknown(read - set(earlier), f"{schemes.path} [taxonomies.{taxonomy.name}] {stage.name}")
    _refuse_unknown({schemes.value}, f"{schemes.path} [value]")


def _refuse_unknown(names: Iterable[str], where: str) -> None:
    for name in sorted(set(names) - set(CONSTANTS)):
        if not known(name):
            raise BadConfiguration(
                f"no feature or measure is called {name!r}", where=where, do="docs/features.md lists every feature"
            )


def shares(taxonomy: Taxonomy, code: NDArray[np.int8]) -> Sequence[tuple[Stage, int, float]]:
    """Stage, customers and share of all, in the order of life."""
    counts = np.bincount(code, minlength=len(taxonomy.stages))
    order = {stage.name: number for number, stage in enumerate(taxonomy.stages)}
    total = max(int(counts.sum()), 1)
    return [(s, int(counts[order[s.name]]), float(counts[order[s.name]] / total)) for s in taxonomy.in_life]
