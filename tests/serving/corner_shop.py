"""A small shop made by hand for the tests of lists: its tables, its store, and a forecaster that is a formula."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features import config as settings
from features.config import Config
from features.ingest import ingest
from features.store import HistoryStore
from features.windows import Windows, to_day
from serving import facts, plainly, score
from serving.ledger import Ledger
from serving.publish import Published

FIRST = pd.Timestamp("2024-01-01")
DAYS = 640
AS_OF = to_day("2025-09-01")


def tables(customers: int = 400, seed: int = 11) -> dict[str, pd.DataFrame]:
    """Purchases by customers who come regularly and then stop, and what else the shop keeps."""
    rng = np.random.default_rng(seed)
    ids = [f"{i:05d}" for i in range(customers)]
    rows: list[tuple[str, pd.Timestamp, float, str]] = []
    for one in ids:
        start, gap = rng.integers(0, 500), rng.integers(8, 60)
        end = min(DAYS, start + rng.exponential(250) * (rng.uniform() > 0.3))
        days = np.unique(np.r_[start, np.arange(start, end, gap) + rng.integers(-3, 4)].clip(0, DAYS).astype(int))
        rows += [
            (one, FIRST + pd.Timedelta(days=int(day)), round(float(rng.lognormal(3.5, 0.5)), 2), f"c{rng.integers(5)}")
            for day in days
        ]
    purchases = pd.DataFrame(rows, columns=["customer_id", "at", "amount", "category"])
    some = rng.choice(ids, 60, replace=False)
    complaints = pd.DataFrame({"customer_id": some, "at": FIRST + pd.to_timedelta(rng.integers(300, 600, 60), "D")})
    complaints["kind"] = "service"
    complaints["resolved_at"] = complaints["at"].where(np.arange(60) % 3 > 0) + pd.Timedelta(days=9)
    surveys = pd.DataFrame(
        {"customer_id": rng.choice(ids, 150), "at": FIRST + pd.to_timedelta(rng.integers(300, 600, 150), "D")}
    )
    surveys["score"] = rng.integers(1, 6, 150)
    people = pd.DataFrame({"customer_id": ids, "region": rng.choice(["North", "South"], customers)})
    people["consent_email"], people["consent_phone"] = rng.uniform(size=(2, customers)) < 0.85
    people["consent_sms"], people["vip"] = rng.uniform(size=(2, customers)) < np.array([[0.5], [0.05]])
    return {"purchases": purchases, "complaints": complaints, "surveys": surveys, "customers": people}


@dataclass
class Formula:
    """A forecaster that is a formula of the facts: deterministic, quick, and good enough to make lists of."""

    windows: Windows
    skill: bool = True
    margin: float = 0.3
    asked: list[str] = field(default_factory=list)

    def forecast(self, store: HistoryStore, as_of: int, at: Any = "at risk") -> pd.DataFrame:
        people = facts.read(store, as_of, self.windows)
        here = people["silence"] < self.windows.active
        people = people[here if at == "at risk" else ~here].reset_index(drop=True)
        usual = people["usual_gap"].fillna(60.0)
        p = 1 / (1 + np.exp(-(people["silence"] / usual - 2.5))) * 0.9 + 0.04
        active = self.margin * people["revenue_while_active"]
        table = pd.DataFrame({"customer_id": people["customer_id"], "cutoff": as_of, "churn_probability": p})
        table["expected_spend"] = (1 - p) * active / self.margin
        table["spend_lower"], table["spend_upper"] = 0.0, 3 * table["expected_spend"]
        table["expected_margin"] = self.margin * table["expected_spend"]
        table["clv"], table["value_if_active"] = 4 * table["expected_margin"], active
        table["skill"] = self.skill
        return table.assign(return_probability=1 - p) if at == "lapsed" else table


@dataclass
class Shop:
    """A shop with its settings, its store and what publishes its lists."""

    config: Config
    store: HistoryStore

    def ledger(self) -> Ledger:
        return Ledger.open(self.config.database_url)

    def explain(self, customers: Sequence[str]) -> pd.DataFrame:
        blank = {c: np.nan if c.endswith(("value", "usual")) else "because" for c in plainly.REASON_COLUMNS}
        return pd.DataFrame(blank, index=pd.Index(list(customers), dtype=object))

    def score(
        self, as_of: int = AS_OF, *, skill: bool = True, bundle: str = "b-1", ledger: Ledger | None = None
    ) -> Published:
        with ledger or self.ledger() as book:
            oracle = Formula(self.config.span, skill)
            return score.publish_day(
                self.config, self.store, book, as_of, oracle=oracle, bundle=bundle, explain=self.explain
            )


def make_shop(folder: Path, said: dict[str, Any] | None = None, data: dict[str, pd.DataFrame] | None = None) -> Shop:
    """Write the tables, ingest them, and answer with the shop."""
    folder.mkdir(parents=True, exist_ok=True)
    data = tables() if data is None else data
    for name, table in data.items():
        table.to_parquet(folder / f"{name}.parquet")
    base: dict[str, Any] = {
        "shop": {"name": "Corner shop", "currency": "EUR"},
        "tables": {name: {"path": f"{name}.parquet"} for name in data},
        "windows": {"horizon": 60, "active": 120},
        "economics": {"contact_cost": 0.5},
        "serving": {"list_length": 40, "hold_out": 0.2},
    }
    for section, values in (said or {}).items():
        base[section] = base.get(section, {}) | values
    (folder / "holdfast.toml").write_text(toml(base), encoding="utf-8")
    config = settings.load(folder / "holdfast.toml")
    ingest(config)
    return Shop(config, HistoryStore(config.var / "history"))


def toml(said: dict[str, Any]) -> str:
    """Settings as TOML; JSON's values are TOML's."""
    lines = []
    for section, values in said.items():
        inner = {key: value for key, value in values.items() if isinstance(value, dict)}
        lines += [f"[{section}]", *(f"{k} = {json.dumps(v)}" for k, v in values.items() if k not in inner)]
        for name, table in inner.items():
            lines += [f"[{section}.{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items())]
    return "\n".join(lines) + "\n"


def copied(source: Path, target: Path) -> Shop:
    """A copy of a shop with everything it has written."""
    shutil.copytree(source, target, symlinks=True)
    config = settings.load(target / "holdfast.toml")
    return Shop(config, HistoryStore(config.var / "history"))
