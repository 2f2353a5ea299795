"""The overlays render, are valid, fit together, and are what the command takes:
pods of the small one are started as processes here, find each other by a real
DNS server, and answer the probes that the manifest names.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tomllib
from collections.abc import Iterator

import pytest
from manifests import OVERLAYS, Manifest, config_file, container, only, pod, rendered, variables
from serving import LONG, Serve, http, run, until

#: The oldest release that the manifests are for, and a newer one.
RELEASES = ("1.30", "1.34")
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def valid(manifests: list[Manifest]) -> None:
    """By the schemas of Kubernetes, strictly: an unknown field is an error."""
    checker = pytest.importorskip("kubernetes_validate", reason="make test-deploy installs kubernetes-validate")
    for manifest in manifests:
        for release in RELEASES:
            checker.validate(manifest, release, strict=True)


def fits_together(manifests: list[Manifest], namespace: str) -> None:
    """Names, labels, ports and times that one manifest takes from another."""
    template = only(manifests, "Deployment")["spec"]["template"]
    labels = template["metadata"]["labels"].items()
    ports = {port["name"]: port["containerPort"] for port in container(manifests)["ports"]}
    services = [m for m in manifests if m["kind"] == "Service"]
    assert len(services) == 2
    for service in services:
        assert service["spec"]["selector"] and service["spec"]["selector"].items() <= labels
        assert all(port["targetPort"] in ports and port["port"] == ports[port["targetPort"]] for port in service["spec"]["ports"])
    for selector in (
        only(manifests, "PodDisruptionBudget")["spec"]["selector"],
        only(manifests, "Deployment")["spec"]["selector"],
        *(m["spec"]["podSelector"] for m in manifests if m["kind"] == "NetworkPolicy"),
    ):
        assert selector["matchLabels"] and selector["matchLabels"].items() <= labels
    for policy in (m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"):
        assert all(port["port"] in ports for rule in policy["ingress"] for port in rule["ports"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container(manifests)[probe]["httpGet"]["port"] in ports
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(ports["admin"])
    # Members are found by the headless service.
    headless = next(service for service in services if service["spec"].get("clusterIP") == "None")
    env = {one["name"]: one.get("value", "") for one in container(manifests)["env"]}
    name = f"{headless['metadata']['name']}.$(POD_NAMESPACE).svc.cluster.local"
    assert env["KAMACACHE_DISCOVERY"].startswith(f"dns://{name}:{ports['grpc']}?")
    assert env["KAMACACHE_LISTEN"].endswith(f":{ports['grpc']}") and env["KAMACACHE_ADMIN"].endswith(f":{ports['admin']}")
    # What is mounted is there, and the file's name is what the variable says.
    volumes = {volume["name"]: volume for volume in pod(manifests)["volumes"]}
    assert {mount["name"] for mount in container(manifests)["volumeMounts"]} == set(volumes)
    assert volumes["config"]["configMap"]["name"] == only(manifests, "ConfigMap")["metadata"]["name"]
    assert all(m["metadata"].get("namespace", namespace) == namespace for m in manifests)
    # Leaving in order fits into the grace, and the cache into the memory.
    config = tomllib.loads(config_file(manifests))
    before = container(manifests)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(manifests)["terminationGracePeriodSeconds"] >= before + seconds(config["drain"]) + 5
    budget = sum(size(group["max_bytes"]) for group in config["groups"].values())
    resources = container(manifests)["resources"]
    assert size(resources["limits"]["memory"]) >= budget * 5 // 4
    # The processor is not limited: a node that stands still is taken for dead.
    assert "cpu" not in resources["limits"]


def check(manifests: list[Manifest], folder: pathlib.Path) -> None:
    """The command takes each option as the manifest gives it."""
    (folder / "config").mkdir()
    (folder / "config/kamacache.toml").write_text(config_file(manifests))
    mounts = {"config": folder / "config", "tls": certificates(folder)}
    env = variables(manifests, ip="10.0.0.7", namespace="ns", mounts=mounts, token="t" * 32)
    checked = run(*container(manifests)["args"], "--check", **env)
    assert checked.returncode == 0, checked.stderr
    for given in ('advertise = "10.0.0.7:8001"', "svc.cluster.local:8001", "groups.scores.getter_url"):
        assert given in checked.stdout
    wrong = run(*container(manifests)["args"], "--check", **env, KAMACACHE_LISTENS="x")
    assert wrong.returncode == 3, "an option that is not there is refused"


def certificates(folder: pathlib.Path) -> pathlib.Path:
    """The secret kamacache-tls, as docs/guide/kubernetes.md makes it."""
    made = folder / "tls"
    made.mkdir()
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    uses = "subjectAltName=DNS:kama.internal\nextendedKeyUsage=serverAuth,clientAuth"
    (made / "uses").write_text(uses)
    for command in (
        ["openssl", "req", "-x509", *key, "-days", "2", "-subj", "/CN=cluster", "-keyout", "ca.key", "-out", "ca.crt"],
        ["openssl", "req", *key, "-subj", "/CN=kama.internal", "-keyout", "tls.key", "-out", "tls.csr"],
        ["openssl", "x509", "-req", "-in", "tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
         "-days", "1", "-extfile", "uses", "-out", "tls.crt"],
    ):  # fmt: skip
        subprocess.run(command, cwd=made, check=True, capture_output=True)
    return made


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_are_valid(overlay: str) -> None:
    valid(rendered(overlay))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_belongs_together_fits(overlay: str) -> None:
    namespace = only(rendered(overlay), "Deployment")["metadata"]["namespace"]
    fits_together(rendered(overlay), namespace)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_command_takes_the_options(overlay: str, tmp_path: pathlib.Path) -> None:
    check(rendered(overlay), tmp_path)


def listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


class Names:
    """A DNS server with one name, as the headless service has it."""

    def __init__(self, folder: pathlib.Path, address: str, name: str) -> None:
        self._hosts, self._name = folder / "hosts", name
        self._hosts.write_text("")
        self.process = subprocess.Popen(
            ["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root",
             f"--addn-hosts={self._hosts}", f"--listen-address={address}", "--bind-interfaces", "--port=5353",
             "--local=/local/", "--pid-file="],
            env=os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin"}, stderr=subprocess.DEVNULL,
        )  # fmt: skip

        until("the DNS server listens", lambda: listens(address, 5353))

    def ready(self, ips: list[str]) -> None:
        """These pods are ready."""
        self._hosts.write_text("".join(f"{ip} {self._name}\n" for ip in ips))
        self.process.send_signal(signal.SIGHUP)  # reads its file again

    def __enter__(self) -> Names:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(LONG)


@pytest.fixture
def ips() -> Iterator[list[str]]:
    """Loopback addresses that nobody else uses, for pods whose ports are fixed."""
    pid = os.getpid()
    yield [f"127.{64 + (pid >> 8) % 128}.{pid % 256}.{n}" for n in range(1, 6)]


def start(manifests: list[Manifest], ip: str, dns: str, config: pathlib.Path) -> Serve:
    """A pod of the Deployment as a process. Changed are only what pods do not
    share and processes do: the unspecified address, and the DNS server."""
    env = variables(manifests, ip=ip, namespace="kamacache", mounts={"config": config})
    for name in ("KAMACACHE_LISTEN", "KAMACACHE_ADMIN"):
        assert env[name].startswith("0.0.0.0:")
        env[name] = env[name].replace("0.0.0.0", ip)
    env["KAMACACHE_DISCOVERY"] = env["KAMACACHE_DISCOVERY"].replace("interval=5s", f"interval=200ms&server={dns}:5353")
    return Serve(container(manifests)["args"], env)


@pytest.mark.skipif(shutil.which("dnsmasq", path=os.environ["PATH"] + ":/usr/sbin") is None, reason="no dnsmasq")
def test_pods_become_a_ring_and_leave_it(tmp_path: pathlib.Path, ips: list[str]) -> None:
    manifests = rendered("small")
    (tmp_path / "kamacache.toml").write_text(config_file(manifests))
    probes = {container(manifests)[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    name = "kamacache-peers.kamacache.svc.cluster.local"
    *pods, dns = ips[:4]
    with Names(tmp_path, dns, name) as names:
        running: list[Serve] = []
        try:
            # The first pods find nobody listed, and are ready all the same.
            running = [start(manifests, ip, dns, tmp_path) for ip in pods]
            for node in running:
                for path in probes:
                    until(f"{path} is 200", lambda node=node, path=path: http(node.admin, path)[0] == 200)  # type: ignore[misc]
            names.ready(pods)
            everyone = sorted(f"{ip}:8001" for ip in pods)
            for node in running:
                until("all are members", lambda node=node: sorted(node.members()) == everyone)  # type: ignore[misc]
            done = run("set", "--node", running[0].address, "scores", "Tom", "630")
            assert done.returncode == 0, done.stderr
            # One is deleted: it is listed no more, and then gets SIGTERM.
            names.ready(pods[:2])
            assert running[2].end() == 0
            for node in running[:2]:
                until("the one that left is out", lambda node=node: len(node.members()) == 2)  # type: ignore[misc]
                got = run("get", "--node", node.address, "scores", "Tom")
                assert (got.returncode, got.stdout) == (0, "630"), got.stderr
        finally:
            for node in running:
                node.kill()


def test_a_pod_of_production_lets_in_members_only(tmp_path: pathlib.Path, ips: list[str]) -> None:
    manifests = rendered("production")
    tls = certificates(tmp_path)
    (tmp_path / "kamacache.toml").write_text(config_file(manifests))
    token = "0123456789abcdef0123456789abcdef"
    env = variables(manifests, ip=ips[0], namespace="scores", mounts={"config": tmp_path, "tls": tls}, token=token)
    env |= {"KAMACACHE_LISTEN": f"{ips[0]}:0", "KAMACACHE_ADVERTISE": "", "KAMACACHE_ADMIN": ":0", "KAMACACHE_DISCOVERY": ""}
    env = {name: value for name, value in env.items() if value}
    with Serve(container(manifests)["args"], env) as node:
        stranger = run("set", "--node", node.address, "scores", "Tom", "630")
        assert stranger.returncode != 0
        member = {name: value for name, value in env.items() if "TLS" in name or "TOKEN" in name}
        done = run("set", "--node", node.address, "scores", "Tom", "630", **member)
        assert done.returncode == 0, done.stderr
        assert token not in node.logged()
