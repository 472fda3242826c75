"""What every test may ask for: real logs (where they lie beside the project) and quiet, repeatable hypothesis."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "test",
    max_examples=int(os.environ.get("HOLDFAST_EXAMPLES", "50")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
settings.load_profile("test")

PROJECT = Path(__file__).resolve().parent.parent
LOGS = Path(os.environ.get("HOLDFAST_LOGS", PROJECT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def real_log() -> Callable[[str], Path]:
    """The folder of a real log (cdnow, olist, hillstrom); the test is skipped where it is not at hand."""

    def folder(name: str) -> Path:
        path = LOGS / name
        if not path.is_dir():
            pytest.skip(f"the {name} log is not at hand ({path}); HOLDFAST_LOGS names the folder of the logs")
        return path

    return folder
