"""Certificates, the token, and discovery by URL, as a program sets them."""

from __future__ import annotations

import itertools
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import kamacache
import pytest
from helpers import key_owned_by

ROOT = pathlib.Path(__file__).resolve().parents[3]
SECRET = "the-secret-of-this-very-cluster"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A member of an authority made for these tests."""
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run(["sh", ROOT / "tests/certificates.sh", folder], check=True)
    return {"ca": str(folder / "ca.pem"), "cert": str(folder / "node.pem"), "key": str(folder / "node.key")}


def define(node: kamacache.Node) -> kamacache.Group[bytes]:
    return node.group("g", lambda key: f"{key} from {node.address}".encode(), max_bytes="1MiB")


def test_s40_members_with_certificates_and_token(certificates: dict[str, str]) -> None:
    options: dict[str, Any] = {"tls": certificates, "cluster_token": SECRET}
    with kamacache.Node("127.0.0.1:0", **options) as a, kamacache.Node("127.0.0.1:0", **options) as b:
        here, there = define(a), define(b)
        for node in (a, b):
            node.set_peers([a.address, b.address])
        key = key_owned_by(b)
        assert here.get(key) == f"{key} from {b.address}".encode()
        here.set(key, b"x" * 100_000)
        assert there.peek(key) == here.get(key) == b"x" * 100_000


def test_s40_a_file_of_tokens_is_read_again(tmp_path: pathlib.Path) -> None:
    file, renewed = tmp_path / "tokens", tmp_path / "new"
    file.write_text(SECRET)
    following = "the-token-that-comes-after-it"
    with (
        kamacache.Node("127.0.0.1:0", cluster_token_file=str(file)) as member,
        kamacache.Node("127.0.0.1:0", cluster_token=f"{following} {SECRET}") as other,
    ):
        define(member)
        group = define(other)
        for node in (member, other):
            node.set_peers([member.address, other.address])
        key = key_owned_by(member)
        # The first token is sent, and the member knows the second only.
        assert group.get(key) == f"{key} from {other.address}".encode(), "loaded by itself"
        renewed.write_text(f"{SECRET}\n{following}\n")
        renewed.rename(file)
        deadline = time.monotonic() + 30
        while True:
            try:
                group.set(key, b"let in")
                break
            except kamacache.Unavailable:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert group.get(key) == b"let in"


@pytest.mark.parametrize("options", [{}, {"cluster_token": "another-secret-altogether"}])
def test_s40_without_the_token_there_is_no_data(options: dict[str, Any]) -> None:
    with (
        kamacache.Node("127.0.0.1:0", cluster_token=SECRET) as member,
        kamacache.Node("127.0.0.1:0", **options) as stranger,
    ):
        theirs, group = define(member), define(stranger)
        stranger.set_peers([member.address, stranger.address])
        # In the stranger's view: the member lists nobody but itself.
        keys = (f"key-{number}" for number in itertools.count())
        key = next(key for key in keys if stranger.owner(key) == member.address)
        assert group.get(key) == f"{key} from {stranger.address}".encode(), "loaded by itself"
        with pytest.raises(kamacache.Unavailable, match="same cluster_token") as refused:
            group.set(key, b"mine")
        assert SECRET not in str(refused.value)
        assert theirs.peek(key) is None


def test_s40_wrong_files_are_named_at_the_start(certificates: dict[str, str]) -> None:
    wrong = certificates | {"key": certificates["cert"]}
    with pytest.raises(kamacache.InvalidArgument, match="tls key"), kamacache.Node("127.0.0.1:0", tls=wrong):
        pass


@pytest.mark.parametrize(
    ("tls", "named"),
    [
        ({}, 'no "ca"'),
        ({"ca": "ca.pem"}, 'no "cert"'),
        ({"ca": "ca.pem", "cert": "node.pem", "key": None}, 'no "key"'),
        ({"ca": "ca.pem", "cert": "node.pem", "keys": "node.key"}, "no 'keys'"),
        ({7: "ca.pem"}, "no 7"),
    ],
    ids=repr,
)
def test_s40_tls_with_missing_or_unknown_parts(tls: Any, named: str) -> None:
    with pytest.raises(kamacache.InvalidArgument, match=named):
        kamacache.Node("127.0.0.1:0", tls=tls)


@pytest.mark.parametrize("tls", [5, "ca.pem", ["ca"], {"ca": 5}, {"ca": b"ca.pem"}, {"name": []}], ids=repr)
def test_s40_tls_of_the_wrong_type(tls: Any) -> None:
    with pytest.raises(TypeError, match="tls.* is a (dict|str)"):
        kamacache.Node("127.0.0.1:0", tls=tls)


@pytest.mark.parametrize("path", ["", "no/such/file.pem", "\0", "\ud800"], ids=repr)
def test_s40_tls_files_that_cannot_be_read(certificates: dict[str, str], path: str) -> None:
    with pytest.raises(kamacache.InvalidArgument, match="tls ca"):
        kamacache.Node("127.0.0.1:0", tls=certificates | {"ca": path}).start()


def test_a_discovery_url_of_no_kind_lists_those_there_are() -> None:
    with (
        pytest.raises(kamacache.InvalidArgument, match=r"(?s)dns://NAME:PORT.*etcd://"),
        kamacache.Node("127.0.0.1:0", discovery="gopher://x"),
    ):
        pass


@pytest.fixture
def etcd(tmp_path: pathlib.Path) -> Iterator[str]:
    """A real etcd; its host:port."""
    with socket.socket() as client, socket.socket() as peer:
        client.bind(("127.0.0.1", 0))
        peer.bind(("127.0.0.1", 0))
        address, inside = (f"127.0.0.1:{taken.getsockname()[1]}" for taken in (client, peer))
    program = shutil.which("etcd", path="/usr/bin:/usr/sbin:/usr/local/bin")
    assert program, "etcd is missing; `make setup` installs it"
    server = subprocess.Popen(
        [
            program,
            f"--data-dir={tmp_path}/data",
            f"--listen-client-urls=http://{address}",
            f"--advertise-client-urls=http://{address}",
            f"--listen-peer-urls=http://{inside}",
            f"--initial-advertise-peer-urls=http://{inside}",
            f"--initial-cluster=default=http://{inside}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield address
    server.kill()
    server.wait()


def test_nodes_find_each_other_in_etcd(etcd: str) -> None:
    url = f"etcd://{etcd}/scores"
    with kamacache.Node("127.0.0.1:0", discovery=url) as a, kamacache.Node("127.0.0.1:0", discovery=url) as b:
        define(a), define(b)
        expected = sorted([a.address, b.address])
        deadline = time.monotonic() + 20
        while not (a.members() == b.members() == expected):
            assert time.monotonic() < deadline, (a.members(), b.members())
            time.sleep(0.02)
