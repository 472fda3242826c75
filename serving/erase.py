"""Taking a person out of everything that serving keeps: published files, exports, the ledger.

Rows are removed from every published list and from every export that still lies where it was written and is unchanged;
an export that was edited or moved cannot be mended and is named. In the ledger a keyed pseudonym takes the place of
the id, and notes are blanked: arms, rows and costs stay, so no effect that was measured changes because somebody left.
(Purchases are the history store's to remove.) Each step can be repeated, and a second run finishes what a killed one
began.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.config import Config
from serving import export, publish
from serving.ledger import Ledger
from serving.publish import Published


@dataclass(frozen=True)
class Receipt:
    """What was done: publications and exports written anew, exports that could not be mended, ledger rows by table, and
    the pseudonym that now stands for the person (it cannot be turned back)."""

    publications: int
    exports: tuple[str, ...]
    beyond_reach: tuple[str, ...]
    ledger: Mapping[str, int]

    @property
    def lines(self) -> list[str]:
        """The receipt, a line each."""
        rows = ", ".join(f"{name.removeprefix('ledger_')} {count}" for name, count in self.ledger.items())
        told = [f"published lists written anew: {self.publications}", f"ledger rows under a pseudonym: {rows}"]
        told += [f"export written anew: {path}" for path in self.exports]
        return told + [f"export changed or moved since, look at it yourself: {path}" for path in self.beyond_reach]


def erase(config: Config, customer_id: str) -> Receipt:
    """Remove a customer. Raises TryAgain where somebody is publishing, CannotWrite where the disk refuses."""
    with Ledger.open(config.database_url) as ledger:
        named = [said for said in _exports(config.var) if _names(config.var, ledger, said, customer_id)]
        publications = publish.take_out(customer_id, config.var, ledger)
        mended, beyond = _mend(config.var, ledger, named)
        return Receipt(publications, mended, beyond, ledger.erase(customer_id))


def _exports(var: Path) -> list[dict[str, Any]]:
    """The last export to each path."""
    return list({said["path"]: said for said in export.remembered(var / "published")}.values())


def _names(var: Path, ledger: Ledger, said: Mapping[str, Any], customer_id: str) -> bool:
    """Whether an export was made from a list with the customer on it: by the list, or, where that has been cleaned by
    an earlier run that was killed, by the file itself."""
    published = _published(var, ledger, said)
    if published is not None and (published.rows(said["list"])["customer_id"] == customer_id).any():
        return True
    path = Path(said["path"])
    return said["kind"] in ("csv", "json") and path.exists() and customer_id.encode() in path.read_bytes()


def _mend(var: Path, ledger: Ledger, named: list[dict[str, Any]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write exports anew without the person; those that are not as they were written are named instead."""
    mended, beyond = [], []
    for said in named:
        path, published = Path(said["path"]), _published(var, ledger, said)
        unchanged = path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == said["sha256"]
        if unchanged and published is not None:
            export.to(published, said["list"], said["kind"], path, said["language"], bom=said["bom"])
            mended.append(str(path))
        else:
            beyond.append(str(path))
    return tuple(mended), tuple(beyond)


def _published(var: Path, ledger: Ledger, said: Mapping[str, Any]) -> Published | None:
    there = ledger.publications().set_index("id")["folder"]
    return Published.at(var / "published" / str(there[said["publication"]])) if said["publication"] in there else None
