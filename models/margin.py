"""Margin: what of a customer's spend stays with the shop, net of returns, discount and cost.

Amounts are what was paid, so a discount is already out of them. Where the shop records cost, the share that stayed is
read off closed horizons; where it records returns only, they are taken out and the configured margin of the rest is
kept; where it records neither, the configured margin is all there is. The forecast of spend times the share is the
forecast of margin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.snapshot import Snapshot


@dataclass(frozen=True)
class Margin:
    """Share of gross spend that stays, and where it is known from."""

    share: float
    source: str


def margin_of(rows: Snapshot, configured: float) -> Margin:
    """From training rows with the labels spend, net_spend and margin (each NaN where it is not known)."""
    spend = rows.labels["spend"]
    for name, kept, source in (
        ("margin", 1.0, "the cost of past purchases, returns taken out"),
        ("net_spend", configured, "[economics] margin, returns taken out"),
    ):
        got = rows.labels.get(name, np.full(len(rows), np.nan))
        known = ~np.isnan(got) & (spend > 0)
        if known.sum() >= 30 and spend[known].sum() > 0:
            return Margin(kept * float(got[known].sum() / spend[known].sum()), source)
    return Margin(configured, "[economics] margin")
