"""Kubernetes manifests as tests look at them: rendered overlays, and what a
container of theirs is given, so that the real command can be run with it.
"""

from __future__ import annotations

import functools
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import yaml
from serving import ROOT

Manifest = dict[str, Any]
KUBERNETES = ROOT / "deploy/kubernetes"
OVERLAYS = sorted(folder.name for folder in (KUBERNETES / "overlays").iterdir())


@functools.cache
def can_kustomize() -> bool:
    kubectl = shutil.which("kubectl")
    return kubectl is not None and subprocess.run([kubectl, "kustomize", "--help"], capture_output=True).returncode == 0


@functools.cache
def rendered(overlay: str) -> list[Manifest]:
    """An overlay as `kubectl apply -k` would send it."""
    if not can_kustomize():
        pytest.skip("no kubectl that knows kustomize: overlays are not rendered")
    done = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES / "overlays" / overlay)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return list(yaml.safe_load_all(done.stdout))


def only(manifests: Iterable[Manifest], kind: str, **name: str) -> Manifest:
    """The one manifest of this kind (and of this name)."""
    found = [m for m in manifests if m["kind"] == kind and name.get("name") in (None, m["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def pod(manifests: Iterable[Manifest]) -> Manifest:
    spec: Manifest = only(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(manifests: Iterable[Manifest]) -> Manifest:
    (one,) = pod(manifests)["containers"]
    found: Manifest = one
    return found


def config_file(manifests: Iterable[Manifest]) -> str:
    text: str = only(manifests, "ConfigMap")["data"]["kamacache.toml"]
    return text


def variables(
    manifests: list[Manifest], *, ip: str, namespace: str, mounts: Mapping[str, pathlib.Path], token: str = ""
) -> dict[str, str]:
    """The container's environment as the kubelet would make it, but for mounted
    folders, which are these."""
    env: dict[str, str] = {}
    for one in container(manifests)["env"]:
        match one.get("valueFrom", {}):
            case {"fieldRef": {"fieldPath": "status.podIP"}}:
                value = ip
            case {"fieldRef": {"fieldPath": "metadata.namespace"}}:
                value = namespace
            case {"secretKeyRef": {"key": "token"}}:
                value = token
            case {}:
                value = re.sub(r"\$\((\w+)\)", lambda name: env[name[1]], one["value"])
        for mounted in container(manifests)["volumeMounts"]:
            if value.startswith(mounted["mountPath"] + "/"):
                value = str(mounts[mounted["name"]]) + value[len(mounted["mountPath"]) :]
        env[one["name"]] = value
    return env
