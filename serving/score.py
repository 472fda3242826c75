"""Scoring: from the champion bundle and the store to published lists, in one call that can be repeated.

Nothing is decided here. The champion forecasts, the facts are read, the lists are made, and all of it is published at
once with the hold-out in the ledger first. The digest of everything that went in names the publication, so scoring the
same day again with nothing changed answers with the lists that are there, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Protocol

import pandas as pd

from features.config import Config
from features.errors import UsageError
from features.lifecycle import standing, taxonomy
from features.store import HistoryStore
from features.windows import Windows, to_date
from serving import actions, export, facts, holdout, lists, publish
from serving.champion import Champion
from serving.ledger import Ledger
from serving.lists import Explain, Inputs, Made, Memory
from serving.publish import FORECASTS, HELD, LEFT, Draft, Published

Progress = Callable[[str], None] | None
LIFE = "life"  # the stage scheme that lists print
VERSION = 2  # of the lists' making: a change of the code that changes lists changes it


class Oracle(Protocol):
    """What scoring needs of a forecaster; `serving.champion.Champion` is one."""

    @property
    def windows(self) -> Windows: ...
    def forecast(self, store: HistoryStore, as_of: int, at: Any = "at risk") -> pd.DataFrame: ...


def run(config: Config, as_of: int | None = None, progress: Progress = None) -> Published:
    """Publish the three lists of a day (the last one in the store where none is given).

    Raises MissingInput where there is no store or no champion, BundleRefused for a damaged or foreign bundle, TryAgain
    where somebody else is publishing, ServiceAway and CannotWrite as the ledger and the disk say.
    """
    store = HistoryStore(config.var / "history")
    champion = Champion.open(config, store)
    day = last_day(store, as_of)
    with Ledger.open(config.database_url) as ledger:
        return publish_day(
            config,
            store,
            ledger,
            day,
            oracle=champion,
            bundle=champion.id,
            explain=lambda customers: champion.explain(day, customers),
            rule=champion.rule,
            progress=progress,
        )


def publish_day(
    config: Config,
    store: HistoryStore,
    ledger: Ledger,
    as_of: int,
    *,
    oracle: Oracle,
    bundle: str,
    explain: Explain,
    rule: str | None = None,
    progress: Progress = None,
) -> Published:
    """The lists of a day from an open store, ledger and forecaster; `rule` names the rule that forecasts in the
    model's place, where one does."""
    say = progress or (lambda _: None)
    catalogue = actions.load(config)
    digest = inputs_digest(config, store, ledger, as_of, bundle=bundle, catalogue=catalogue.digest)
    there = publish.again(digest, config.var, ledger)
    if there is not None:
        say("nothing has changed since these lists were published")
        return there
    say(f"forecasting as of {to_date(as_of)}")
    forecasts = oracle.forecast(store, as_of)
    lapsed = oracle.forecast(store, as_of, at="lapsed")
    say(f"{len(forecasts):,} customers at risk, {len(lapsed):,} lapsed; reading their facts")
    people = facts.read(store, as_of, oracle.windows)
    skill = bool(forecasts["skill"].all()) if len(forecasts) else False
    inputs = Inputs(
        as_of,
        oracle.windows,
        config,
        catalogue,
        with_stage(forecasts, store, as_of, config),
        lapsed,
        people,
        store.tables,
        recall(ledger, config, as_of),
        explain,
        bundle,
        skill,
        store.has_amounts,
        rule,
    )
    say("planning")
    made = lists.make(inputs)
    say("publishing")
    return publish.publish(draft(inputs, made, digest), config.var, ledger)


def lines(published: Published) -> list[str]:
    """What was published, a line each, in the shop's language."""
    language = published.summary["language"]
    told = [f"{published.id} · {published.folder}"]
    for name in publish.LISTS:
        told += ["", *export.notes(published, name, language)]
    return told


def last_day(store: HistoryStore, as_of: int | None) -> int:
    """The day to score. Raises UsageError for a day before the first purchase; one after the last is allowed, since a
    quiet day is a day too."""
    if as_of is None:
        return store.last_day
    if as_of < store.first_day:
        raise UsageError(
            "nothing was known by that day",
            allowed=f"{to_date(store.first_day)} to {to_date(store.last_day)}",
            got=str(to_date(as_of)),
        )
    return as_of


def with_stage(forecasts: pd.DataFrame, store: HistoryStore, as_of: int, config: Config) -> pd.DataFrame:
    """The forecasts with each customer's stage on the life curve, by the shop's own stages or the packaged ones."""
    stands = standing.look(store, as_of, config.span, taxonomy.beside(config.root))
    stage = pd.Series(stands.stages(LIFE), index=stands.customer_id)
    return forecasts.assign(stage=stage.reindex(forecasts["customer_id"]).to_numpy(object))


def recall(ledger: Ledger, config: Config, as_of: int) -> Memory:
    """What the ledger knew before a day."""
    day = to_date(as_of)
    quarter = holdout.quarter_of(day)
    in_force = ledger.in_force(day)
    previous, ever = {}, {}
    for name in publish.LISTS:
        mine = in_force[in_force["name"] == name]
        last = mine["id"].iloc[-1] if len(mine) else ""
        previous[name] = ledger.entries(str(last))
        ever[name] = ledger.listed_before(name, day)
    assigned = ledger.assignments(quarter)
    return Memory(
        ledger.standing(day),
        previous,
        ever,
        ledger.quarters(quarter),
        assigned,
        frozenset(ledger.treated_since(day - timedelta(days=holdout.WASH_OUT_DAYS), _quarter_start(day))),
        _forecasts_before(ledger, config, in_force),
    )


def _quarter_start(day: Any) -> Any:
    """The first day of a day's quarter: only treatment of earlier quarters needs washing out."""
    return day.replace(month=3 * ((day.month - 1) // 3) + 1, day=1)


def _forecasts_before(ledger: Ledger, config: Config, in_force: pd.DataFrame) -> pd.DataFrame:
    """The forecasts of the last publication before the day; empty where there is none."""
    empty = pd.DataFrame({"customer_id": pd.Series(dtype=object), "churn_probability": pd.Series(dtype=float)})
    if in_force.empty:
        return empty
    there = ledger.publications().set_index("id")["folder"]
    folder = config.var / "published" / str(there[in_force["publication"].iloc[-1]])
    if not folder.is_dir():
        return empty
    return Published.at(folder).forecasts[["customer_id", "churn_probability"]].dropna()


def inputs_digest(
    config: Config, store: HistoryStore, ledger: Ledger, as_of: int, *, bundle: str, catalogue: str
) -> str:
    """The digest of everything that the lists of a day depend on."""
    sections = ("shop", "windows", "economics", "serving", "privacy")
    settings = {name: getattr(config, name).model_dump(mode="json") for name in sections}
    said = [VERSION, as_of, bundle, store.digest, catalogue, settings, config.model.seed, ledger.state(to_date(as_of))]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def draft(inputs: Inputs, made: Made, digest: str) -> Draft:
    """The lists as they go to the files and to the ledger."""
    tables: Mapping[str, pd.DataFrame] = {
        **made.tables,
        HELD: made.held_out,
        LEFT: made.left,
        FORECASTS: _forecast_table(inputs),
    }
    return Draft(
        inputs.as_of,
        inputs.windows.horizon,
        inputs.bundle,
        inputs.skill,
        digest,
        tables,
        made.summary,
        made.entries,
        made.assignments,
        made.quarters,
    )


def _forecast_table(inputs: Inputs) -> pd.DataFrame:
    """Everybody's forecast in the published columns, by customer."""
    table = inputs.forecasts.assign(bundle=inputs.bundle, cutoff=str(to_date(inputs.as_of)))
    names = [
        *("customer_id", "cutoff", "churn_probability", "expected_spend", "spend_lower", "spend_upper"),
        *("expected_margin", "clv", "stage", "bundle", "skill"),
    ]
    return table.reindex(columns=names).sort_values("customer_id", ignore_index=True)
