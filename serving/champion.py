"""The champion: the bundle whose forecasts are published, and why it forecasts what it does.

Rows of the day are read once, with the features that the forecast needs and those that tell a cause, and serve
forecasts, reasons and causes alike; reasons are worked out for listed customers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from features import snapshot
from features.catalogue import Feature, select
from features.config import Config
from features.errors import MissingInput
from features.snapshot import Snapshot
from features.store import HistoryStore
from features.windows import Windows
from models import bundle, reasons
from models.forecaster import Forecaster
from serving.plainly import LANGUAGES, REASON_COLUMNS
from serving.words import suffix


@dataclass(frozen=True)
class Champion:
    """A loaded bundle with its id, answering for one store."""

    id: str
    forecaster: Forecaster
    store: HistoryStore
    currency: str
    _rows: dict[int, Snapshot] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, config: Config, store: HistoryStore) -> Champion:
        """The bundle that `bundles/champion` points to. Raises MissingInput where none was promoted, BundleRefused
        where it is damaged or made for other windows."""
        place = config.var / "bundles" / "champion"
        if not place.exists():
            raise MissingInput(
                "there is no champion to score with",
                where=str(place),
                do="run `holdfast train`, then `holdfast promote`",
            )
        folder = place.resolve()
        return cls(
            folder.name, bundle.load(folder, config.span), store, config.shop.currency if store.has_amounts else ""
        )

    @property
    def windows(self) -> Windows:
        return self.forecaster.windows

    @property
    def rule(self) -> str | None:
        """The rule that forecasts in the model's place; None where the model does, or the base rate."""
        return self.forecaster.rule.name if self.forecaster.rule else None

    def forecast(self, store: HistoryStore, as_of: int, at: Any = "at risk") -> pd.DataFrame:
        """Everybody's forecast on a day."""
        if at == "at risk":
            return self.forecaster.forecast_rows(self.rows(as_of))
        return self.forecaster.forecast(store, as_of, at)

    def rows(self, as_of: int) -> Snapshot:
        """The customers at risk on a day, with the features of forecasts and causes."""
        if as_of not in self._rows:
            self._rows[as_of] = snapshot.build(
                self.store, [as_of], self.windows, features=self._features(), labels=False, as_of=as_of
            )
        return self._rows[as_of]

    def _features(self) -> tuple[Feature, ...]:
        there = {feature.name: feature for feature in select(self.store.tables)}
        telling = {name: there[name] for name in reasons.evidence_features(there)}
        return tuple(({feature.name: feature for feature in self.forecaster.features()} | telling).values())

    def explain(self, as_of: int, customers: Sequence[str]) -> pd.DataFrame:
        """Reasons and cause of some customers at risk, by customer_id: the columns of REASON_COLUMNS and `cause`."""
        everybody = self.rows(as_of)
        usual = reasons.medians(everybody)
        rows = everybody.take(np.isin(everybody.customer_id.astype(str), np.array(customers, dtype=str)))
        told = reasons.of_forecast(self.forecaster, rows, usual, currency=self.currency)
        table = pd.DataFrame(
            [_columns(mine) for mine in told],
            columns=list(REASON_COLUMNS),
            index=pd.Index(rows.customer_id, dtype=object),
        )
        features = tuple(feature for feature in self._features() if feature.name in rows.names)
        parts = self.forecaster.contributions(rows).of([feature.name for feature in features])
        why = reasons.causes(features, rows, self.windows, contributions=parts, currency=self.currency)
        return table.assign(cause=[one.cause for one in why])


def _columns(mine: Sequence[reasons.Reason]) -> dict[str, Any]:
    """A customer's reasons side by side; a column that is left out is absent."""
    told: dict[str, Any] = {}
    for k, one in enumerate(mine[:3], start=1):
        told |= {f"reason_{k}_{suffix(language)}": one.text[language] for language in LANGUAGES}
        told |= {
            f"reason_{k}_feature": one.feature,
            f"reason_{k}_value": one.value,
            f"reason_{k}_usual": one.usual,
            f"reason_{k}_direction": one.direction,
        }
    return told
