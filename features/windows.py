"""The spans of days that give every other word its meaning; chosen once, stored in the bundle."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, timedelta

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Windows:
    """Days. `horizon` H: the days after a cutoff that are forecast, (t, t+H]. `active` A: at risk at t = bought in the
    A days ending on t (recency < A). `drop` d: partial churn = still buying, but horizon spend below (1-d) of the
    trailing level."""

    horizon: int
    active: int
    drop: float = 0.5

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def to_day(text: str | date) -> int:
    """A calendar day as whole days since 1970-01-01. Raises ValueError where `text` is no ISO date."""
    when = text if isinstance(text, date) else date.fromisoformat(text)
    return (when - EPOCH).days


def to_date(day: int) -> date:
    """The calendar day of a day number."""
    return EPOCH + timedelta(days=int(day))
