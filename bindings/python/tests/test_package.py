"""The wheel as a user has it: one file that works in an empty environment
without Rust, tells the truth about itself, and fits the platform that it names."""

from __future__ import annotations

import email
import os
import pathlib
import subprocess
import sys
import zipfile

import kamacache
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
README = ROOT / "bindings" / "python" / "README.md"


@pytest.fixture
def wheel() -> pathlib.Path:
    """The one that `scripts/build python` has installed."""
    wheels = list((ROOT / "target" / "packages").glob("*.whl"))
    assert len(wheels) == 1, f"{wheels}: run scripts/build python"
    return wheels[0]


def test_it_works_in_a_clean_environment_without_rust(wheel: pathlib.Path, tmp_path: pathlib.Path) -> None:
    clean = {"HOME": str(tmp_path), "PATH": str(tmp_path)}
    if "LD_LIBRARY_PATH" in os.environ:  # where this very interpreter may have its library
        clean["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]

    def run(*command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, env=clean, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr

    run(sys.executable, "-m", "venv", "venv")
    python = str(tmp_path / "venv" / "bin" / "python")
    run(python, "-m", "pip", "install", "--no-index", "--quiet", "--disable-pip-version-check", str(wheel))
    ring = README.read_text().split("```python\n")[3].split("```")[0]
    assert "set_peers" in ring
    run(python, "-W", "error", "-c", ring)


def test_it_is_one_wheel_for_all_versions_from_3_11(wheel: pathlib.Path) -> None:
    name, version, python, abi, platform = wheel.stem.split("-")
    assert (name, version, python, abi) == ("kamacache", kamacache.__version__, "cp311", "abi3")
    assert platform.startswith(("manylinux_2_", "linux_", "macosx_"))


def test_its_platform_is_the_one_it_names(wheel: pathlib.Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "auditwheel", "show", str(wheel)], capture_output=True, text=True, check=True
    )
    platform = wheel.stem.split("-")[-1]
    assert f'consistent with the following platform tag: "{platform}"' in " ".join(shown.stdout.split())


def test_it_describes_itself(wheel: pathlib.Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = next(name for name in names if name.endswith("/METADATA"))
        metadata = email.message_from_bytes(archive.read(info))
    assert (metadata["Name"], metadata["Version"]) == ("kamacache", kamacache.__version__)
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("Requires-Dist") is None, "it needs nothing else"
    assert "Typing :: Typed" in (metadata.get_all("Classifier") or [])
    assert metadata["Description-Content-Type"].startswith("text/markdown")
    body = metadata.get_payload()
    assert isinstance(body, str)
    assert body.strip() == README.read_text().strip()
    files = {pathlib.PurePath(name).name for name in names}
    assert {"py.typed", "_native.pyi", "_native.abi3.so", "LICENSE"} <= files
    assert not any("test" in name for name in names)
