"""The front door: the `holdfast` command.

The only file that imports all four rooms, each inside the command that needs it, so that `holdfast --help` answers at
once. A command reads the settings, calls a function of one room and prints what came back; an expected failure becomes
one message and its exit code. Nothing is computed here.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from features.config import Config
    from features.store import HistoryStore

app = typer.Typer(
    name="holdfast",
    help="From a purchase log to Monday's lists: who is about to leave, who is worth acting on, what acting was worth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

SETTINGS = Path("holdfast.toml")
TABLE_WIDTH = 200
DEMO_ROWS = 5
DEMO_CUSTOMERS = 4_000  # enough for skill to show, few enough for two minutes
ACT = 10  # exit code: nothing failed, but somebody should look

ConfigPath = Annotated[Path, typer.Option("--config", help="the settings")]
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", metavar="DATE", help="the last day that is known; by default the last day in the store"),
]
Cutoffs = Annotated[list[str], typer.Option("--cutoff", metavar="DATE", help="may be given several times")]


class ListName(StrEnum):
    early_warning = "early-warning"
    retention = "retention"
    win_back = "win-back"


class Language(StrEnum):
    en = "en"
    zh_cn = "zh-CN"


class Format(StrEnum):
    table = "table"
    csv = "csv"
    xlsx = "xlsx"
    parquet = "parquet"
    json = "json"


def main() -> None:
    """Run the command; leave with the exit code of what went wrong."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; nothing but the code and what it printed comes back."""
    try:
        return int(app(args=arguments, prog_name="holdfast", standalone_mode=False) or 0)
    except typer.Exit as leave:
        return leave.exit_code
    except typer.Abort:
        return 130
    except BrokenPipeError:  # whoever read our output has had enough, as `holdfast list … | head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001  the last fence: nobody shall see a bare traceback
        code, message = _told(error)
        typer.echo(f"holdfast: {message}", err=True)
        return code


def _told(error: Exception) -> tuple[int, str]:
    """The exit code and the message of whatever went wrong."""
    from features.errors import HoldfastError

    if isinstance(error, HoldfastError):
        return error.exit_code, error.message()
    if isinstance(error, typer.TyperException):
        return error.exit_code, f"{error.format_message()}\n  do:      holdfast --help"
    with tempfile.NamedTemporaryFile("w", prefix="holdfast-", suffix=".txt", delete=False, encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    return 1, (
        f"an unexpected {type(error).__name__}: {error}\n"
        f"  where:   {file.name} holds the traceback\n"
        "  do:      this is a defect of holdfast; please report it with that file"
    )


def _config(path: Path) -> Config:
    from features import config

    return config.load(path)


def _day(text: str | None) -> int | None:
    from features.errors import UsageError
    from features.windows import to_day

    try:
        return None if text is None else to_day(text)
    except ValueError:
        raise UsageError("that is not a day", allowed="YYYY-MM-DD", got=text) from None


class Progress:
    """What a long command is doing: a moving line on a terminal, plain lines otherwise (standard error)."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._status: Any = None

    def __call__(self, line: str) -> None:
        if not self._terminal:
            typer.echo(f"· {line}", err=True)
            return
        if self._status is None:
            from rich.console import Console

            self._status = Console(stderr=True).status(line)
            self._status.start()
        self._status.update(line)

    def stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


@contextmanager
def _progress() -> Iterator[Progress]:
    progress = Progress()
    try:
        yield progress
    finally:
        progress.stop()


def _store(config: Config) -> HistoryStore:
    from features.store import HistoryStore

    return HistoryStore(config.var / "history")


def _days(texts: list[str]) -> list[int]:
    return [day for day in map(_day, texts) if day is not None]


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)


# -- bring a log -------------------------------------------------------------------------------------------------------


@app.command()
def init(
    table: Annotated[str, typer.Argument(help="a purchase table: CSV(.gz), Parquet or a glob")],
    config: ConfigPath = SETTINGS,
    force: Annotated[bool, typer.Option("--force", help="overwrite the settings that are there")] = False,
) -> None:
    """Look at a purchase table, guess its columns, propose the windows with the evidence, write holdfast.toml."""
    from features import inspect

    proposal = inspect.propose(table, beside=config)
    inspect.write(proposal, config, force=force)
    _say(proposal.evidence)
    typer.echo(f"\nwritten: {config}. Next: holdfast check, holdfast ingest, holdfast train --promote, holdfast score")


@app.command()
def check(config: ConfigPath = SETTINGS) -> None:
    """Check the data: counts, first offending rows, windows, class balance, what each missing table costs, settings."""
    from features import config as settings
    from features import inspect

    chosen = _config(config)
    with _progress() as progress:
        report = inspect.check(chosen, progress=progress)
    _say(report.lines)
    typer.echo("\nsettings in force")
    for key, value, origin in settings.effective(chosen):
        typer.echo(f"  {key:<34} {'none' if value is None else value!s:<24} {origin}")


@app.command()
def ingest(
    config: ConfigPath = SETTINGS,
    append: Annotated[Path | None, typer.Option("--append", metavar="FILE", help="a weekly delta")] = None,
    table: Annotated[str, typer.Option("--table", help="the table that the delta belongs to")] = "purchases",
    as_of: AsOf = None,
) -> None:
    """Read the tables into the history store; --append adds a delta of one of them."""
    from features import ingest as ingestion

    chosen = _config(config)
    with _progress() as progress:
        if append is None:
            report = ingestion.ingest(chosen, _day(as_of), progress)
        else:
            report = ingestion.append(chosen, table, append, progress)
    _say(report.lines)


@app.command()
def features(
    cutoff: Cutoffs,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="a Parquet file")],
    config: ConfigPath = SETTINGS,
) -> None:
    """Write the snapshot table: every customer at risk at each cutoff, with labels where the horizon is closed."""
    from features import catalogue, snapshot

    chosen = _config(config)
    store = _store(chosen)
    chosen_features = catalogue.select(
        store.tables, families=chosen.model.families, modules=[chosen.root / name for name in chosen.features.modules]
    )
    with _progress() as progress:
        rows = snapshot.write(store, _days(cutoff), chosen.span, out, features=chosen_features, progress=progress)
    typer.echo(f"{rows:,} rows x {len(chosen_features)} features in {out}")


@app.command()
def define(config: ConfigPath = SETTINGS, as_of: AsOf = None) -> None:
    """The churn definition workbench: what each horizon and window would mean, and an argument for one pair."""
    from features import define as defining

    chosen = _config(config)
    with _progress() as progress:
        definition = defining.run(_store(chosen), chosen, _day(as_of), progress)
    _say(definition.lines)


@app.command()
def compact(config: ConfigPath = SETTINGS) -> None:
    """Tidy the history store: weekly parts are laid together; what it answers stays the same, bit for bit."""
    from features import ingest as ingestion

    with _progress() as progress:
        store = ingestion.compact(_store(_config(config)), progress)
    typer.echo(f"generation {store.generation}: {store.customers_total:,} customers in one part")


# -- train and promote -------------------------------------------------------------------------------------------------


@app.command()
def train(
    config: ConfigPath = SETTINGS,
    as_of: AsOf = None,
    promote: Annotated[bool, typer.Option("--promote", help="and put it before the gate")] = False,
) -> None:
    """Fit, calibrate, compare with the rules and the champion, log to MLflow, write a bundle."""
    from training import gate
    from training import train as training

    chosen = _config(config)
    with _progress() as progress:
        summary = training.run(chosen, _day(as_of), progress)
        verdict = gate.promote(chosen, summary.bundle, progress) if promote else None
    _say(summary.lines)
    if verdict:
        _say(verdict.lines)
        if not verdict.promoted:
            raise typer.Exit(ACT)


@app.command()
def backtest(
    config: ConfigPath = SETTINGS,
    cutoff: Cutoffs = [],  # noqa: B006  read by typer, changed by nobody
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="where forecasts go, as Parquet")] = None,
) -> None:
    """For each cutoff train only on what was known then, forecast all at risk, and judge beside the rules."""
    from training import backtest as backtesting

    with _progress() as progress:
        result = backtesting.command(_config(config), _days(cutoff), out, progress)
    _say(result.lines)


@app.command()
def promote(
    bundle: Annotated[str | None, typer.Argument(help="a bundle's id; by default the latest")] = None,
    config: ConfigPath = SETTINGS,
) -> None:
    """Put a bundle before the gate; if nothing is better, it becomes the champion. Exit code 10: it did not."""
    from training import gate

    with _progress() as progress:
        verdict = gate.promote(_config(config), bundle, progress)
    _say(verdict.lines)
    if not verdict.promoted:
        raise typer.Exit(ACT)


@app.command()
def rollback(config: ConfigPath = SETTINGS) -> None:
    """Make the champion before this one champion again."""
    from training import gate

    _say(gate.rollback(_config(config)).lines)


@app.command()
def compare(
    one: Annotated[str, typer.Argument(metavar="RUN")],
    other: Annotated[str, typer.Argument(metavar="RUN")],
    config: ConfigPath = SETTINGS,
) -> None:
    """Two runs side by side: the difference of every metric with its interval, by customer."""
    from training import compare as comparing

    with _progress() as progress:
        result = comparing.run(_config(config), one, other, progress)
    _say(result.lines)


# -- Monday ------------------------------------------------------------------------------------------------------------


@app.command()
def score(config: ConfigPath = SETTINGS, as_of: AsOf = None) -> None:
    """Forecast with the champion and publish the three lists, atomically, written to the ledger."""
    from serving import score as scoring

    with _progress() as progress:
        published = scoring.run(_config(config), _day(as_of), progress)
    _say(scoring.lines(published))


@app.command(name="list")
def list_(
    name: Annotated[ListName, typer.Argument()],
    config: ConfigPath = SETTINGS,
    format: Annotated[Format, typer.Option("--format")] = Format.table,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="by default standard output")] = None,
    rows: Annotated[int, typer.Option("--rows", help="how many the table shows")] = 20,
    language: Annotated[Language | None, typer.Option("--language", help="by default the shop's")] = None,
) -> None:
    """Print or export a published list; the held-out are counted, never shown."""
    from serving import export, publish

    chosen = _config(config)
    published = publish.current(chosen.var)
    tongue = language or chosen.shop.language
    if format is Format.table:
        width = None if sys.stdout.isatty() else TABLE_WIDTH
        typer.echo(export.table(published, name, tongue, most=rows, width=width), nl=False)
    elif out is not None:
        export.to(published, name, format, out, tongue)
        typer.echo(f"written: {out}")
    else:
        sys.stdout.buffer.write(export.as_bytes(published, name, format, tongue))


@app.command()
def dispose(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet: list_id, customer_id, at, what, ...")],
    config: ConfigPath = SETTINGS,
) -> None:
    """Take dispositions back: what was done with listed customers, row by row; bad rows are refused by number."""
    from features.errors import BadData
    from serving import dispositions
    from serving.ledger import Ledger

    with Ledger.open(_config(config).database_url) as ledger:
        receipt = dispositions.take_file(ledger, file)
    _say(receipt.lines)
    if receipt.refused:  # the good rows are in the ledger; the exit code says that not all were good
        raise typer.Exit(BadData.exit_code)


@app.command()
def effect(config: ConfigPath = SETTINGS, as_of: AsOf = None) -> None:
    """What past lists were worth: treated against held out, with intervals, net of costs."""
    from serving import effect as measuring

    _say(measuring.run(_config(config), _day(as_of)).lines)


@app.command()
def explain(
    customer_id: Annotated[str, typer.Argument(metavar="ID")],
    config: ConfigPath = SETTINGS,
    list_date: Annotated[
        str | None, typer.Option("--list-date", metavar="DATE", help="by default the latest list")
    ] = None,
) -> None:
    """Why a customer stood on a list, or did not: the lineage of the row from purchases to publication."""
    from serving import explain as lineage

    chosen = _config(config)
    _say(lineage.run(chosen, customer_id, _day(list_date)).lines(chosen.shop.language))


@app.command()
def monitor(config: ConfigPath = SETTINGS, as_of: AsOf = None) -> None:
    """Drift now; calibration and lift of the lists that have closed. Exit code 0: fine, 10: act."""
    from serving import effect as measuring
    from training import monitor as monitoring

    chosen, day = _config(config), _day(as_of)
    with _progress() as progress:
        report = monitoring.run(chosen, day, measuring.for_monitor(chosen, day), progress)
    _say(report.lines)
    raise typer.Exit(ACT if report.act else 0)


@app.command()
def report(
    config: ConfigPath = SETTINGS,
    as_of: AsOf = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="by default var/report/DATE")] = None,
) -> None:
    """Lifecycle, value, satisfaction, segments, KPIs: one self-contained HTML, Markdown, and tidy Parquet."""
    from serving import report as reporting

    with _progress() as progress:
        written = reporting.run(_config(config), _day(as_of), out, progress)
    _say(written.lines)


@app.command()
def card(
    customer_id: Annotated[str, typer.Argument(metavar="ID")],
    config: ConfigPath = SETTINGS,
    as_of: AsOf = None,
) -> None:
    """The one-page profile of a customer: facts, stage, value, satisfaction, reasons, next best action."""
    from serving import card as profile

    _say(profile.run(_config(config), customer_id, _day(as_of)).lines)


@app.command()
def erase(customer_id: Annotated[str, typer.Argument(metavar="ID")], config: ConfigPath = SETTINGS) -> None:
    """Remove a person everywhere: store, ledger (by pseudonym), exports, lists, back-tests; print a receipt."""
    from features import ingest as ingestion
    from serving import erase as erasing
    from training import backtest as backtesting

    chosen = _config(config)
    with _progress() as progress:
        receipt = ingestion.erase(_store(chosen), customer_id, progress)
        served = erasing.erase(chosen, customer_id)
        forgotten = backtesting.forget(chosen.var / "backtests", customer_id)
    removed = ", ".join(f"{name} {count:,}" for name, count in receipt.removed.items() if count)
    typer.echo(f"history rows removed: {removed or 'none'} (generation {receipt.generation}, mark {receipt.mark})")
    _say(served.lines)
    typer.echo(f"back-test rows removed: {forgotten}")


# -- the simulated shop ------------------------------------------------------------------------------------------------


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="where the tables, holdfast.toml and truth/ go")],
    customers: Annotated[int, typer.Option("--customers", min=1)] = 6_000,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 7,
    weeks: Annotated[int, typer.Option("--weeks", min=1)] = 104,
    scenario: Annotated[
        str, typer.Option("--scenario", help="what kind of shop; an unknown one names the known")
    ] = "shop",
) -> None:
    """Simulate a shop whose truth is known; the truth goes to truth/, which no other command reads."""
    from training import simulate as simulation

    with _progress() as progress:
        report = simulation.shop(customers, seed, out, weeks=weeks, scenario=scenario, progress=progress)
    typer.echo(
        f"{report.customers:,} customers in {out}: " + ", ".join(f"{n:,} {name}" for name, n in report.rows.items())
    )
    typer.echo(f"next: holdfast ingest --config {out / 'holdfast.toml'}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="a folder that the demo may empty")] = Path("demo"),
    customers: Annotated[int, typer.Option("--customers", min=1)] = DEMO_CUSTOMERS,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 7,
) -> None:
    """The whole road on a simulated shop: ingest, train, back-test, promote, score, and where to look."""
    from features import ingest as ingestion
    from serving import export, publish
    from serving import score as scoring
    from training import backtest as backtesting
    from training import gate
    from training import simulate as simulation
    from training import train as training
    from training.track import Tracker

    _empty(out)
    with _progress() as progress:
        simulation.shop(customers, seed, out, progress=progress)
        config = _config(out / "holdfast.toml")
        taken = ingestion.ingest(config, progress=progress)
        judged = backtesting.command(config, [], None, progress)
        summary = training.run(config, None, progress)
        verdict = gate.promote(config, summary.bundle, progress)
        published = scoring.run(config, None, progress)
    _say(["", *taken.lines, "", *judged.lines, "", *summary.lines, *verdict.lines, ""])
    for name in publish.LISTS:
        typer.echo(export.table(published, name, config.shop.language, most=DEMO_ROWS, width=TABLE_WIDTH))
    _say(_whereabouts(out, Tracker.of(config).where))


def _empty(folder: Path) -> None:
    """Make way for a new demo; a folder that is no demo's is left alone."""
    import shutil

    from features.errors import UsageError

    if folder.exists() and any(folder.iterdir()):
        if not (folder / "truth").is_dir():
            raise UsageError(
                "the demo needs a folder of its own",
                where=str(folder),
                got="a folder with other things",
                do="use --out",
            )
        shutil.rmtree(folder)


def _whereabouts(out: Path, runs: str) -> list[str]:
    settings = out / "holdfast.toml"
    return [
        "where to look",
        f"  lists, as published       {out / 'var' / 'published' / 'current'}",
        f"  the champion              {out / 'var' / 'bundles' / 'champion'}",
        f"  runs and pictures         mlflow ui --backend-store-uri {runs}",
        f"  what is really true       {out / 'truth'} (no command reads it)",
        "what to do next",
        f"  holdfast list retention --config {settings} --format xlsx --out retention.xlsx",
        f"  holdfast check --config {settings}",
        "  holdfast init YOUR-LOG.csv",
    ]


if __name__ == "__main__":
    main()
