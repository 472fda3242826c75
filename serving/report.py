"""`holdfast report`: a day of the shop as one HTML file, the same as Markdown, and every table as Parquet beside them.

The folder appears whole or not at all: it is written under another name and moved into place. The same day of the same
store gives the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features.config import Config
from features.errors import CannotWrite
from features.windows import to_date
from serving import chapters, page
from serving.findings import Findings, find
from serving.page import Chapter, Missing, Picture, Table

Progress = Callable[[str], None] | None


@dataclass(frozen=True)
class Report:
    """What was written: the folder, its pages, and how many things are missing."""

    folder: Path
    chapters: Sequence[Chapter]
    files: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """What the report could not say, and what each would need."""
        return tuple(block.text for c in self.chapters for block in c.blocks if isinstance(block, Missing))

    @property
    def lines(self) -> list[str]:
        """What `holdfast report` prints."""
        tables = sum(name.startswith("tables/") for name in self.files)
        said = [
            f"{self.folder / 'report.html'}",
            f"{self.folder / 'report.md'}",
            f"{tables} tables in {self.folder / 'tables'}",
        ]
        if self.missing:
            said.append(f"{len(self.missing)} things are missing, for want of a table; the report names each")
        return said


def run(config: Config, as_of: int | None = None, out: Path | None = None, progress: Progress = None) -> Report:
    """Write the report of a day (the store's last one by default) to `out` (by default `var/report/<day>`).

    Raises MissingInput without a store, UsageError for a day before the first purchase, CannotWrite where the folder
    refuses.
    """
    found = find(config, as_of, progress)
    told = chapters.write(found)
    if progress:
        progress("writing")
    folder = config.var / "report" / str(to_date(found.as_of)) if out is None else Path(out)
    return Report(folder, told, _publish(folder, found, told))


def _publish(folder: Path, found: Findings, told: Sequence[Chapter]) -> tuple[str, ...]:
    unfinished = folder.with_name(folder.name + ".unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        files = _write(unfinished, found, told)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    except OSError as error:
        raise CannotWrite(
            "the report cannot be written", where=str(folder), got=error.strerror or str(error)
        ) from error
    return files


def _write(folder: Path, found: Findings, told: Sequence[Chapter]) -> tuple[str, ...]:
    for name in ("tables", "pictures"):
        (folder / name).mkdir(parents=True)
    shop, day = found.config.shop, to_date(found.as_of)
    title = f"{shop.name} · {day}"
    subtitle = "Customers by holdfast" if shop.language == "en" else "客户生命周期报告（holdfast）"
    pages = {
        "report.html": page.html(title, subtitle, told, shop.language),
        "report.md": page.markdown(title, subtitle, told),
    }
    for chapter in told:
        for block in chapter.blocks:
            if isinstance(block, Picture):
                pages[f"pictures/{block.name}.svg"] = block.svg + "\n"
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return (*pages, *_tables(folder, found, told))


def _tables(folder: Path, found: Findings, told: Sequence[Chapter]) -> list[str]:
    """Every table of the report, the ledger by customer, and everybody's standing."""
    frames = {block.name: block.frame for chapter in told for block in chapter.blocks if isinstance(block, Table)}
    frames |= {"ledger_by_customer": found.ledger.frame(), "customers": found.customers()}
    for name, frame in frames.items():
        told_ = frame.copy()
        told_.columns = [str(column) for column in told_.columns]
        table = pa.Table.from_pandas(told_, preserve_index=False).replace_schema_metadata(None)
        pq.write_table(table, folder / "tables" / f"{name}.parquet")
    return [f"tables/{name}.parquet" for name in frames]
