"""Golden rows: inputs with the answers they must give, checked whenever a bundle is read.

They are nobody's: each is made of quantiles over the training rows, feature by feature, so a bundle holds no customer
and erasing one never breaks it. A library that computes differently, or a model that was changed and hashed anew,
gives other answers and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.snapshot import Snapshot
from models.samples import BTYD

SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


@dataclass(frozen=True)
class Golden:
    """Rows of features by name, None where absent, as they went into float32."""

    names: tuple[str, ...]
    rows: tuple[tuple[float | None, ...], ...]

    @classmethod
    def of(cls, rows: Snapshot, names: tuple[str, ...]) -> Golden:
        """One row per share: every feature at that quantile of its values, absent where most are."""
        wanted = tuple(dict.fromkeys((*names, *BTYD)))
        made = np.full((len(SHARES), len(wanted)), np.nan)
        for k, name in enumerate(wanted):
            column = rows.column(name)
            seen = column[~np.isnan(column)]
            if len(seen):
                made[:, k] = np.quantile(seen, SHARES, method="lower")
                if 2 * len(seen) < len(column):
                    made[::2, k] = np.nan
        _possible(made, wanted)
        cells = made.astype(np.float32).astype(np.float64)
        return cls(wanted, tuple(tuple(None if np.isnan(v) else float(v) for v in row) for row in cells))

    def snapshot(self, day: int) -> Snapshot:
        """The rows as a snapshot of a day."""
        X = np.array([[np.nan if v is None else v for v in row] for row in self.rows], np.float32)
        X = X.reshape(len(self.rows), len(self.names))
        ids = np.array([f"golden {k}" for k in range(len(self.rows))], object)
        return Snapshot(ids, np.full(len(self.rows), day, np.int64), self.names, np.asfortranarray(X))


def _possible(made: np.ndarray, names: tuple[str, ...]) -> None:
    """Let the purchase process's numbers fit each other: no last repeat without one, none after the cutoff."""
    x, tx, T = (names.index(name) for name in BTYD[:3])
    made[:, [x, tx, T]] = np.nan_to_num(made[:, [x, tx, T]])
    repeat = made[:, x] > 0
    made[:, T] = np.where(repeat, np.maximum(made[:, T], 1), made[:, T])
    made[:, tx] = np.where(repeat, np.clip(made[:, tx], 1, made[:, T]), 0)
