"""Random shops with every table, small enough for a test: for laws that must hold whatever a shop sells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features import config
from features.block import Block
from features.config import Config
from features.store import HistoryStore

FIRST = pd.Timestamp("2020-01-01")


def tables(seed: int, lines: int = 120, customers: int = 12, days: int = 60) -> dict[str, pd.DataFrame]:
    """Every table of the contract, with gaps, ties, returns, zero amounts and guests."""
    g = np.random.default_rng(seed)

    def at(n: int) -> pd.Series:
        return pd.Series(FIRST + pd.to_timedelta(g.integers(0, days * 86_400, n), unit="s")).astype("datetime64[us]")

    def pick(n: int, *words: Any) -> np.ndarray:
        return np.array([words[i] for i in g.integers(0, len(words), n)], dtype=object)

    def who(n: int) -> np.ndarray:
        return pick(n, *(f"{i:03d}" for i in range(customers)))

    def later(start: pd.Series, known: float) -> pd.Series:
        waited = pd.to_timedelta(g.integers(0, 9, len(start)), unit="D")
        return (start + waited).where(g.random(len(start)) < known)

    few, start = max(lines // 5, 1), at(lines)
    amount = np.round(g.choice([5.0, 7.5, 20.25, 0.0, -3.1], lines), 2)
    found = {
        "purchases": pd.DataFrame(
            {
                "customer_id": pick(lines, *who(customers), None),
                "at": start,
                "amount": amount,
                "quantity": g.choice([1.0, 2.5, np.nan], lines),
                "product_id": pick(lines, "p1", "p2", "p3", None),
                "category": pick(lines, "a", "b", None),
                "order_id": pick(lines, *(f"o{i}" for i in range(lines // 2)), None),
                "channel": pick(lines, "web", "shop", None),
                "store": pick(lines, "north", "south"),
                "discount": g.choice([0.5, np.nan], lines),
                "cost": g.choice([2.0, np.nan], lines),
                "promised_at": later(start, 0.8),
                "delivered_at": later(start, 0.8),
            }
        ),
        "returns": pd.DataFrame(
            {"customer_id": who(few), "at": at(few), "amount": 2.5, "reason": pick(few, "x", "y", None)}
        ),
        "events": pd.DataFrame(
            {
                "customer_id": who(lines),
                "at": at(lines),
                "kind": pick(lines, "visit", "view", "search", "cart", "checkout"),
                "category": pick(lines, "a", "b"),
                "session_id": pick(lines, "s1", "s2", "s3", None),
            }
        ),
        "costs": pd.DataFrame(
            {
                "customer_id": pick(few, *who(customers), None),
                "at": at(few),
                "amount": 1.5,
                "kind": pick(few, "service", "acquisition"),
                "channel": pick(few, "web", None),
            }
        ),
        "referrals": pd.DataFrame(
            {"customer_id": who(few), "at": at(few), "referred_id": [f"new{i}" for i in range(few)]}
        ),
        "attitudes": pd.DataFrame(
            {"customer_id": who(few), "at": at(few), "question": "q", "answer": pick(few, "1", "2")}
        ),
    }
    opened = at(few)
    found["complaints"] = pd.DataFrame(
        {
            "customer_id": who(few),
            "at": opened,
            "kind": pick(few, "price", "delivery", None),
            "answered_at": later(opened, 0.7),
            "resolved_at": later(opened, 0.5),
            "satisfied": pick(few, True, False, None),
        }
    )
    asked = at(few)
    found["surveys"] = pd.DataFrame(
        {
            "customer_id": who(few),
            "at": later(asked, 0.7),
            "invited_at": asked,
            "score": g.integers(0, 11, few),
            "kind": "nps",
        }
    )
    sent = at(few)
    found["campaigns"] = pd.DataFrame(
        {
            "customer_id": who(few),
            "at": sent,
            "campaign_id": pick(few, "c1", "c2"),
            "channel": "email",
            "cost": 0.05,
            "control": g.random(few) < 0.3,
            "opened_at": later(sent, 0.5),
            "redeemed_at": later(sent, 0.2),
        }
    )
    members = np.unique(who(customers))
    found["customers"] = pd.DataFrame(
        {
            "customer_id": members,
            "joined_at": at(len(members)).where(g.random(len(members)) < 0.5),
            "tier": pick(len(members), "gold", None),
            "points": g.integers(0, 9, len(members)),
        }
    )
    return found


def settings(folder: Path, frames: dict[str, pd.DataFrame], **sections: Any) -> Config:
    """The tables written as Parquet and the settings that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    named = {name: {"path": f"{name}.parquet"} for name in frames}
    return config.build({"tables": named, **sections}, folder / "holdfast.toml")


def plain(block: Block) -> dict[str, Any]:
    """Everything a block says, in a form that compares by value and type, bit for bit."""
    said: dict[str, Any] = {"customers": block.customers.tolist()}
    for name, table in block.tables.items():
        columns = {"who": table.who, "day": table.day, **table.measures}
        said[name] = {key: (str(values.dtype), values.tobytes()) for key, values in columns.items()}
        said[name] |= {key: (words.code.tobytes(), words.words.tolist()) for key, words in table.words.items()}
        said[name]["since"] = table.since
    return said


def all_said(store: HistoryStore, as_of: int | None = None) -> list[Any]:
    """Every block, the market and the shared costs."""
    market = store.daily(as_of)
    shared = store.shared_costs(as_of).to_pydict()
    days = [getattr(market, name).tolist() for name in ("day", "visits", "firsts", "spend")]
    return [*map(plain, store.blocks(as_of=as_of)), days, shared]
