"""The front door: the `holdfast` command.

The only file that imports all four rooms, each inside the command that needs it, so that `holdfast --help` answers at once.
A command reads the settings, calls one function of one room, prints what came back, and turns an expected failure into one
message and its exit code. Nothing is computed here.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from features.config import Config

app = typer.Typer(
    name="holdfast",
    help="From a purchase log to Monday's lists: who is about to leave, who is worth acting on, what acting was worth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

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
    from features.errors import HoldfastError

    try:
        code = app(args=arguments, prog_name="holdfast", standalone_mode=False)
        return int(code or 0)
    except HoldfastError as error:
        typer.echo(f"holdfast: {error.message()}", err=True)
        return error.exit_code
    except typer.Exit as leave:
        return leave.exit_code
    except typer.Abort:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except typer.TyperException as error:
        typer.echo(f"holdfast: {error.format_message()}\n  do:      holdfast --help", err=True)
        return error.exit_code
    except Exception as error:  # noqa: BLE001  the last fence: nobody shall see a bare traceback
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """What nobody foresaw: one message, and the traceback in a file that can be sent to us."""
    import tempfile

    with tempfile.NamedTemporaryFile("w", prefix="holdfast-", suffix=".txt", delete=False, encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    typer.echo(
        f"holdfast: an unexpected {type(error).__name__}: {error}\n"
        f"  where:   {file.name} holds the traceback\n  do:      this is a defect of holdfast; please report it with that file",
        err=True,
    )
    return 1


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
