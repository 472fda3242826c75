"""Docs cannot drift: every command in them is run, every generated page equals what the code would write."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path

import pandas as pd
import pytest

import holdfast

PROJECT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    str(path.relative_to(PROJECT))
    for path in [*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")]
    if "```sh" in path.read_text(encoding="utf-8")
)


def commands(page: str) -> list[str]:
    """The command lines of a page, in order: every line of every ```sh block, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", (PROJECT / page).read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [re.sub(r"\s+#.*", "", line) for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop's own export as the docs speak of it: orders.csv, and week.csv with the week after it."""
    folder = tmp_path_factory.mktemp("log")
    assert holdfast.run(["simulate", "--customers", "1500", "--weeks", "78", "--seed", "3", "--out", str(folder)]) == 0
    purchases = pd.read_parquet(folder / "purchases.parquet")[["customer_id", "at", "amount"]]
    day = pd.to_datetime(purchases["at"])
    week = day > day.max() - pd.Timedelta(days=7)
    purchases[~week].to_csv(folder / "orders.csv", index=False)
    purchases[week].to_csv(folder / "week.csv", index=False)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_runs(
    page: str, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("orders.csv", "week.csv"):
        (tmp_path / name).write_bytes((log / name).read_bytes())
    for command in commands(page):
        program, *arguments = shlex.split(command)
        if program == "make":
            dry = subprocess.run(["make", "-n", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False)
            assert dry.returncode == 0, dry.stderr
        else:
            assert program == "holdfast", f"{page}: no test knows how to run {command!r}"
            code = holdfast.run(arguments)
            assert code == 0, f"{command}\n{capfd.readouterr().err}"


def test_pages_with_commands_were_found() -> None:
    assert "README.md" in PAGES
    assert any(command.startswith("holdfast score") for command in commands("README.md"))


def test_both_readmes_name_the_same_commands() -> None:
    assert commands("README.md") == commands("README.zh-CN.md")


def test_generated_pages_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate", PROJECT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    stale = [name for name, page in generate.PAGES.items() if (PROJECT / "docs" / name).read_text("utf-8") != page()]
    assert stale == [], "run `make docs` and commit the pages"


def test_the_demo_walks_the_whole_road(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What `make demo` runs, on a smaller shop: lists, the back-test beside the rules, and where to look."""
    out = tmp_path / "demo"
    assert holdfast.run(["demo", "--customers", "2500", "--out", str(out)]) == 0, capfd.readouterr().err
    said = capfd.readouterr().out
    for word in (
        "Early warning",
        "Retention",
        "Win-back",
        "recency",
        "own cadence",
        "RFM logistic",
        "BG/NBD",
        "mlflow ui",
    ):
        assert word.lower() in said.lower()
    assert (out / "var" / "published" / "current").exists()
    assert (out / "var" / "bundles" / "champion").exists()


def test_the_demo_leaves_a_folder_with_other_things_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert holdfast.run(["demo", "--out", str(tmp_path)]) == 2
    assert "folder of its own" in capfd.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
