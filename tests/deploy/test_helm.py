"""The Helm chart: what it renders is valid, fits together, and is what the
command takes, as the overlays are.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

import pytest
import yaml
from manifests import Manifest
from serving import ROOT
from test_kubernetes import check, fits_together, valid

CHART = ROOT / "deploy/helm/kamacache"
EVERYTHING = {
    "replicas": 5, "tls": {"secret": "kamacache-tls"}, "token": {"secret": "kamacache-token"}, "networkPolicy": {"enabled": True}
}  # fmt: skip


def rendered(values: dict[str, Any]) -> list[Manifest]:
    helm = pytest.importorskip("helm_python", reason="make test-deploy installs helm-python-sdk")
    with helm.Chart.load(str(CHART)) as chart:
        files = chart.render(values, name="ring", namespace="scores")
    return [manifest for text in files.values() for manifest in yaml.safe_load_all(text) if manifest]


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_the_chart_renders_what_the_command_takes(values: dict[str, Any], tmp_path: pathlib.Path) -> None:
    manifests = rendered(values)
    assert len(manifests) == (6 if values else 5)
    valid(manifests)
    fits_together(manifests, "scores")
    check(manifests, tmp_path)


def test_each_value_is_there_and_used() -> None:
    """Also where nothing renders the chart."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    named = {path for file in (CHART / "templates").iterdir() for path in re.findall(r"\.Values\.([\w.]+)", file.read_text())}
    for path in named:
        value = values
        for name in path.split("."):
            assert name in value, f"{path} has no default"
            value = value[name]
    assert {path.split(".")[0] for path in named} == set(values)
