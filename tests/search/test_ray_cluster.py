"""Engine `ray`: an address that cannot be reached, a cluster without a free processor, and a node that is lost."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo.errors import SpecError, StoreError
from hpo.search.engines import ray_cluster, ray_internals, run_search
from hpo.search.search_listener import SearchListener
from hpo.store.trial_state import is_finished, outcome
from hpo.study.spec import load_study

OVERRIDES = ("search.engine='ray'", "search.workers=2", "search.trials=3", "training.num_train_epochs=60")


class ClusterListener(SearchListener):
    """Collects notices, and changes the cluster once at a condition."""

    def __init__(self, condition: Callable[[int, list[str]], bool], change: Callable[[], Any]) -> None:
        self.condition, self.change = condition, change
        self.notices: list[str] = []
        self.is_changed = False

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def runs(self, study: optuna.Study) -> None:
        running = sum(outcome(trial) == "running" for trial in study.get_trials(deepcopy=False))
        if not self.is_changed and self.condition(running, self.notices):
            self.is_changed = True
            self.change()


@contextmanager
def server(answer: bytes | None) -> Iterator[int]:
    """A server that gives every client this answer, or none."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                if answer is not None:
                    connection.recv(100)
                    connection.sendall(answer)
                ended.wait()

        ended = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        ended.set()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "reason"), [(None, "timed out"), (b"HTTP/1.1 400 Bad Request", "what listens there is no Ray cluster")]
)
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_no_cluster_answers_is_an_error(
    small: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes | None, reason: str, scheme: str
) -> None:
    monkeypatch.setattr(ray_cluster, "CONNECT_SECONDS", 0.3)
    with server(answer) as port, pytest.raises(SpecError, match=f"RAY_ADDRESS={scheme}127.0.0.1:{port} .{reason}"):
        ray_cluster.check_address(load_study(small), f"{scheme}127.0.0.1:{port}")
    with pytest.raises(SpecError, match="refused.; start Ray, or unset RAY_ADDRESS"):
        ray_cluster.check_address(load_study(small), f"{scheme}127.0.0.1:{port}")


def test_a_server_that_speaks_http2_may_be_a_cluster(small: Path) -> None:
    with server(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00") as port:
        ray_cluster.check_address(load_study(small), f"127.0.0.1:{port}")
    ray_cluster.check_address(load_study(small), "auto")


def test_private_names_of_ray_exist() -> None:
    pytest.importorskip("ray")
    for module, names in ray_internals.PRIVATE_NAMES.items():
        assert all(hasattr(import_module(module), name) for name in names)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A real cluster whose head runs no workers."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    cluster.shutdown()


@pytest.mark.long
def test_a_search_continues_after_its_node_is_lost(
    small: Path, cluster: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    _, lost = (cluster.add_node(num_cpus=1) for _ in range(2))
    capfd.readouterr()
    listener = ClusterListener(lambda running, _: running == 2, lambda: cluster.remove_node(lost, allow_graceful=False))
    study = run_search(load_study(small, OVERRIDES), f"sqlite:///{small.parent}/store.db", listener)
    assert listener.is_changed and sum(map(is_finished, study.get_trials())) == len(study.get_trials()) == 3
    assert any("was lost with its Ray node or actor" in text for text in listener.notices)
    assert "raylet" not in capfd.readouterr().out


@pytest.mark.long
def test_a_search_waits_for_a_free_processor(small: Path, cluster: Any) -> None:
    listener = ClusterListener(
        lambda _, notices: any("waiting for 1 CPU" in text for text in notices), lambda: cluster.add_node(num_cpus=1)
    )
    study = run_search(load_study(small, OVERRIDES), f"sqlite:///{small.parent}/store.db", listener)
    assert "waiting for 1 CPU of the Ray cluster, which has 0 free" in listener.notices
    assert sum(map(is_finished, study.get_trials())) == 3, "one worker has done all, and the other waits no longer"


@pytest.mark.long
def test_several_machines_cannot_share_an_sqlite_store(small: Path, cluster: Any) -> None:
    for address in ("127.0.0.2", "127.0.0.3"):
        cluster.add_node(num_cpus=1, node_ip_address=address)
    with pytest.raises(StoreError, match="has 2 machines, which cannot share an SQLite file; use a database server"):
        run_search(load_study(small, OVERRIDES), f"sqlite:///{small.parent}/store.db", SearchListener())
    assert list(small.parent.iterdir()) == [small]
