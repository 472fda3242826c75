"""Where runs are remembered: the only file that speaks to MLflow.

A run is opened before the work begins, so that a tracking server which is away is noticed in seconds and not after an
hour of training. Everything goes through a client that was given its address, never through MLflow's global state: a
notebook that uses MLflow for something else is left alone, and nothing is ever written to the current directory. A run
whose process was killed would stay RUNNING for ever; each run carries the process that wrote it, and whoever opens the
tracker next marks as KILLED those whose process is gone.

The registry holds one model per shop. A version is a *models-from-code* pyfunc: MLflow stores the text of
`served_by_mlflow.py` beside the bundle and unpickles nothing. The alias `champion` mirrors `bundles/champion`, which
stays the truth; `challenger` is the youngest bundle that is not the champion.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any
from urllib.parse import urlsplit

# Before MLflow is imported: no telemetry, no progress bars of its own, no pickles, and a server that does not answer is
# asked three times for five seconds instead of eight times for two minutes.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
}.items():
    os.environ.setdefault(_name, _value)

import mlflow.pyfunc  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import (  # noqa: E402
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    RunStatus,
    RunTag,
)
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.models import ModelSignature  # noqa: E402
from mlflow.types import ColSpec, Schema  # noqa: E402
from requests.exceptions import RequestException  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

from features.config import Config  # noqa: E402
from features.errors import CannotWrite, MissingInput, ServiceAway  # noqa: E402

CONNECT_SECONDS = 3.0
BATCH = 500  # metrics in one call; MLflow takes a thousand
CODE = Path(__file__).with_name("served_by_mlflow.py")

for _logger in ("mlflow", "alembic", "urllib3"):
    logging.getLogger(_logger).setLevel(logging.ERROR)


@dataclass(frozen=True)
class Kept:
    """A run as it is remembered: its id, what kind it is (train, backtest, trial), its name, parameters and tags."""

    id: str
    kind: str
    name: str
    status: str
    params: Mapping[str, str]
    tags: Mapping[str, str]


class Tracker:
    """The tracking server of one shop.

    `uri` is an MLflow tracking URI; artifacts of a server that keeps none itself (sqlite, postgresql) go to
    `artifacts`. Raises ServiceAway where a server does not answer, CannotWrite where a local file refuses.
    """

    def __init__(self, uri: str, shop: str, artifacts: Path) -> None:
        self.uri, self.shop = uri, shop
        _knock(uri)
        with self._reached():
            _folder_of(uri)
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            self._experiment = self._find_experiment(artifacts)
        self._reap()

    @classmethod
    def of(cls, config: Config) -> Tracker:
        """The tracker that the configuration names."""
        return cls(config.tracking_uri, config.shop.name, config.var / "mlartifacts")

    @property
    def model(self) -> str:
        """The registered model's name; MLflow allows neither / nor : in it."""
        return "holdfast-" + re.sub(r"[/:]", "-", self.shop)

    @property
    def where(self) -> str:
        """The address as it may be printed: without a password."""
        return re.sub(r"://([^/@:]*):[^/@]*@", r"://\1:***@", self.uri)

    def run(self, kind: str, name: str, *, parent: Run | None = None, tags: Mapping[str, str] | None = None) -> Run:
        """Open a run; use it as a context manager, so that it ends FINISHED, or FAILED with an exception."""
        marks = {
            "mlflow.source.name": "holdfast",
            "holdfast.kind": kind,
            "holdfast.process": _process(),
            **(tags or {}),
        }
        if parent:
            marks["mlflow.parentRunId"] = parent.id
        with self._reached():
            opened = self._client.create_run(self._experiment, run_name=name, tags=marks)
        return Run(self, opened.info.run_id)

    def find(self, run: str) -> Kept:
        """A run by its id, the beginning of its id, or its name (the youngest of that name).

        Raises MissingInput where none is meant, or several.
        """
        runs = self.runs()
        fits = [r for r in runs if r.id == run] or [r for r in runs if r.name == run][:1]
        fits = fits or [r for r in runs if len(run) >= 4 and r.id.startswith(run)]
        if len(fits) != 1:
            known = ", ".join(f"{r.id[:8]} ({r.name})" for r in runs[:5]) or "none yet"
            raise MissingInput(
                f"{'no run is' if not fits else f'{len(fits)} runs are'} called {run!r}",
                where=self.where,
                allowed=known,
            )
        return fits[0]

    def runs(self) -> list[Kept]:
        """All runs of the shop, the youngest first."""
        with self._reached():
            found, token = [], None
            while True:
                page = self._client.search_runs([self._experiment], max_results=1000, page_token=token)
                found += [_kept(run) for run in page]
                token = page.token
                if not token:
                    return found

    def artifact(self, run: str, name: str, into: Path) -> Path:
        """A file or folder of a run, brought to the folder `into`. Raises MissingInput where the run has none."""
        with self._reached(missing=f"the run {run} has no {name}"):
            return Path(self._client.download_artifacts(run, name, str(into)))

    def register(self, run: str, bundle: str) -> str:
        """A registered version of the bundle that the run logged; the one that is there if there is one."""
        with self._reached():
            known = self._version(bundle)
            if known:
                return known
            if not self._client.search_registered_models(f"name='{_quoted(self.model)}'"):
                self._client.create_registered_model(self.model, description=f"The forecasts of {self.shop}.")
            made = self._client.create_model_version(
                self.model, f"runs:/{run}/model", run_id=run, tags={"bundle": bundle}
            )
            return str(made.version)

    def knows(self, bundle: str) -> bool:
        """Whether the registry has a version of a bundle."""
        with self._reached():
            return self._version(bundle) is not None

    def point(self, alias: str, bundle: str) -> bool:
        """Let an alias mean the version of a bundle; False where the registry does not know the bundle."""
        with self._reached():
            version = self._version(bundle)
            if version:
                self._client.set_registered_model_alias(self.model, alias, version)
            return version is not None

    def unpoint(self, alias: str) -> None:
        """Let an alias mean nothing."""
        with self._reached():
            if self.pointed(alias):
                self._client.delete_registered_model_alias(self.model, alias)

    def pointed(self, alias: str) -> str | None:
        """The bundle that an alias means."""
        with self._reached():
            for version in self._versions():
                if alias in version.aliases:
                    return str(version.tags["bundle"])
        return None

    def _version(self, bundle: str) -> str | None:
        return next((str(v.version) for v in self._versions() if v.tags.get("bundle") == bundle), None)

    def _versions(self) -> list[Any]:
        """Registered versions, the youngest first, each with its aliases."""
        found = self._client.search_model_versions(f"name='{_quoted(self.model)}'")
        return [self._client.get_model_version(self.model, v.version) for v in found]

    def _find_experiment(self, artifacts: Path) -> str:
        known = self._client.get_experiment_by_name(self.shop)
        if known is None:
            keeps_its_own = urlsplit(self.uri).scheme in ("http", "https", "databricks")
            place = None if keeps_its_own else artifacts.resolve().as_uri()
            return str(self._client.create_experiment(self.shop, artifact_location=place))
        if known.lifecycle_stage != "active":
            self._client.restore_experiment(known.experiment_id)
        return str(known.experiment_id)

    def _reap(self) -> None:
        """Mark runs as KILLED whose process on this machine is gone."""
        with self._reached():
            for run in self._client.search_runs([self._experiment], "attributes.status = 'RUNNING'"):
                if _is_gone(run.data.tags.get("holdfast.process", "")):
                    self._client.set_terminated(run.info.run_id, "KILLED")

    @contextmanager
    def _reached(self, missing: str | None = None) -> Iterator[None]:
        """Turn what MLflow raises into the error that it means here, and its chatter into silence."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
            if missing and not isinstance(error, (RequestException, SQLAlchemyError)):
                raise MissingInput(missing, where=self.where) from error
            raise _meant(error, self.uri, self.where) from error


class Run:
    """One open run. What is logged is what is given: values are written as they are, nothing is guessed."""

    def __init__(self, tracker: Tracker, run: str) -> None:
        self.tracker, self.id = tracker, run
        self._client = tracker._client

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        with self.tracker._reached():
            self._client.set_terminated(self.id, status)

    def params(self, values: Mapping[str, object]) -> None:
        """Parameters, once each: settings, windows, seeds."""
        with self.tracker._reached():
            for part in _parts([Param(_key(name), str(value)[:6000]) for name, value in values.items()], 100):
                self._client.log_batch(self.id, params=part)

    def tags(self, values: Mapping[str, object]) -> None:
        """Tags: hashes, the bundle's id, the verdict."""
        with self.tracker._reached():
            self._client.log_batch(self.id, tags=[RunTag(_key(name), str(v)[:5000]) for name, v in values.items()])

    def metrics(self, values: Iterable[tuple[str, float, int]]) -> None:
        """(name, value, step); what is missing is not logged, since MLflow would store a number in its place."""
        kept = [Metric(_key(name), float(value), 0, int(step)) for name, value, step in values if np.isfinite(value)]
        with self.tracker._reached():
            for part in _parts(kept, BATCH):
                self._client.log_batch(self.id, metrics=part)

    def table(self, name: str, table: pd.DataFrame) -> None:
        """A table as a CSV artifact."""
        self.text(name, table.to_csv(index=False, lineterminator="\n"))

    def text(self, name: str, text: str) -> None:
        """A text artifact: Markdown, SVG, JSON, CSV."""
        self.file(name, text.encode("utf-8"))

    def file(self, name: str, content: bytes) -> None:
        """An artifact of any kind, `folder/name`."""
        with tempfile.TemporaryDirectory() as place, self.tracker._reached():
            path = Path(place) / Path(name).name
            path.write_bytes(content)
            self._client.log_artifact(self.id, str(path), str(Path(name).parent) if "/" in name else None)

    def dataset(self, name: str, sha256: str, source: str, profile: str) -> None:
        """What was learned from: the history's digest as dataset and, whole, as tag."""
        data = Dataset(name=name, digest=sha256[:16], source_type="local", source=source, profile=profile)
        with self.tracker._reached():
            self._client.log_inputs(self.id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
        self.tags({"holdfast.data_sha256": sha256})

    def bundle(self, folder: Path, bundle: str) -> None:
        """The bundle as a models-from-code pyfunc, and a registered version of it."""
        with tempfile.TemporaryDirectory() as place, self.tracker._reached():
            model = Path(place) / "model"
            mlflow.pyfunc.save_model(
                str(model),
                python_model=str(CODE),
                artifacts={"bundle": str(folder)},
                pip_requirements=["holdfast"],
                signature=ModelSignature(Schema([ColSpec("string", "history"), ColSpec("string", "as_of")])),
            )
            self._client.log_artifacts(self.id, str(model), "model")
        self.tracker.register(self.id, bundle)


def _kept(run: Any) -> Kept:
    tags = dict(run.data.tags)
    return Kept(
        run.info.run_id,
        tags.get("holdfast.kind", ""),
        run.info.run_name,
        RunStatus.to_string(run.info.status) if isinstance(run.info.status, int) else run.info.status,
        MappingProxyType(dict(run.data.params)),
        MappingProxyType(tags),
    )


def _key(name: str) -> str:
    """A name that MLflow takes: letters of any script, digits, and _-./ or a space."""
    return re.sub(r"[^\w\-./ ]", "_", name)[:250]


def _quoted(name: str) -> str:
    return name.replace("'", "''")


def _parts(values: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _knock(uri: str) -> None:
    """Raise ServiceAway where nothing listens at a server's address: MLflow itself would take minutes to say so."""
    parts = urlsplit(uri)
    if not parts.hostname:
        return
    port = parts.port or {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}.get(parts.scheme.split("+")[0])
    if port is None:
        return
    try:
        socket.create_connection((parts.hostname, port), CONNECT_SECONDS).close()
    except OSError as error:
        raise _away(f"{parts.hostname}:{port}", str(error)) from error


def _away(where: str, got: str) -> ServiceAway:
    return ServiceAway(
        "the tracking server does not answer",
        where=where,
        got=got,
        do="start it, or unset MLFLOW_TRACKING_URI and [state] tracking: runs are then kept beside the configuration",
    )


def _meant(error: Exception, uri: str, where: str) -> ServiceAway | CannotWrite:
    got = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    if uri.startswith("sqlite:"):
        return CannotWrite(
            "the runs could not be written", where=where, got=got, do="check the folder's rights and room"
        )
    return _away(where, got)


def _folder_of(uri: str) -> None:
    """Make the folder that a sqlite file will lie in."""
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)


def _process() -> str:
    """This process, so that it can be told from a later one with the same number: host, number, start."""
    return f"{socket.gethostname()} {os.getpid()} {_started(os.getpid())}"


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks; "" where the kernel does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _is_gone(process: str) -> bool:
    """True only where the process was on this machine and is no more."""
    host, _, rest = process.partition(" ")
    pid, _, started = rest.partition(" ")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return bool(started) and _started(int(pid)) != started
