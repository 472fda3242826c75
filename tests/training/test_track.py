"""Runs are kept where the settings say, end as they ended, and a server that is away is noticed at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from features.errors import CannotWrite, MissingInput, ServiceAway
from training.track import Tracker


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    var = tmp_path_factory.mktemp("var")
    return Tracker(f"sqlite:///{var / 'runs' / 'mlflow.db'}", "Café 上海: one/two", var / "mlartifacts")


def test_a_run_keeps_what_it_was_given(tracker: Tracker, tmp_path: Path) -> None:
    with tracker.run("train", "train 1998-03-31") as run:
        run.params({"windows.horizon": 91, "seed": 7})
        run.tags({"holdfast.code": "abc"})
        run.metrics([("holdfast/auc", 0.7, 10), ("holdfast/auc", 0.8, 20), ("成长/level", 1.01, 0)])
        run.metrics([("missing", float("nan"), 0)])
        run.table("tables/backtest.csv", pd.DataFrame({"model": ["recency"], "value": [0.1]}))
        run.dataset("purchases", "f" * 64, "var/history", "10 customers")
    kept = tracker.find(run.id)
    assert (kept.kind, kept.status, kept.name) == ("train", "FINISHED", "train 1998-03-31")
    assert kept.params == {"windows.horizon": "91", "seed": "7"}
    assert kept.tags["holdfast.data_sha256"] == "f" * 64
    history = tracker._client.get_metric_history(run.id, "holdfast/auc")
    assert [(m.step, m.value) for m in history] == [(10, 0.7), (20, 0.8)]
    assert set(tracker._client.get_run(run.id).data.metrics) == {"holdfast/auc", "成长/level"}
    brought = tracker.artifact(run.id, "tables/backtest.csv", tmp_path)
    assert brought.read_text() == "model,value\nrecency,0.1\n"


def test_a_run_is_found_by_id_beginning_or_name(tracker: Tracker) -> None:
    with tracker.run("backtest", "same name"):
        pass
    with tracker.run("backtest", "same name") as young:
        pass
    assert tracker.find("same name").id == young.id
    assert tracker.find(young.id[:10]).id == young.id
    with pytest.raises(MissingInput, match="no run is called 'nothing'"):
        tracker.find("nothing")
    with pytest.raises(MissingInput, match=r"has no tables/x\.csv"):
        tracker.artifact(young.id, "tables/x.csv", Path("."))


def test_an_exception_leaves_the_run_failed_and_nested_runs_know_their_parent(tracker: Tracker) -> None:
    opened = []

    def fail() -> None:
        with tracker.run("train", "fails") as outer:
            with tracker.run("trial", "inner", parent=outer) as inner:
                opened.extend([outer, inner])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    outer, inner = opened
    assert tracker.find(outer.id).status == "FAILED"
    assert tracker.find(inner.id).status == "FINISHED"
    assert tracker.find(inner.id).tags["mlflow.parentRunId"] == outer.id


def test_the_run_of_a_killed_process_is_marked_when_the_tracker_is_opened_next(tracker: Tracker) -> None:
    """A child opens a run and is killed with SIGKILL; our own run, still open, must stay RUNNING."""
    child = (
        "import os, signal, sys; from pathlib import Path; from training.track import Tracker\n"
        "tracker = Tracker(sys.argv[1], sys.argv[2], Path(sys.argv[3]))\n"
        "print(tracker.run('train', 'killed').id, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    place = Path(tracker.uri.removeprefix("sqlite:///")).parent / "mlartifacts"
    arguments = [sys.executable, "-c", child, tracker.uri, tracker.shop, str(place)]
    killed = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    with tracker.run("train", "alive") as alive:
        assert tracker.find(killed.stdout.strip()).status == "RUNNING"
        again = Tracker(tracker.uri, tracker.shop, place)
        assert again.find(killed.stdout.strip()).status == "KILLED"
        assert again.find(alive.id).status == "RUNNING"
    assert killed.stderr == ""


def test_aliases_follow_the_bundle(tracker: Tracker) -> None:
    with tracker.run("train", "with bundles") as run:
        for bundle in ("b-one", "b-two"):
            tracker.register(run.id, bundle)
            tracker.register(run.id, bundle)
    assert tracker.pointed("champion") is None
    assert tracker.point("champion", "b-one")
    assert tracker.pointed("champion") == "b-one"
    assert tracker.point("champion", "b-two")
    assert tracker.point("challenger", "b-one")
    assert (tracker.pointed("champion"), tracker.pointed("challenger")) == ("b-two", "b-one")
    assert not tracker.point("champion", "b-unknown")
    tracker.unpoint("challenger")
    assert (tracker.pointed("champion"), tracker.pointed("challenger")) == ("b-two", None)
    assert len(tracker._versions()) == 2


def test_a_server_that_is_not_there_is_a_service_away(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        with pytest.raises(ServiceAway, match="does not answer") as raised:
            Tracker(f"http://somebody:secret@127.0.0.1:{port}", "shop", tmp_path)
    assert raised.value.exit_code == 69
    assert "secret" not in raised.value.message()


def test_a_server_that_is_no_tracking_server_is_a_service_away(tmp_path: Path) -> None:
    """Something listens, but closes every connection."""
    server = (
        "import socket\n"
        "s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\n"
        "while True: s.accept()[0].close()"
    )
    with subprocess.Popen([sys.executable, "-c", server], stdout=subprocess.PIPE, text=True) as listening:
        assert listening.stdout is not None
        port = int(listening.stdout.readline())
        try:
            with pytest.raises(ServiceAway):
                Tracker(f"http://127.0.0.1:{port}", "shop", tmp_path)
        finally:
            listening.kill()


def test_a_file_that_refuses_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(CannotWrite, match="runs could not be written"):
        Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "shop", tmp_path)


def test_nothing_is_written_to_the_current_directory_and_nothing_is_said(tmp_path: Path) -> None:
    child = (
        "import sys; from pathlib import Path; from training.track import Tracker\n"
        "var = Path(sys.argv[1], 'var')\n"
        "with Tracker(f'sqlite:///{var}/mlflow.db', 'shop', var / 'artifacts').run('train', 'name'): pass"
    )
    here = tmp_path / "here"
    here.mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    said = subprocess.run(
        [sys.executable, "-c", child, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=here,
        env=environment,
        check=True,
    )
    assert (said.stdout, said.stderr) == ("", "")
    assert list(here.iterdir()) == []
