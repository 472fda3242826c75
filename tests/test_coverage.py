"""No capability loses its target: each row's code, test and page exist, and the page in docs is the one generated."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_page", DOCS / "coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


coverage = load()
COUNTS = {"1": 12, "2": 22, "3": 24, "4": 10, "5": 13, "6": 28, "7": 19}


def test_every_row_is_there_once() -> None:
    expected = [f"{section}.{n}" for section, count in COUNTS.items() for n in range(1, count + 1)]
    assert list(coverage.rows()) == expected
    assert len(expected) == 128


@pytest.mark.parametrize("number", coverage.rows())
def test_row_has_its_code_its_test_and_its_page(number: str) -> None:
    assert list(coverage.faults(number, coverage.rows()[number])) == []


def test_a_lost_target_is_noticed() -> None:
    lost = {"where": "models.value:gone", "test": "tests/models/test_value.py::test_gone", "shown": "report gone"}
    assert len(list(coverage.faults("0.0", lost))) == 3


def test_chapters_are_those_of_the_report() -> None:
    from serving.chapters import CHAPTERS

    assert tuple(name for name, *_ in CHAPTERS) == coverage.CHAPTERS


def test_the_page_is_up_to_date() -> None:
    assert (DOCS / "coverage.md").read_text(encoding="utf-8") == coverage.page()
