"""A bundle as MLflow's model: the text that the registry keeps beside it, run as it stands and never unpickled.

MLflow copies this file next to the bundle and runs it when somebody loads `models:/holdfast-<shop>@champion`. One row
of input names a history store and a day; the answer is the forecasts of everybody at risk on that day, as
`holdfast score` makes them. A bundle forecasts customers from their history: a table of features is not what it takes.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Forecasts(PythonModel):  # type: ignore[misc]
    """Loads the bundle once (its hashes and golden rows are checked), forecasts store by store."""

    def load_context(self, context: Any) -> None:
        from models import bundle

        self.forecaster = bundle.load(context.artifacts["bundle"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """(history, as_of) rows -> forecasts in the columns of `tables.md`; `as_of` is an ISO date."""
        from features.store import HistoryStore
        from features.windows import to_day

        asked = zip(model_input["history"], model_input["as_of"], strict=True)
        parts = [self.forecaster.forecast(HistoryStore(history), to_day(as_of)) for history, as_of in asked]
        return pd.concat(parts, ignore_index=True)


set_model(Forecasts())
