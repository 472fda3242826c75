"""The gate: what may take the champion's place, and by how much it is better, in text one can read.

Log loss decides, because it is the score that a forecaster cannot improve by saying anything but what it believes. A
bundle learned to today cannot be judged today, so its *recipe* is judged at the latest closed cutoff, fitted on what
was known there: against the calibrated rules, because a model that a rule beats is not worth having, and against the
champion: by its own forecasts where it is old enough not to have seen the outcome, else by its recipe. All differences
are paired by customer and carry an interval. Where the log gave no skill, or a rule is better, what is promoted is that
rule, calibrated, or the base rate; its forecasts say "no skill", and so does every list made from them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from features.config import Config, Economics, Model
from features.errors import BundleRefused, CannotWrite, MissingInput, ServiceAway, UsageError
from features.store import HistoryStore
from features.windows import to_date
from models import bundle as bundles_of
from models import rules
from models.forecaster import Forecaster
from training import backtest, metrics, printed, train
from training.backtest import OURS, BacktestResult
from training.journal import Journal
from training.metrics import Estimate
from training.track import Tracker

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Check:
    """One line of the gate: passed, failed, or (None) only said."""

    passed: bool | None
    what: str
    text: str

    def __str__(self) -> str:
        word = {True: "pass", False: "fail", None: "note"}[self.passed]
        return f"  {word}  {self.what:<38}  {self.text}".rstrip()


@dataclass(frozen=True)
class Verdict:
    """What the gate said. `bundle` is the champion after it (None where there is none); `candidate` what was judged."""

    promoted: bool
    candidate: str
    bundle: str | None
    checks: tuple[Check, ...]
    conclusion: str

    @property
    def lines(self) -> list[str]:
        """The verdict as text."""
        return [f"gate: {self.candidate}", *(str(check) for check in self.checks), self.conclusion]


@dataclass(frozen=True)
class Evidence:
    """Forecasts of one closed cutoff beside what came, for the candidate's recipe, the rules and the champion.

    `champion` is None where there is none to compare with; `why` says why, or whose forecasts they are.
    """

    result: BacktestResult
    champion: pd.DataFrame | None
    why: str


def promote(config: Config, bundle: str | None = None, progress: Progress | None = None) -> Verdict:
    """Put a bundle before the gate, by default the one trained last; what passes becomes `bundles/champion`.

    A refusal is a verdict, not an error. Raises MissingInput where there is no such bundle, BundleRefused where it is
    damaged or made for other windows, TryAgain where somebody else is promoting.
    """
    journal = Journal(config.var / "bundles")
    with journal.alone():
        case = Case.of(config, journal, _named(journal, bundle), progress)
        chosen, checks = judge(case.made, case.evidence())
        verdict = _decided(case, chosen, checks)
    return _remembered(config, journal, verdict)


def _decided(case: Case, chosen: str | None, checks: tuple[Check, ...]) -> Verdict:
    """What was judged, done: noted before the champion is swapped, so that a kill in between loses no memory."""
    journal, why = case.journal, [str(check) for check in checks]
    before = journal.champion
    if chosen is None:
        journal.note("refused", case.name, why=why)
        return Verdict(False, case.name, before, checks, f"refused: {before} stays champion")
    crowned = case.name if chosen == OURS else case.as_rule(chosen)
    journal.note("promoted", crowned, candidate=case.name, why=why)
    journal.crown(crowned)
    return Verdict(True, case.name, crowned, checks, _conclusion(case.made, crowned, chosen, before))


def rollback(config: Config) -> Verdict:
    """Make the champion before this one champion again; twice goes back two.

    Raises MissingInput where there was none before, BundleRefused where it is damaged by now.
    """
    journal = Journal(config.var / "bundles")
    with journal.alone():
        back, now = journal.before, journal.champion
        if back is None:
            raise MissingInput(
                "there is no earlier champion to go back to", where=str(journal.bundles), do="run `holdfast promote`"
            )
        bundles_of.load(journal.bundles / back, config.span)
        journal.note("rolled back", back, instead_of=now)
        journal.crown(back)
    verdict = Verdict(True, back, back, (), f"rolled back: {back} is champion again, {now} is not")
    return _remembered(config, journal, verdict)


def judge(made: Forecaster, evidence: Evidence | None) -> tuple[str | None, tuple[Check, ...]]:
    """What is to be promoted: the model (OURS), a rule's name, or None where the champion is better; and why."""
    if evidence is None:
        why = "the log is too short to hold a horizon back: it is taken on trust"
        return OURS, (Check(None, "log loss", why), _skill_check(made))
    result = evidence.result
    ours = result.judged(OURS)
    cutoff = to_date(result.closed[-1])
    head = Check(None, "judged on", f"{cutoff}, {len(ours):,} customers at risk, {ours['churned'].mean():.1%} churned")
    chosen, against_rules = _against_rules(made, result)
    against_champion = _against_champion(result.judged(chosen), evidence, result.seed)
    level = metrics.measure(result.judged(chosen), ["level"])["level"]
    checks = (
        head,
        _skill_check(made),
        *against_rules,
        against_champion,
        Check(None, "level", printed.interval("level", level)),
    )
    return (None if against_champion.passed is False else chosen), checks


def _skill_check(made: Forecaster) -> Check:
    return Check(None, "skill", str(made.skill))


def _against_rules(made: Forecaster, result: BacktestResult) -> tuple[str, list[Check]]:
    """The model, or the rule that takes its place; the base rate is the model's own word where it has no skill."""
    best = result.best_rule(skip=(rules.BASE_RATE,))
    if best is None:
        return OURS, []
    ours, theirs = (best, rules.BASE_RATE) if not made.skill.found else (OURS, best)
    rows = result.judged(ours), result.judged(theirs)
    found = _difference(*rows, result.seed)
    text = _by(found, *rows)
    if not made.skill.found:
        return (best if found.upper < 0 else OURS), [Check(None, f"{best} against {theirs}", text)]
    return (best if _worse(found) else OURS), [Check(not _worse(found), f"log loss against {best}", text)]


def _against_champion(rows: pd.DataFrame, evidence: Evidence, seed: int) -> Check:
    if evidence.champion is None:
        return Check(None, "log loss against champion", evidence.why)
    ours, theirs = metrics.match(rows, evidence.champion)
    found = _difference(ours, theirs, seed)
    return Check(not _worse(found), "log loss against champion", f"{_by(found, ours, theirs)}; {evidence.why}")


def _difference(ours: pd.DataFrame, theirs: pd.DataFrame, seed: int) -> Estimate:
    return metrics.difference(ours, theirs, ["log_loss"], seed=seed)["log_loss"]


def _worse(found: Estimate) -> bool:
    """Worse by more than chance explains: what cannot be told apart does not stand in the way of younger data."""
    return found.lower > 0


def _by(found: Estimate, ours: pd.DataFrame, theirs: pd.DataFrame) -> str:
    a, b = (metrics.mean_over_cutoffs(rows, "log_loss") for rows in (ours, theirs))
    word = "lower" if found.value < 0 else "higher" if found.value > 0 else "equal"
    alike = ", cannot be told apart" if found.lower <= 0 <= found.upper else ""
    return f"{a:.4f} against {b:.4f}, {word}: {printed.difference('log_loss', found)}{alike}"


def _named(journal: Journal, bundle: str | None) -> str:
    name = bundle or journal.latest
    known = sorted(path.name for path in journal.bundles.glob("[!.]*") if path.is_dir() and not path.is_symlink())
    if name not in known:
        raise MissingInput(
            f"there is no bundle {name!r}" if name else "there is no bundle to promote",
            where=str(journal.bundles),
            allowed=", ".join(known) or None,
            do="run `holdfast train`",
        )
    return str(name)


@dataclass(frozen=True)
class Case:
    """A bundle before the gate: `made` is what it holds, `recipe` how it was made."""

    config: Config
    journal: Journal
    store: HistoryStore
    name: str
    made: Forecaster
    recipe: Mapping[str, Any]
    progress: Progress | None = None

    @classmethod
    def of(cls, config: Config, journal: Journal, name: str, progress: Progress | None = None) -> Case:
        """The case of a bundle. Raises BundleRefused where it is damaged or made for other windows."""
        folder = journal.bundles / name
        made = bundles_of.load(folder, config.span)
        return cls(config, journal, HistoryStore(config.var / "history"), name, made, _recipe(folder), progress)

    @property
    def cutoff(self) -> int:
        """The latest cutoff whose horizon had closed when the bundle was made."""
        return min(self.made.as_of, self.store.last_day) - self.made.windows.horizon

    def evidence(self) -> Evidence | None:
        """Forecasts of the cutoff; None where the log is too short for any."""
        try:
            result = self.back_test(self.recipe)
        except (MissingInput, UsageError):
            return None
        return Evidence(result, *self.champion_beside(result))

    def back_test(self, recipe: Mapping[str, Any]) -> BacktestResult:
        """A recipe at the cutoff, from the kept rows where `train` has done it already."""
        job = backtest.job_of(self.config, self.store, self.made.as_of)
        if recipe:
            settings = Model(**recipe["model"], threads=self.config.model.threads)
            job = replace(job, settings=settings, economics=Economics(**recipe["economics"]))
        return backtest.run_job(job, [self.cutoff], self.progress)

    def champion_beside(self, result: BacktestResult) -> tuple[pd.DataFrame | None, str]:
        """The champion's forecasts of the same customers and how it came to them; None with the reason."""
        name = self.journal.champion
        if name is None:
            return None, "there is no champion yet"
        try:
            champion = bundles_of.load(self.journal.bundles / name, self.config.span)
        except BundleRefused as error:
            return None, f"{name} cannot be compared with: {error.what}"
        if champion.as_of <= self.cutoff:
            truth = result.judged(OURS)[["customer_id", "cutoff", "churned", "spend"]]
            rows = champion.forecast(self.store, self.cutoff).drop(columns=["cutoff", "skill"])
            return truth.merge(rows, on="customer_id"), f"{name} by its own forecasts: it has not seen the outcome"
        theirs = _recipe(self.journal.bundles / name)
        if {**theirs, "rule": None} == {**self.recipe, "rule": None}:
            return None, f"{name} is of the same recipe, learned to {to_date(champion.as_of)}: only the history differs"
        if self.progress:
            self.progress("fitting the champion's recipe at the same cutoff")
        rows = self.back_test(theirs).judged(theirs.get("rule", OURS))
        return rows, f"{name} by its recipe: it has seen the outcome itself"

    def as_rule(self, rule: str) -> str:
        """A bundle that forecasts by a rule learned to the same day; returns its name."""
        if self.progress:
            self.progress(f"writing a bundle of the rule {rule}")
        c, made = self.config, self.made
        fitted = rules.fit(self.store, made.as_of, c.span, c.model, c.economics, modules=made.modules)[rule]
        instead = replace(made, rule=fitted, skill=replace(made.skill, found=False))
        folder = self.journal.bundles / self.name
        files = {
            "training.json": train.as_json({**self.recipe, "rule": rule}),
            "drift.json": train.as_json(train.references(instead, instead.snapshot(self.store, made.as_of))),
            "model-card.md": f"# The rule {rule}\n\nIn place of the models of {self.name}.\n".encode(),
        }
        told = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        return train.keep(self.journal.bundles, instead, self.store.digest, told, files)


def _recipe(folder: Path) -> dict[str, Any]:
    """The recipe that a bundle carries; empty where it was not written by `holdfast train`."""
    path = folder / "training.json"
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return told


def _conclusion(made: Forecaster, crowned: str, chosen: str, before: str | None) -> str:
    instead = f" in place of {before}" if before and before != crowned else ""
    if chosen != OURS:
        return f"promoted: {crowned}{instead}. It forecasts by the rule {chosen}: the model is not better. Lists say so"
    if not made.skill.found:
        return f"promoted: {crowned}{instead}. It has no skill: everybody gets the base rate. Lists say so"
    return f"promoted: {crowned}{instead}"


def _remembered(config: Config, journal: Journal, verdict: Verdict) -> Verdict:
    """The verdict as a run, and the registry's aliases after it. The folder is the truth: a registry that is away does
    not undo a promotion, it is told the next time."""
    try:
        tracker = Tracker.of(config)
        with tracker.run("gate", f"gate {verdict.candidate}") as tracked:
            tracked.tags({"holdfast.promoted": verdict.promoted, "holdfast.bundle": verdict.bundle or ""})
            tracked.text("gate.txt", "\n".join(verdict.lines) + "\n")
            if verdict.bundle and not tracker.knows(verdict.bundle):
                tracked.bundle(journal.bundles / verdict.bundle, verdict.bundle)
        journal.mirror(tracker)
    except (ServiceAway, CannotWrite) as error:
        late = f"  (MLflow was not told: {error.what}; the next train or promote tells it)"
        return replace(verdict, conclusion=verdict.conclusion + "\n" + late)
    return verdict
