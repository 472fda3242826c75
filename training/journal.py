"""What became of bundles: which were trained, promoted, refused, rolled back, in the order in which it happened.

`bundles/champion` is a symbolic link and the truth about who is in charge; it is swapped by rename, so a reader sees
the old champion or the new one and never neither. `bundles/journal.jsonl` remembers the way there, one line an event,
and is only ever appended to: rolling back asks it who was champion before. No clock is in it; days are the bundles'
own.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from features.errors import CannotWrite, TryAgain
from training.track import Tracker

Event = Literal["trained", "promoted", "refused", "rolled back"]
CHAMPION = "champion"


@dataclass(frozen=True)
class Journal:
    """The bundles of a shop, in their folder."""

    bundles: Path

    @property
    def champion(self) -> str | None:
        """The bundle in charge; None where there is none yet."""
        link = self.bundles / CHAMPION
        return os.readlink(link) if link.is_symlink() else None

    @property
    def latest(self) -> str | None:
        """The bundle that was trained last and is still there."""
        trained = [line["bundle"] for line in self.events() if line["did"] == "trained"]
        return next((name for name in reversed(trained) if (self.bundles / name).is_dir()), None)

    @property
    def before(self) -> str | None:
        """The champion before this one; None where there was none. Rolling back twice goes back two."""
        line: list[str] = []
        for event in self.events():
            if event["did"] == "promoted" and line[-1:] != [event["bundle"]]:
                line.append(event["bundle"])
            elif event["did"] == "rolled back" and event["bundle"] in line:
                line = line[: _last(line, event["bundle"]) + 1]
        if self.champion in line:
            line = line[: _last(line, str(self.champion))]
        return next((name for name in reversed(line) if (self.bundles / name).is_dir()), None)

    def events(self) -> list[dict[str, Any]]:
        """Every line so far; one that a kill left unfinished is not among them."""
        try:
            lines = (self.bundles / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [told for line in lines if (told := _parsed(line)) is not None]

    def note(self, did: Event, bundle: str, **more: object) -> None:
        """Append an event, unless the last one says the same. Raises CannotWrite."""
        told = {"did": did, "bundle": bundle, **more}
        if self.events()[-1:] == [told]:
            return
        try:
            with open(self.bundles / "journal.jsonl", "ab+") as out:
                out.write(_fresh_line(out) + f"{json.dumps(told, ensure_ascii=False)}\n".encode())
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            raise _refused(self.bundles, error) from error

    def crown(self, bundle: str) -> None:
        """Let `champion` be this bundle. Raises CannotWrite."""
        fresh = self.bundles / f".{CHAMPION}.{os.getpid()}"
        try:
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(bundle)
            fresh.replace(self.bundles / CHAMPION)
        except OSError as error:
            raise _refused(self.bundles, error) from error
        finally:
            fresh.unlink(missing_ok=True)

    def mirror(self, tracker: Tracker, challenger: str | None = None) -> None:
        """Let the registry's aliases say what the folder says; a challenger that is champion is no challenger."""
        if self.champion:
            tracker.point(CHAMPION, self.champion)
        if challenger and challenger != self.champion:
            tracker.point("challenger", challenger)
        elif tracker.pointed("challenger") == self.champion:
            tracker.unpoint("challenger")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else promotes meanwhile. Raises TryAgain where somebody does."""
        self.bundles.mkdir(parents=True, exist_ok=True)
        with open(self.bundles / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TryAgain("somebody else is promoting or rolling back", where=str(self.bundles)) from None
            yield


def _fresh_line(file: BinaryIO) -> bytes:
    """What ends the last line, where a kill left it unfinished."""
    if file.seek(0, os.SEEK_END) == 0:
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def _last(line: list[str], name: str) -> int:
    return len(line) - 1 - line[::-1].index(name)


def _refused(folder: Path, error: OSError) -> CannotWrite:
    return CannotWrite("the bundles' folder refuses", where=str(folder), got=error.strerror or str(error))
