"""A bundle is read back to the bit, or refused with a reason before LightGBM sees a byte of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from memory import MemoryStore
from shops import WINDOWS

from features.errors import BundleRefused, CannotWrite, UsageError
from features.windows import Windows
from models import bundle
from models.forecaster import Forecaster


@pytest.fixture(scope="module")
def written(fitted: Forecaster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "made"
    bundle.write(fitted, folder, data="d" * 64, metrics={"auc": 0.8}, files={"card.md": b"# card\n"})
    return folder


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def test_what_is_read_is_what_was_written(written: Path, fitted: Forecaster, small: MemoryStore) -> None:
    read = bundle.load(written, WINDOWS)
    assert read == fitted
    for at in ("at risk", "lapsed"):
        pd.testing.assert_frame_equal(
            read.forecast(small, fitted.as_of, at), fitted.forecast(small, fitted.as_of, at), check_exact=True
        )


def test_the_manifest_says_what_it_was_made_of(written: Path, fitted: Forecaster) -> None:
    manifest = bundle.verify(written)
    assert manifest["windows"] == WINDOWS.as_dict()
    assert manifest["features"] == list(fitted.names)
    assert manifest["data"] == "d" * 64
    assert manifest["code"] == bundle.code_digest()
    assert json.loads((written / "metrics.json").read_text()) == {"auc": 0.8}
    assert set(manifest["files"]) | {"manifest.json", "manifest.sha256"} == {
        p.relative_to(written).as_posix() for p in written.rglob("*") if p.is_file()
    }


def test_the_same_forecaster_gives_the_same_bytes_and_no_machine(fitted: Forecaster) -> None:
    first, second = (bundle.content(f, "", {}, {}) for f in (fitted, bundle.with_threads(fitted, 9)))
    assert first == second
    assert not any(str(Path.cwd()).encode() in data for data in first.values())


def test_every_byte_counts(copied: Path) -> None:
    """One bit flipped in every file, at the start, in the middle and at the end."""
    for path in sorted(p for p in copied.rglob("*") if p.is_file()):
        whole = path.read_bytes()
        for place in {0, len(whole) // 2, len(whole) - 1}:
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(BundleRefused):
                bundle.load(copied)
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(BundleRefused):
            bundle.load(copied)
        path.write_bytes(whole)
    assert bundle.load(copied)


def test_a_missing_file_an_extra_file_and_no_bundle_are_refused(copied: Path, tmp_path: Path) -> None:
    (copied / "extra.txt").write_text("hello")
    with pytest.raises(BundleRefused, match="not of it"):
        bundle.load(copied)
    (copied / "extra.txt").unlink()
    (copied / "card.md").unlink()
    with pytest.raises(BundleRefused, match="missing"):
        bundle.load(copied)
    with pytest.raises(BundleRefused, match="there is no bundle"):
        bundle.load(tmp_path / "nowhere")
    assert BundleRefused.exit_code == 70


def test_other_windows_are_refused(written: Path) -> None:
    with pytest.raises(BundleRefused, match="other windows"):
        bundle.load(written, Windows(WINDOWS.horizon, WINDOWS.active + 1))


def test_a_forged_model_with_right_hashes_gives_other_golden_answers(fitted: Forecaster, tmp_path: Path) -> None:
    """Hashes only say that bytes are as written; the golden rows say that the answers are."""
    contents = bundle.content(fitted, "", {}, {})
    told = json.loads(contents["forecaster.json"])
    told["models"]["blend"]["level"] += 0.1
    forged = tmp_path / "forged"
    contents["forecaster.json"] = bundle._json(told)
    manifest = json.loads(contents["manifest.json"])
    manifest["files"]["forecaster.json"] = bundle.hashlib.sha256(contents["forecaster.json"]).hexdigest()
    contents["manifest.json"] = bundle._json(manifest)
    digest = bundle.hashlib.sha256(contents["manifest.json"]).hexdigest()
    contents["manifest.sha256"] = f"{digest}\n".encode()
    for name, data in contents.items():
        (forged / name).parent.mkdir(parents=True, exist_ok=True)
        (forged / name).write_bytes(data)
    with pytest.raises(BundleRefused, match="golden rows"):
        bundle.load(forged)


def test_writing_twice_is_no_fault_and_another_bundle_is_not_overwritten(
    written: Path, fitted: Forecaster, tmp_path: Path
) -> None:
    folder = tmp_path / "b"
    assert bundle.write(fitted, folder) == bundle.write(fitted, folder)
    with pytest.raises(CannotWrite):
        bundle.write(fitted, folder, data="other")
    with pytest.raises(UsageError):
        bundle.write(fitted, tmp_path / "c", files={"../outside": b""})
    assert not (tmp_path / "c").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_golden_rows_are_nobody_and_always_possible(fitted: Forecaster, small: MemoryStore) -> None:
    rows = fitted.golden.snapshot(fitted.as_of)
    x, tx, age = (rows.column(f"btyd_{name}") for name in ("frequency", "recency", "age"))
    assert ((tx > 0) == (x > 0)).all()
    assert (tx <= age).all()
    real = fitted.snapshot(small, fitted.as_of)
    names = [name for name in rows.names if name in real.names]
    mine = np.column_stack([rows.column(name) for name in names])
    theirs = np.column_stack([real.column(name) for name in names])
    for row in mine:
        assert not ((theirs == row) | (np.isnan(theirs) & np.isnan(row))).all(axis=1).any()
