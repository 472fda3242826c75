"""A small shop of purchases alone, made by a law that is written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from features import config as settings
from features import ingest
from features.config import Config

SETTINGS = """
[shop]
name = "Corner {name}"
[tables.purchases]
path = "purchases.parquet"
columns = {{ at = "ordered_at" }}
[windows]
horizon = 30
active = 90
[model]
threads = 1
trees = 20
snapshots = 3
rows = 1500
families = ["rhythm", "money"]
"""


def purchases(customers: int, seed: int, *, equal: bool = False, days: int = 400) -> pd.DataFrame:
    """Customers who buy at rates of their own and leave at hazards of their own; `equal`: all alike and for ever."""
    rng = np.random.default_rng(seed)
    rate = np.full(customers, 1 / 30) if equal else rng.gamma(0.8, 1 / 25, customers)
    leave = np.zeros(customers) if equal else rng.gamma(1.0, 1 / 250, customers)
    first = np.zeros(customers) if equal else rng.integers(0, days - 40, customers)
    last = np.minimum(first + rng.exponential(1 / np.maximum(leave, 1e-9)), days)
    rows = []
    for who in range(customers):
        gaps = rng.exponential(1 / max(rate[who], 1e-4), 1 + int(3 * rate[who] * days))
        moments = first[who] + np.concatenate([[0.0], np.cumsum(gaps)])
        rows += [(f"who-{who:04}", int(moment)) for moment in moments[moments < last[who]]]
    table = pd.DataFrame(rows, columns=["customer_id", "day"])
    table["ordered_at"] = pd.Timestamp("2023-01-01") + pd.to_timedelta(table.pop("day"), unit="D")
    return table.assign(amount=rng.gamma(4, 8, len(table)).round(2))


def open_shop(folder: Path, log: pd.DataFrame, name: str = "shop") -> Config:
    """A folder with a log and its settings, ingested."""
    folder.mkdir(parents=True, exist_ok=True)
    log.to_parquet(folder / "purchases.parquet")
    (folder / "holdfast.toml").write_text(SETTINGS.format(name=name), encoding="utf-8")
    opened = settings.load(folder / "holdfast.toml")
    ingest.ingest(opened)
    return opened
