"""The Dockerfile without Docker: hadolint, and that what it copies is there.
images.py runs its steps.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import tomllib

import pytest
from dockerfile import DOCKERFILE, instructions, stages
from serving import ROOT


def test_hadolint_finds_no_fault() -> None:
    tool = pathlib.Path(sys.executable).with_name("hadolint")
    if not tool.exists():
        pytest.skip("make test-deploy installs hadolint")
    done = subprocess.run([tool, "--config", ROOT / "deploy/hadolint.yaml", DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_what_is_copied_is_there() -> None:
    for copy in (i for i in instructions() if i.word == "COPY"):
        source = copy.flag("from")
        if source is None:
            assert (ROOT / copy.rest.split()[0]).exists(), copy.rest
        else:
            assert source in stages() or re.fullmatch(r"[a-z]+:[\w.-]+", source), source


def test_images_run_as_nobody_in_particular() -> None:
    for name in ("python", "nodejs", "c", "kamacache"):
        words = [i.word for i in stages()[name].instructions]
        assert "USER" in words and "ENTRYPOINT" in words, name


def test_the_compiler_is_new_enough() -> None:
    wanted = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    assert stages()["source"].base == f"rust:{wanted}-bookworm"
