"""The README is true: its quick starts run as they stand there and print what
their comments say, and its tables name every option. (Rust's quick start is a
documentation test of examples/rust.)
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
FENCES = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def block(language: str) -> str:
    """The one block of this language."""
    found: list[str] = [body for name, body in FENCES if name == language]
    assert len(found) == 1
    return found[0]


def printed(code: str, pattern: str) -> list[str]:
    """What the comments behind printing lines say, up to a comma or colon."""
    return [match.group(1) for line in code.splitlines() if (match := re.search(pattern, line))]


def run(*command: str, cwd: pathlib.Path, **env: str) -> list[str]:
    done = subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_every_block_says_its_language_and_is_known_here() -> None:
    assert [name for name, _ in FENCES] == ["sh", "python", "js", "c", "rust", "text"]


def test_python(tmp_path: pathlib.Path) -> None:
    code = block("python")
    expected = printed(code, r"print\(.*# ([^,:]+)")
    assert expected == ["b'630'", "b'630'", "None", "2"]
    (tmp_path / "scores.py").write_text(code)
    # The interpreter of these tests has the wheel, not the source tree.
    assert run(sys.executable, "scores.py", cwd=tmp_path) == expected


def test_nodejs(tmp_path: pathlib.Path) -> None:
    code = block("js")
    expected = printed(code, r"console\.log\(.*// ([^,:]+)")
    assert expected == ["630", "630", "NOT_FOUND", "2"]
    (tmp_path / "scores.mjs").write_text(code)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/kamacache").symlink_to(ROOT / "bindings/nodejs")
    assert run("node", "scores.mjs", cwd=tmp_path) == expected


@pytest.mark.parametrize(("compiler", "language"), [("cc", "c"), ("c++", "c++")])
def test_c_and_cpp(tmp_path: pathlib.Path, compiler: str, language: str) -> None:
    code = block("c")
    expected = printed(code, r"printf\(.*/\* (\w+) \*/")
    assert expected == ["630", "NOT_FOUND"]
    (tmp_path / "scores.c").write_text(code)
    lib = ROOT / "target/c-prefix/lib"
    path = {"PKG_CONFIG_PATH": str(lib / "pkgconfig")}
    flags = run("pkg-config", "--cflags", "--libs", "kamacache", cwd=tmp_path, **path)[0].split()
    warnings = ["-Wall", "-Wextra", "-Werror"]
    compiled = run(compiler, "-x", language, *warnings, "scores.c", "-o", "scores", "-x", "none", *flags, cwd=tmp_path)
    assert compiled == []
    assert run("./scores", cwd=tmp_path, LD_LIBRARY_PATH=str(lib)) == expected


def test_the_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE), f"make {target}"


@pytest.mark.parametrize(("struct", "heading"), [("NodeOptions", "node option"), ("GroupOptions", "group option")])
def test_the_tables_name_every_option(struct: str, heading: str) -> None:
    source = (ROOT / "kamacache-core/src/options.rs").read_text()
    (body,) = re.findall(rf"^pub struct {struct} \{{\n(.*?)^\}}", source, re.DOTALL | re.MULTILINE)
    fields = set(re.findall(r"^    pub (\w+):", body, re.MULTILINE))
    assert len(fields) > 10
    (table,) = re.findall(rf"^\| {heading} .*?\n\n", README, re.DOTALL | re.MULTILINE)
    listed = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    assert listed <= fields, "the table names an option that is not there"
    assert fields <= listed, "the README does not name an option"


def test_the_tools_of_these_tests_are_here() -> None:
    missing = [tool for tool in ("node", "cc", "c++", "pkg-config") if shutil.which(tool) is None]
    assert missing == []
