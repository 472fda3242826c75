"""One small shop told in full: what Ann and Bob did, by days before the cutoff, so that every feature can be worked out
by hand. H is 8 days and A 16, so the windows are 1, 2, 4, 8, 16 and 32 days; the cutoff is a Monday."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.laws import Rows, Shop
from features.windows import Windows

CUTOFF = 10_000  # 1997-05-19
WINDOWS = Windows(horizon=8, active=16)


def rows(columns: str, *told: Sequence[object]) -> Rows:
    """Rows of (customer, days ago, ...): a column with a dot before its name is a word, the others are numbers."""
    names = columns.split()
    values = {name: [row[k + 2] for row in told] for k, name in enumerate(names)}
    return Rows(
        np.array([row[0] for row in told], object),
        np.array([CUTOFF - int(str(row[1])) for row in told], np.int64),
        {name: np.array(v, np.int64) for name, v in values.items() if not name.startswith(".")},
        {name[1:]: np.array(v, object) for name, v in values.items() if name.startswith(".")},
    )


PURCHASES = rows(
    "amount lines orders quantity quantity_known discount discount_known cost cost_known .channel .store",
    ("ann", 360, 1000, 1, 1, 1000, 1, 0, 0, 500, 1, "web", "n"),
    ("ann", 40, 2000, 1, 1, 2000, 1, 500, 1, 1000, 1, "web", "n"),
    ("ann", 12, 3000, 2, 1, 3000, 1, 0, 1, 1500, 1, "shop", "n"),
    ("ann", 6, 4000, 2, 1, 4000, 1, 0, 1, 2000, 1, "shop", "s"),
    ("ann", 3, 6000, 4, 2, 10000, 1, 1000, 1, 3000, 1, "web", "s"),
    ("bob", 400, 1000, 1, 1, 1000, 1, 0, 1, 500, 1, "shop", "n"),
    ("bob", 370, 1000, 1, 1, 1000, 1, 0, 1, 500, 1, "shop", "n"),
    ("bob", 20, 5000, 1, 1, 1000, 1, 0, 1, 500, 1, "shop", "s"),
)
LINES = rows(
    "amount .product_id .category",
    ("ann", 360, 1000, "p", "x"),
    ("ann", 40, 2000, "p", "x"),
    ("ann", 12, 1500, "p", "x"),
    ("ann", 12, 1500, "q", "y"),
    ("ann", 6, 2000, "q", "y"),
    ("ann", 6, 2000, "r", "z"),
    ("ann", 3, 1500, "p", "x"),
    ("ann", 3, 1500, "q", "y"),
    ("ann", 3, 1500, "r", "z"),
    ("ann", 3, 1500, "s", "z"),
    ("bob", 400, 1000, "p", "x"),
    ("bob", 370, 1000, "q", "y"),
    ("bob", 20, 5000, "p", "x"),
)
SHOP = Shop(
    {
        "purchases": PURCHASES,
        "lines": LINES,
        "deliveries": rows(
            "lines waited late_days early_days late_days_known",
            ("ann", 355, 1, 5, 0, 1, 1),
            ("ann", 1, 4, 2, 1, 0, 1),
        ),
        "returns": rows("amount lines", ("ann", 30, 500, 1), ("ann", 2, 1500, 1), ("bob", 400, 100, 1)),
        "complaints": rows(
            "reopened satisfied satisfied_known .kind",
            ("ann", 30, 0, 1, 1, "delivery"),
            ("ann", 5, 0, 0, 0, "product"),
            ("ann", 2, 0, 0, 0, "service"),
            ("bob", 400, 0, 0, 0, "price"),
        ),
        "complaints_answered": rows("waited .kind", ("ann", 28, 2, "delivery"), ("ann", 1, 4, "product")),
        "complaints_resolved": rows("waited .kind", ("ann", 20, 10, "delivery")),
        "surveys": rows(
            "score score_known .kind",
            ("ann", 50, 800_000, 1, "csat"),
            ("ann", 10, 500_000, 1, "csat"),
            ("ann", 1, 200_000, 1, "csat"),
            ("bob", 400, 1_000_000, 1, "csat"),
        ),
        "invitations": rows(".kind", *[("ann", ago, "csat") for ago in (51, 11, 2, 1)]),
        "events": rows(
            "visit view search cart checkout",
            ("ann", 30, 1, 3, 1, 1, 1),
            ("ann", 7, 1, 2, 0, 2, 1),
            ("ann", 1, 1, 4, 2, 1, 0),
            ("bob", 400, 1, 1, 0, 0, 0),
        ),
        "event_lines": rows(
            "view .category",
            ("ann", 30, 3, "x"),
            ("ann", 7, 2, "y"),
            ("ann", 1, 2, "y"),
            ("ann", 1, 2, "z"),
            ("bob", 400, 1, "x"),
        ),
        "campaigns": rows(
            "cost control .channel",
            ("ann", 35, 10, 0, "mail"),
            ("ann", 14, 0, 1, "mail"),
            ("ann", 9, 20, 0, "sms"),
            ("ann", 1, 10, 0, "mail"),
            ("bob", 400, 10, 0, "mail"),
        ),
        "campaigns_opened": rows("waited .channel", ("ann", 34, 1, "mail"), ("ann", 8, 1, "sms")),
        "campaigns_clicked": rows("waited .channel", ("ann", 34, 1, "mail")),
        "campaigns_redeemed": rows("waited .channel", ("ann", 33, 2, "mail"), ("ann", 6, 3, "sms")),
        "referrals": rows(".referred_id", ("ann", 100, "cat"), ("ann", 20, "dan")),
        "customers": rows(".region", ("ann", 370, "north"), ("bob", 401, "south")),
    }
)
