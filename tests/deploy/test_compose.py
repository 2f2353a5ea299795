"""compose.yml: the commands that it gives to the example programs start one
ring of three languages, whose admin addresses are those that Prometheus asks.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest
import yaml
from cluster import PROGRAMS
from dockerfile import DOCKERFILE, stages
from serving import LONG, ROOT, first_line, http, until

FOLDER = ROOT / "deploy/compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
NODES = ("python", "nodejs", "c")


def mounted(service: str) -> dict[str, str]:
    """What is mounted from files here: path in the container to path in compose/."""
    pairs = (volume.split(":") for volume in SERVICES[service]["volumes"])
    return {there: here for here, there, *_ in pairs if here.startswith(".")}


def promtool() -> str | None:
    ours = ROOT / "target/tools/promtool"
    return str(ours) if ours.exists() else shutil.which("promtool")


def test_docker_compose_finds_no_fault() -> None:
    tool = pathlib.Path(sys.executable).with_name("docker-compose")
    if not tool.exists():
        pytest.skip("make test-deploy installs docker-compose")
    done = subprocess.run([tool, "-f", FOLDER / "compose.yml", "config", "--quiet"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_each_image_is_a_stage_or_has_a_version() -> None:
    for name, service in SERVICES.items():
        if "build" not in service:
            assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", service["image"]), name
            continue
        assert (FOLDER / service["build"]["context"]).resolve() == ROOT
        assert ROOT / service["build"]["dockerfile"] == DOCKERFILE
        assert service["build"]["target"] in stages()


def test_what_is_mounted_is_here() -> None:
    for service in ("prometheus", "grafana"):
        for here in mounted(service).values():
            assert (FOLDER / here).is_file(), here
    dashboards = yaml.safe_load((FOLDER / "grafana/dashboards.yml").read_text())["providers"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in mounted("grafana") and str(pathlib.Path(home).parent) == dashboards[0]["options"]["path"]
    (source,) = yaml.safe_load((FOLDER / "grafana/datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_prometheus_reads_what_it_is_given(tmp_path: pathlib.Path) -> None:
    tool = promtool()
    if tool is None:
        pytest.skip("no promtool: make setup says why")
    for there, here in mounted("prometheus").items():
        shutil.copy(FOLDER / here, tmp_path / pathlib.Path(there).name)
    done = subprocess.run([tool, "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


class Here:
    """Where things of a container are in this test: names of services are
    loopback addresses that nobody else uses, folders are below `folder`."""

    def __init__(self, folder: pathlib.Path) -> None:
        pid = os.getpid()
        self.folder = folder
        self.ips = {name: f"127.{64 + (pid >> 8) % 128}.{pid % 256}.{100 + n}" for n, name in enumerate(NODES)}
        (folder / "data").mkdir()

    def word(self, service: str, word: str) -> str:
        folders = {"/data/": f"{self.folder}/data/", "/tmp/": f"{self.folder}/{service}-"}
        word = re.sub("/(data|tmp)/", lambda folder: folders[folder[0]], word)
        if service in self.ips:
            word = word.replace("0.0.0.0", self.ips[service])
        return re.sub(r"\b(python|nodejs|c):(?=\d)", lambda name: f"{self.ips[name[1]]}:", word)

    def make_database(self) -> None:
        database = SERVICES["database"]
        assert database["environment"]["PYTHONPATH"] == "/app/examples/demo"
        command = [self.word("database", word) for word in database["entrypoint"]]
        env = os.environ | {"PYTHONPATH": str(ROOT / "examples/demo")}
        subprocess.run([sys.executable, *command[1:]], env=env, check=True, timeout=LONG)

    def start(self, service: str) -> subprocess.Popen[bytes]:
        command = [self.word(service, word) for word in SERVICES[service]["command"]]
        return subprocess.Popen([*PROGRAMS[service], *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def test_the_commands_make_one_ring(tmp_path: pathlib.Path) -> None:
    here = Here(tmp_path)
    here.make_database()
    scrape = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"][0]
    targets = [here.word("prometheus", target) for target in scrape["static_configs"][0]["targets"]]
    assert len(targets) == len(NODES)
    nodes = {name: here.start(name) for name in NODES}
    try:
        for name, node in nodes.items():
            assert json.loads(first_line(node))["address"] == f"{here.ips[name]}:8001"
        for target in targets:
            until(f"{target} is ready", lambda target=target: http(target, "/readyz")[0] == 200)  # type: ignore[misc]
            assert "kamacache_view_members 3\n" in http(target, "/metrics")[1]
        (port,) = SERVICES["python"]["ports"]
        assert port == "127.0.0.1:9999:9999"
        assert http(f"{here.ips['python']}:9999", "/api?key=Tom") == (200, "630")
        for node in nodes.values():
            node.terminate()
        assert [node.wait(LONG) for node in nodes.values()] == [0, 0, 0]
    finally:
        for node in nodes.values():
            node.kill()
            node.wait(LONG)
