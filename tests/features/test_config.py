"""Settings: typed, overridable by the environment, and helpful about slips."""

from __future__ import annotations

from pathlib import Path

import pytest

from features import config
from features.errors import BadConfiguration, MissingInput
from features.windows import Windows


def written(folder: Path, text: str) -> Path:
    path = folder / "holdfast.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_that_says_little_gets_every_default(tmp_path: Path) -> None:
    got = config.load(written(tmp_path, '[tables.purchases]\npath = "log.csv"\n'))
    assert got.span == Windows(91, 182, 0.5)
    assert got.source_of("purchases") == str(tmp_path / "log.csv")
    assert got.var == tmp_path / "var"


def test_a_database_url_is_no_path(tmp_path: Path) -> None:
    got = config.load(written(tmp_path, '[tables.purchases]\npath = "postgresql://shop/db"\ntable = "orders"\n'))
    assert got.source_of("purchases") == "postgresql://shop/db"


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_WINDOWS__HORIZON", "60")
    got = config.load(written(tmp_path, "[windows]\nhorizon = 30\nactive = 90\n"))
    assert (got.windows.horizon, got.windows.active) == (60, 90)
    origin = {key: where for key, _, where in config.effective(got)}
    assert (origin["windows.horizon"], origin["windows.active"], origin["windows.drop"]) == (
        "environment",
        "file",
        "default",
    )


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        # a key that does not exist, at every depth
        ("[windows]\nhorizn = 3\n", "[windows] horizn", "did you mean 'horizon'"),
        ("[window]\nhorizon = 3\n", "window", "did you mean 'windows'"),
        ('[tables.purchases]\npth = "x"\n', "[tables.purchases] pth", "did you mean 'path'"),
        ('[tables.purchse]\npath = "x"\n', "purchse", "did you mean 'purchases'"),
        ("[economics.actions.gift]\ncostt = 2\n", "[economics.actions.gift] costt", "did you mean 'cost'"),
        ('path = "x"\n', "path", "unknown key"),
        # a value that cannot be meant
        ("[windows]\nhorizon = 0\n", "[windows] horizon", "greater than or equal to 1"),
        ('[windows]\nhorizon = "long"\n', "[windows] horizon", "got 'long'"),
        ('[shop]\ntimezone = "Shanghai"\n', "[shop] timezone", "Asia/Shanghai"),
        ('[shop]\nlanguage = "zh"\n', "[shop] language", "zh-CN"),
        ('[shop]\ncurrency = "dollar"\n', "[shop] currency", "got 'dollar'"),
        ("[serving]\nhold_out = 0.9\n", "[serving] hold_out", "less than or equal to 0.5"),
        ("[windows\n", "not TOML", "line 1"),
    ],
)
def test_what_cannot_be_meant_is_named_with_its_place_and_a_hint(
    tmp_path: Path, text: str, place: str, hint: str
) -> None:
    with pytest.raises(BadConfiguration) as caught:
        config.load(written(tmp_path, text))
    assert place in str(caught.value)
    assert hint in str(caught.value)
    assert caught.value.exit_code == 78


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration) as caught:
        config.load(written(tmp_path, "[windows]\nhorizn = 3\nactve = 4\n"))
    assert "horizn" in str(caught.value)
    assert "actve" in str(caught.value)


@pytest.mark.parametrize("name", ["nothing.toml", "."])
def test_no_file_is_a_missing_input_that_says_what_to_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingInput) as caught:
        config.load(tmp_path / name)
    assert "--config" in str(caught.value)
