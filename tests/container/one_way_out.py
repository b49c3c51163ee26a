"""The network of a container that reaches one server of this machine and nothing else.

A container without a network forwards a port of its own loopback to a socket in a folder, behind which this process
forwards to the server. Other containers join that one's network.
"""

import contextlib
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

_FORWARD = """
import socket, sys, threading

def copy(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)

server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    client = server.accept()[0]
    out = socket.socket(socket.AF_UNIX)
    out.connect("/way/out")
    for pair in ((client, out), (out, client)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""


@contextlib.contextmanager
def network(folder: Path, port: int, image: str) -> Iterator[str]:
    """What `docker run --network` is given, for a network in which 127.0.0.1 has this machine's port and no other.

    image: any that has Python.
    """
    way, name = folder / "way", f"modelmill-way-{uuid.uuid4().hex[:8]}"
    way.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(way / "out"))
        (way / "out").chmod(0o777)
        server.listen()
        threading.Thread(target=_serve, args=(server, port), daemon=True).start()
        command = ["docker", "run", "--detach", f"--name={name}", "--network=none", f"--volume={way}:/way:ro", image]
        subprocess.run([*command, "python", "-c", _FORWARD, str(port)], check=True, capture_output=True)
        try:
            yield f"container:{name}"
        finally:
            subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True)


def _serve(server: socket.socket, port: int) -> None:
    while True:
        try:
            client = server.accept()[0]
        except OSError:
            return
        out = socket.create_connection(("127.0.0.1", port))
        for pair in ((client, out), (out, client)):
            threading.Thread(target=_copy, args=pair, daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
