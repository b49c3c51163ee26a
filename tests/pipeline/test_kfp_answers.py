"""A KFP that answers with errors, pages or nothing, and a cluster file of another version: each is one line."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelmill.core.image import VERSION
from tests import kfp_cluster
from tests.kfp_cluster import Done, cluster_recipe, write_cluster
from tests.kfp_server import KfpServer

pytestmark = pytest.mark.usefixtures("reachable")

PAGE = (
    "<!doctype html><html><head><style>p {color: red}</style></head><body><h1>502 Bad Gateway</h1>nginx</body></html>"
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kfp_cluster.isolate(monkeypatch, tmp_path)


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The address of a server that gives every connection the same bytes and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(65536)
                        connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            # A listener that is only closed leaves the other thread in `accept`.
            listening.shutdown(socket.SHUT_RDWR)


def page(status: str, body: str = PAGE) -> bytes:
    lines = (
        f"HTTP/1.1 {status}",
        "Content-Type: text/html",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "",
        body,
    )
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (page("502 Bad Gateway"), 1, "answered 502: 502 Bad Gateway nginx; the same command again goes on"),
        (page("503 Service Unavailable", ""), 1, "answered 503: Service Unavailable; the same command again goes on"),
        (page("401 Unauthorized"), 2, "it wants a token (401); set MODELMILL_KFP_TOKEN or kfp.token_file to a new one"),
        (page("200 OK"), 2, "something answers, but not as KFP's v2beta1 API"),
        (page("200 OK", ""), 2, "something answers, but not as KFP's v2beta1 API"),
        (page("200 OK", "[1]"), 2, "something answers, but not as KFP's v2beta1 API"),
        (b"", 2, "does not answer ("),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 2, "does not answer ("),
    ],
    ids=["502 page", "503 nothing", "401 page", "200 page", "200 empty", "200 list", "closes", "not HTTP"],
)
@pytest.mark.parametrize("command", ["status", "submit"])
def test_what_is_no_answer_of_kfp_is_one_line(
    call: Callable[..., Done], tmp_path: Path, command: str, answer: bytes, code: int, said: str
) -> None:
    with answering(answer) as url:
        words = ("submit", cluster_recipe(tmp_path)) if command == "submit" else ("status",)
        done = call(*words, "--cluster", write_cluster(tmp_path, url))
    assert done.code == code, done.err
    assert done.err.count("\n") == 1 and done.err.startswith(f"modelmill: kfp.host {url}: "), done.err
    assert said in done.err
    assert "<" not in done.err and "color: red" not in done.err


def test_a_cluster_file_of_another_version_is_one_line(
    kfp: KfpServer, call: Callable[..., Done], tmp_path: Path
) -> None:
    cluster = write_cluster(tmp_path, kfp.url)
    cluster.write_text(f"{cluster.read_text()}\nkubeconfig: {{context: mill}}\n")
    done = call("submit", cluster_recipe(tmp_path), "--cluster", cluster)
    assert (done.code, done.err) == (
        2,
        f"modelmill: {cluster}: kubeconfig: unknown key; known: kfp, store, endpoint, region, mlflow, images, secrets, "
        f"profiles; docs/cluster.md has the keys of this version, {VERSION}\n",
    )
    assert kfp.requests == []


@pytest.mark.parametrize(
    ("tag", "is_other"), [("0.0.9", True), ("v0.0.9", True), (VERSION, False), ("main-3f2a", False)]
)
def test_images_of_another_version_are_a_warning(
    kfp: KfpServer, call: Callable[..., Done], tmp_path: Path, tag: str, is_other: bool
) -> None:
    cluster = write_cluster(tmp_path, kfp.url)
    cluster.write_text(cluster.read_text().replace("images:\n", f"images:\n  tag: {tag}\n"))
    done = call("submit", cluster_recipe(tmp_path), "--cluster", cluster)
    assert done.code == 0
    warned = [line for line in done.err.splitlines() if "images.tag" in line]
    assert len(warned) == is_other
    assert not is_other or f"images.tag: {tag}, and this is Modelmill {VERSION}" in warned[0]
    assert not is_other or "pip install modelmill==0.0.9" in warned[0]
