"""The bundle: a forecaster as a folder of text, refused unless every byte is as it was written.

    manifest.json     windows, days, features, hashes of data and code, and the sha256 of every other file
    manifest.sha256   the manifest's own
    forecaster.json   everything but the trees: coefficients, levels, calibration, intervals, settings
    forests/*.txt     LightGBM's text models
    golden.json       golden rows with the answers they must give
    metrics.json      what the back-test measured
    ...               further files of the caller's, such as a model card

Nothing is pickled, so nothing runs by being read. LightGBM dies on a damaged text instead of saying so; therefore all
files are hashed before it sees any. A bundle is written beside its place and renamed into it: it is there whole or
not at all. No clock and no machine is in it: the same forecaster gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd

from features.catalogue import fingerprint
from features.errors import BadConfiguration, BundleRefused, CannotWrite, UsageError
from features.windows import Windows, to_date
from models import (
    churn,
    design,
    forecaster,
    golden,
    intervals,
    lapsed,
    level,
    linear,
    margin,
    procedure,
    purchase,
    rules,
    skill,
    spend,
    stage,
)
from models.forecaster import Forecaster
from models.forest import Forest
from models.process.bgnbd import BGNBD
from models.process.gammagamma import GammaGamma
from models.process.paretonbd import ParetoNBD

FORMAT = 1
KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        Forecaster,
        forecaster.Base,
        forecaster.Models,
        churn.Members,
        churn.Blend,
        design.Design,
        linear.Linear,
        spend.SpendModels,
        intervals.Amounts,
        stage.Levels,
        level.Level,
        lapsed.Lapsed,
        margin.Margin,
        skill.Skill,
        golden.Golden,
        procedure.Procedure,
        purchase.Purchase,
        rules.Rule,
        rules.Process,
        BGNBD,
        ParetoNBD,
        GammaGamma,
        Windows,
    )
}
"""What a bundle may hold; a name that is not here is refused."""


# -- writing


def write(
    made: Forecaster,
    folder: str | Path,
    *,
    data: str = "",
    metrics: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> str:
    """Write a forecaster to `folder`, which must not be there, and return the manifest's sha256.

    `data` is the history store's digest, `metrics` what the back-test measured (JSON), `files` further files by name.
    Raises CannotWrite where the disk refuses or the folder is taken by something else.
    """
    folder = Path(folder)
    contents = content(made, data, metrics or {}, files or {})
    if folder.exists():
        return _there_already(folder, contents)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        desk = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for name, data_bytes in contents.items():
                _write(desk / name, data_bytes)
            _sync(desk)
            desk.chmod(0o755)
            desk.rename(folder)
            _sync(folder.parent)
        finally:
            shutil.rmtree(desk, ignore_errors=True)
    except OSError as error:
        raise CannotWrite(
            "the bundle could not be written", where=str(folder), got=error.strerror or str(error)
        ) from error
    return hashlib.sha256(contents["manifest.json"]).hexdigest()


def content(made: Forecaster, data: str, metrics: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Every file of the bundle, by its name."""
    texts: list[str] = []
    encoded = _encode(made, texts)
    out = {f"forests/{k:03}.txt": text.encode() for k, text in enumerate(texts)}
    out["forecaster.json"] = _json(encoded)
    out["golden.json"] = _json({at: _answers(made, at) for at in ("at risk", "lapsed")})
    out["metrics.json"] = _json(dict(metrics))
    for name, data_bytes in files.items():
        if name in out or name.startswith("manifest.") or Path(name).is_absolute() or ".." in Path(name).parts:
            raise UsageError("a file of the bundle cannot be called that", got=name)
        out[name] = data_bytes
    manifest = {
        "format": FORMAT,
        "as_of": str(to_date(made.as_of)),
        "windows": made.windows.as_dict(),
        "features": list(made.names),
        "modules": {path: fingerprint(path) for path in made.modules},
        "skill": made.skill.found,
        "rows": made.rows,
        "data": data,
        "code": code_digest(),
        "lightgbm": lgb.__version__,
        "files": {name: hashlib.sha256(out[name]).hexdigest() for name in sorted(out)},
    }
    out["manifest.json"] = _json(manifest)
    out["manifest.sha256"] = f"{hashlib.sha256(out['manifest.json']).hexdigest()}\n".encode()
    return out


def code_digest() -> str:
    """sha256 over the source of the rooms that make forecasts."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(p for room in ("features", "models") for p in (root / room).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _encode(value: Any, texts: list[str]) -> Any:
    if isinstance(value, Forest):
        texts.extend(value.texts)
        return {"is": "Forest", "texts": list(range(len(texts) - len(value.texts), len(texts)))}
    if is_dataclass(value) and type(value).__name__ in KINDS:
        held = {f.name: getattr(value, f.name) for f in fields(value)}
        if isinstance(value, procedure.Procedure):
            del held["threads"]  # of this machine; it changes no forecast
        return {"is": type(value).__name__, **{name: _encode(v, texts) for name, v in held.items()}}
    if isinstance(value, tuple):
        return [_encode(v, texts) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"is": "float", "value": repr(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a bundle cannot hold a {type(value).__name__}")


def _answers(made: Forecaster, at: str) -> dict[str, Any]:
    frame = made.forecast_rows(made.golden.snapshot(made.as_of), at)
    numbers = [str(name) for name in frame.select_dtypes("number").columns]
    return {name: [None if np.isnan(v) else float(v) for v in frame[name]] for name in numbers}


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=True) + "\n").encode()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def _sync(folder: Path) -> None:
    for place in (*(p for p in folder.rglob("*") if p.is_dir() and folder.name.startswith(".")), folder):
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _there_already(folder: Path, contents: Mapping[str, bytes]) -> str:
    """The same bundle twice is no fault; another one in its place is."""
    same = all((folder / name).is_file() and (folder / name).read_bytes() == data for name, data in contents.items())
    if not same:
        raise CannotWrite("another bundle is there", where=str(folder), do="name another folder")
    return hashlib.sha256(contents["manifest.json"]).hexdigest()


# -- reading


def load(folder: str | Path, windows: Windows | None = None) -> Forecaster:
    """The forecaster of a bundle, equal to the one that was written.

    Raises BundleRefused where the folder is no bundle, a file is missing, changed or not of it, the golden rows give
    other answers, or the bundle was made for other `windows` or other feature files.
    """
    folder = Path(folder)
    manifest = verify(folder)
    if windows is not None and manifest["windows"] != windows.as_dict():
        raise _refused(
            "the bundle was made for other windows",
            folder,
            allowed=str(windows.as_dict()),
            got=str(manifest["windows"]),
        )
    _check_modules(folder, manifest["modules"])
    try:
        made = _decode(json.loads((folder / "forecaster.json").read_bytes()), folder)
        expected = json.loads((folder / "golden.json").read_bytes())
    except (KeyError, TypeError, ValueError) as error:
        raise _refused("the bundle's forecaster cannot be read", folder, got=str(error)) from None
    if not isinstance(made, Forecaster):
        raise _refused("the bundle holds no forecaster", folder)
    _check_golden(made, expected, folder)
    return made


def verify(folder: str | Path) -> dict[str, Any]:
    """The manifest, after every byte of the bundle was hashed. Raises BundleRefused."""
    folder = Path(folder)
    try:
        data, told = (folder / "manifest.json").read_bytes(), (folder / "manifest.sha256").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise _refused("there is no bundle", folder, do="run `holdfast train` and `holdfast promote`") from None
    if told != f"{hashlib.sha256(data).hexdigest()}\n":
        raise _refused("the bundle's manifest has changed", folder)
    manifest: dict[str, Any] = json.loads(data)
    if manifest.get("format") != FORMAT:
        raise _refused("the bundle has another format", folder, allowed=str(FORMAT), got=str(manifest.get("format")))
    files: dict[str, str] = manifest["files"]
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()}
    foreign = sorted(there - set(files) - {"manifest.json", "manifest.sha256"})
    if foreign:
        raise _refused("the bundle holds a file that is not of it", folder, got=", ".join(foreign[:3]))
    for name, digest in files.items():
        if not (folder / name).is_file():
            raise _refused("a file of the bundle is missing", folder, got=name)
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise _refused("a file of the bundle has changed", folder, got=name)
    return manifest


def _decode(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return tuple(_decode(v, folder) for v in value)
    if not isinstance(value, dict):
        return value
    kind = value["is"]
    if kind == "float":
        return float(value["value"])
    if kind == "Forest":
        return Forest(tuple((folder / f"forests/{int(k):03}.txt").read_text("utf-8") for k in value["texts"]))
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}")
    return KINDS[kind](**{name: _decode(v, folder) for name, v in value.items() if name != "is"})


def _check_modules(folder: Path, modules: Mapping[str, str]) -> None:
    for path, digest in modules.items():
        try:
            same = fingerprint(path) == digest
        except BadConfiguration:
            same = False
        if not same:
            raise _refused(
                "the bundle was made with other features of the shop's own", folder, got=path, do="train again"
            )


def _check_golden(made: Forecaster, expected: Mapping[str, Any], folder: Path) -> None:
    """Golden rows must give their answers, to nine digits: other machines round the last ones differently."""
    for at, answers in expected.items():
        frame: pd.DataFrame = made.forecast_rows(made.golden.snapshot(made.as_of), at)
        for name, values in answers.items():
            wanted = np.array([np.nan if v is None else v for v in values])
            if not np.allclose(frame[name].to_numpy(np.float64), wanted, rtol=1e-9, atol=1e-9, equal_nan=True):
                raise _refused(
                    "the bundle's golden rows give other answers",
                    folder,
                    got=f"{name} of customers {at}",
                    do="train again with the libraries installed here",
                )


def with_threads(made: Forecaster, threads: int) -> Forecaster:
    """The same forecaster on another machine's threads."""
    return replace(made, procedure=replace(made.procedure, threads=threads))


def _refused(what: str, folder: Path, **more: str) -> BundleRefused:
    return BundleRefused(what, where=str(folder), **{"do": "train again, or roll back to another bundle", **more})
