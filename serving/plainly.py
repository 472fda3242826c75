"""Reasons in words that need no model: what the facts show to be unusual about a customer.

They stand where the churn model has nothing to say: for lapsed customers, whom it does not forecast, and on lists of a
bundle without skill, where it would be dishonest to explain a number that is the base rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from serving.words import suffix

Floats: TypeAlias = NDArray[Any]
LANGUAGES = ("en", "zh-CN")
PARTS = ("feature", "value", "usual", "direction")
REASON_COLUMNS = tuple(
    f"reason_{k}_{part}" for k in (1, 2, 3) for part in (*(suffix(language) for language in LANGUAGES), *PARTS)
)


@dataclass(frozen=True)
class Sign:
    """Something that may be unusual: how much it is (0 and below: not at all), its value, what is usual, the direction
    in which it drives the risk ("raises" or "lowers") and the clause per language."""

    severity: Callable[[pd.DataFrame], Floats]
    value: str
    usual: Callable[[pd.DataFrame], Floats]
    direction: str
    phrase: Mapping[str, str]


def _column(name: str) -> Callable[[pd.DataFrame], Floats]:
    return lambda people: people[name].to_numpy(float)


def _always(value: float) -> Callable[[pd.DataFrame], Floats]:
    return lambda people: np.full(len(people), value)


SIGNS: Mapping[str, Sign] = {
    "silence": Sign(
        lambda p: np.log(np.maximum(p["silence"].to_numpy(float), 1) / np.maximum(p["usual_gap"].to_numpy(float), 1)),
        "silence",
        _column("usual_gap"),
        "raises",
        {
            "en": "{value:.0f} days without a purchase, usually {usual:.0f}",
            "zh-CN": "{value:.0f}天未购买，通常间隔{usual:.0f}天",
        },
    ),
    "open_complaints": Sign(
        lambda p: 3.0 * (p["open_complaints"].to_numpy(float) > 0),
        "open_complaints",
        _always(0.0),
        "raises",
        {"en": "{value:.0f} complaint(s) open", "zh-CN": "{value:.0f}件投诉未解决"},
    ),
    "growth": Sign(
        lambda p: -np.log(np.maximum(p["growth"].to_numpy(float), 0.05)) / 2,
        "growth",
        _always(1.0),
        "raises",
        {"en": "spend at {value:.0%} of the same time before", "zh-CN": "消费为前一时段的{value:.0%}"},
    ),
    "satisfaction": Sign(
        lambda p: 4.0 * (0.5 - p["satisfaction_score"].to_numpy(float)),
        "satisfaction_score",
        _always(0.5),
        "raises",
        {"en": "satisfaction {value:.0%}", "zh-CN": "满意度{value:.0%}"},
    ),
    "returned_share": Sign(
        lambda p: 2.0 * p["returned_share"].to_numpy(float) - 0.3,
        "returned_share",
        _always(0.0),
        "raises",
        {"en": "{value:.0%} of the money sent back", "zh-CN": "退货占消费的{value:.0%}"},
    ),
    "discount_share": Sign(
        lambda p: 2.0 * p["discount_share"].to_numpy(float) - 0.3,
        "discount_share",
        _always(0.0),
        "raises",
        {"en": "{value:.0%} off on average", "zh-CN": "平均折扣{value:.0%}"},
    ),
    "times_lost": Sign(
        lambda p: 0.4 * (p["times_lost"].to_numpy(float) - (p["stage"] == "lapsed").to_numpy(float)),
        "times_lost",
        _always(0.0),
        "raises",
        {"en": "lost {value:.0f} time(s) so far", "zh-CN": "曾流失{value:.0f}次"},
    ),
    "purchase_days": Sign(
        lambda p: 0.35 * (p["purchase_days"].to_numpy(float) == 1),
        "purchase_days",
        _always(2.0),
        "raises",
        {"en": "bought once", "zh-CN": "只购买过一次"},
    ),
    "silence_alone": Sign(
        lambda p: np.where(np.isnan(p["usual_gap"].to_numpy(float)), 0.3, 0.0),
        "silence",
        _always(np.nan),
        "raises",
        {"en": "{value:.0f} days without a purchase, no usual gap yet", "zh-CN": "{value:.0f}天未购买，尚无通常间隔"},
    ),
    "frequent": Sign(
        lambda p: 0.02 * np.where(p["purchase_days"] >= 3, np.minimum(p["purchase_days"].to_numpy(float), 10), 0.0),
        "purchase_days",
        _always(1.0),
        "lowers",
        {"en": "has bought on {value:.0f} days", "zh-CN": "共在{value:.0f}天购买"},
    ),
}


def reasons(people: pd.DataFrame) -> pd.DataFrame:
    """The three most unusual signs of each customer, in the columns of REASON_COLUMNS, with the index of `people`;
    blank where fewer than three show."""
    names = list(SIGNS)
    with np.errstate(invalid="ignore", divide="ignore"):
        severity = (
            np.stack([SIGNS[name].severity(people) for name in names], axis=1)
            if len(people)
            else np.empty((0, len(names)))
        )
    severity = np.where(severity > 0, severity, -np.inf)
    order = np.argsort(-severity, axis=1, kind="stable")[:, :3]
    told: dict[str, list[object]] = {column: [] for column in REASON_COLUMNS}
    values = {name: (people[sign.value].to_numpy(float), sign.usual(people)) for name, sign in SIGNS.items()}
    for row in range(len(people)):
        for k in range(3):
            name = names[order[row, k]]
            there = np.isfinite(severity[row, order[row, k]])
            _tell(told, k + 1, name if there else None, *(float(v[row]) for v in values[name]))
    return pd.DataFrame(told, index=people.index).astype(
        {c: float if c.endswith(("value", "usual")) else object for c in REASON_COLUMNS}
    )


def _tell(told: dict[str, list[object]], k: int, name: str | None, value: float, usual: float) -> None:
    """One reason into its columns; blank without a name."""
    sign = None if name is None else SIGNS[name]
    for language in LANGUAGES:
        text = None if sign is None else sign.phrase[language].format(value=value, usual=usual)
        told[f"reason_{k}_{suffix(language)}"].append(text)
    told[f"reason_{k}_feature"].append(name)
    told[f"reason_{k}_value"].append(np.nan if sign is None else value)
    told[f"reason_{k}_usual"].append(np.nan if sign is None else usual)
    told[f"reason_{k}_direction"].append(None if sign is None else sign.direction)
