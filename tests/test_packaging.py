"""The wheel holds the four rooms and the front door, and works where the source tree is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
ROOMS = ("features", "models", "training", "serving")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=PROJECT,
        check=True,
        capture_output=True,
    )
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_rooms_the_front_door_and_the_licence_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {*ROOMS, "holdfast.py"}
    assert all(f"{room}/py.typed" in names for room in ROOMS)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    tracked = {
        str(path.relative_to(PROJECT))
        for room in ROOMS
        for path in (PROJECT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert tracked <= set(names), "every file of a room travels with it"


def test_the_wheel_runs_elsewhere(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", "import holdfast; print(holdfast.__file__)").strip() == str(site / "holdfast.py")
    run("-m", "holdfast", "simulate", "--customers", "200", "--seed", "1", "--out", "shop")
    run("-m", "holdfast", "ingest", "--config", "shop/holdfast.toml")
    assert (tmp_path / "shop" / "var" / "history").is_dir()


def test_help_imports_nothing_heavy() -> None:
    heavy = ("pandas", "lightgbm", "mlflow", "sklearn", "scipy", "pyarrow", "numpy", "sqlalchemy", "pydantic")
    code = f"import sys, holdfast; holdfast.run(['--help']); print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "ingest" in done.stdout


def test_every_pin_is_a_plain_version_and_every_dependency_is_pinned() -> None:
    pins = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_]+", pin) for pin in pins)
    pinned = {re.sub(r"[-_.]+", "-", pin.split("==")[0]).lower() for pin in pins}
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [
        each for extra in ("dev", "postgres", "tune") for each in project["optional-dependencies"][extra]
    ]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", each)[0]).lower() for each in wanted}
    assert names <= pinned, names - pinned
