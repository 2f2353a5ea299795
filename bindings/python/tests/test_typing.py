"""What type checkers see: py.typed is there, a typed program passes mypy
--strict, wrong ones do not, and the stub of the native module is true."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import kamacache

RIGHT = """
import asyncio
import datetime
import kamacache

node = kamacache.Node("127.0.0.1:0", peers=["127.0.0.1:1"], default_timeout="5s", drain=datetime.timedelta(seconds=1))

def load(key: str) -> bytes | None:
    return None

async def aload(key: str, ctx: kamacache.LoadContext) -> bytes:
    ctx.ttl = 5
    return ctx.key.encode()

def with_keyword(key: str, *, ctx: kamacache.LoadContext) -> bytes:
    return b""

plain: kamacache.Group[bytes] = node.group("plain", load, max_bytes="64MiB", ttl=600)
awaited: kamacache.Group[bytes] = node.group("awaited", aload, max_bytes=1 << 20)
keyword = node.group("keyword", with_keyword, max_bytes=1 << 20)

@node.group("decorated", max_bytes="64MiB")
async def users(key: str) -> bytes:
    return b""

@node.group("text", max_bytes="64MiB", codec="str", ttl=datetime.timedelta(minutes=1))
def texts(key: str) -> str | None:
    return None

numbers = node.group("numbers", None, max_bytes="1MiB", codec=(lambda n: b"%d" % n, int))

def use() -> None:
    a: bytes = plain.get("k")
    b: bytes | None = plain.get("k", None)
    c: bytes | int = plain.get("k", default=0, timeout=2.0)
    d: str | None = texts.peek("k")
    e: int = numbers.get("k")
    texts.set("k", "text", ttl="10m")
    ratio: float = plain.stats().hit_ratio
    closed: bool = node.close(drain=1)
    try:
        users.get("k")
    except kamacache.GetterError as error:
        code: int | None = error.app_code
    except kamacache.errors.NotFound:
        pass

async def ause() -> None:
    a: bytes = await users.aget("k")
    b: bytes | None = await users.aget("k", None)
    await users.aset("k", b"v", ttl=30)
    await users.adelete("k")
    async with node as n:
        m: list[str] = n.members()

asyncio.run(ause())
"""

WRONG = [
    "plain.get(b'bytes')",
    "plain.set('k', 'text')",
    "x: str = plain.get('k')",
    "plain.get('k', ttl=5)",
    "node.group('g', None)",
    "node.group('g', None, max_bytes=1, colour='red')",
    "node.group('g', lambda key: 5, max_bytes=1)",
    "node.stats()",
]


def mypy(program: str, folder: pathlib.Path, mypy_cache: str) -> subprocess.CompletedProcess[str]:
    path = folder / "program.py"
    path.write_text(program)
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", mypy_cache, str(path)],
        capture_output=True,
        text=True,
        cwd=folder,
    )


def test_the_package_is_typed() -> None:
    assert (pathlib.Path(kamacache.__file__).parent / "py.typed").exists()


def test_a_typed_program_passes_strict(tmp_path: pathlib.Path, mypy_cache: str) -> None:
    checked = mypy(RIGHT, tmp_path, mypy_cache)
    assert checked.returncode == 0, checked.stdout


def test_wrong_programs_do_not(tmp_path: pathlib.Path, mypy_cache: str) -> None:
    start = "import kamacache\nnode = kamacache.Node()\nplain = node.group('plain', None, max_bytes=1)\n"
    checked = mypy(start + "\n".join(WRONG), tmp_path, mypy_cache)
    refused = {int(line.split(":")[1]) - 4 for line in checked.stdout.splitlines() if ": error:" in line}
    assert refused == set(range(len(WRONG))), checked.stdout


def test_the_stub_is_true(tmp_path: pathlib.Path) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "kamacache._native"], capture_output=True, text=True, cwd=tmp_path
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def pyright(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In an empty folder, where kamacache is the installed one."""
    environment = {
        "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",  # where it looks for packages
        "PYRIGHT_PYTHON_CACHE_DIR": f"{sys.prefix}/pyright",  # what setup downloaded
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **environment},
    )


def test_pyright_agrees(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(RIGHT)
    checked = pyright(tmp_path, "program.py", str(pathlib.Path(kamacache.__file__).parent))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_public_name_has_a_type(tmp_path: pathlib.Path) -> None:
    checked = pyright(tmp_path, "--verifytypes", "kamacache", "--ignoreexternal")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_package_itself_passes_strict(tmp_path: pathlib.Path, mypy_cache: str) -> None:
    package = pathlib.Path(kamacache.__file__).parent
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", mypy_cache, "-p", "kamacache"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert checked.returncode == 0, (package, checked.stdout)


def test_the_examples_and_these_tests_pass_strict(tmp_path: pathlib.Path, mypy_cache: str) -> None:
    here = pathlib.Path(__file__).resolve().parent
    example = here.parents[2] / "examples" / "python"
    scripts = [example / "scores.py", *(example / "service").glob("*.py")]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", mypy_cache, str(here), *map(str, scripts)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert checked.returncode == 0, checked.stdout
