"""A few rows as a whole shop: written as files, named in a holdfast.toml and ingested, as a user would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from features import config, ingest
from features.config import Config
from features.store import HistoryStore

Rows = Sequence[Mapping[str, Any]] | pd.DataFrame


def shop(folder: Path, tables: Mapping[str, Rows], **sections: Mapping[str, Any]) -> tuple[Config, HistoryStore]:
    """Tables by name as rows; sections of the settings by name, `windows={"horizon": 10, "active": 20}`."""
    said: dict[str, Any] = {"shop": {"name": "Little shop", "currency": "EUR"}, "tables": {}, **sections}
    for name, rows in tables.items():
        frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
        frame.to_csv(folder / f"{name}.csv", index=False)
        said["tables"][name] = {"path": f"{name}.csv"}
    path = folder / "holdfast.toml"
    path.write_text("\n".join(_toml(said)), encoding="utf-8")
    chosen = config.load(path)
    ingest.ingest(chosen)
    return chosen, HistoryStore(chosen.var / "history")


def _toml(said: Mapping[str, Any], prefix: str = "") -> list[str]:
    plain = {key: value for key, value in said.items() if not isinstance(value, Mapping)}
    lines = [f"[{prefix}]"] if prefix and plain else []
    lines += [f"{key} = {_value(value)}" for key, value in plain.items()]
    for key, value in said.items():
        if isinstance(value, Mapping):
            lines += _toml(value, f"{prefix}.{key}" if prefix else key)
    return lines


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def buys(customer_id: str, *days: str, amount: float = 10.0, **more: Any) -> list[dict[str, Any]]:
    """A purchase line on each of these days."""
    return [{"customer_id": customer_id, "at": day, "amount": amount, **more} for day in days]
