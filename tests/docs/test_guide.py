"""The guide is true: its programs run and print what they say, its commands are
typed into a shell beside real nodes, its files are read by what they are for.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from guide import GUIDE, PAGES, Block, Session, blocks, expected
from serving import KAMACACHE, LONG, ROOT, Serve, http, run

PROGRAMS = blocks("python", "js", "c")
IN_A_SHELL = sorted({block.page for block in blocks("sh", "console")})


@pytest.fixture(autouse=True, scope="module")
def the_command_is_built() -> None:
    assert KAMACACHE.exists(), f"{KAMACACHE} is not there: cargo build -p kamacache-cli"


def test_every_block_is_of_a_language_that_is_tested() -> None:
    assert {block.language for block in blocks()} <= {"python", "js", "c", "rust", "toml", "yaml", "promql", "sh", "console"}
    assert len(PROGRAMS) >= 8


def test_rust_blocks_are_documentation_tests() -> None:
    included = (ROOT / "examples/rust/src/lib.rs").read_text()
    for block in blocks("rust"):
        assert f'include_str!("../../../docs/guide/{block.page}")' in included


def command_of(block: Block, folder: pathlib.Path) -> list[str]:
    """Writes the program, compiles it if need be, and says how it is run. What
    listens on all addresses listens on a free port of loopback."""
    code = re.sub(r"0\.0\.0\.0:\d+", "127.0.0.1:0", block.body)
    file = folder / {"python": "program.py", "js": "program.mjs", "c": "program.c"}[block.language]
    file.write_text(code)
    if block.language == "python":
        return [sys.executable, str(file)]
    if block.language == "js":
        (folder / "node_modules").mkdir()
        (folder / "node_modules/kamacache").symlink_to(ROOT / "bindings/nodejs")
        return ["node", str(file)]
    lib = ROOT / "target/c-prefix/lib"
    asked = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "kamacache"], env=os.environ | {"PKG_CONFIG_PATH": str(lib / "pkgconfig")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    flags = [*asked.stdout.split(), f"-Wl,-rpath,{lib}"]
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", str(file), "-o", str(folder / "program"), *flags], check=True)
    return [str(folder / "program")]


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_programs_print_what_they_say(block: Block, tmp_path: pathlib.Path) -> None:
    assert expected(block)
    env = os.environ | {"POD_IP": "127.0.0.1"}
    done = subprocess.run(command_of(block, tmp_path), env=env, capture_output=True, text=True, timeout=LONG)
    assert (done.returncode, done.stdout.splitlines()) == (0, expected(block)), done.stderr


@pytest.mark.parametrize("page", IN_A_SHELL)
def test_the_shell_says_what_is_shown(page: str, tmp_path: pathlib.Path) -> None:
    with Session(page, tmp_path) as session:
        for block in blocks("sh", "console", page=page):
            session.play(block)


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_files_are_configurations(block: Block, tmp_path: pathlib.Path) -> None:
    (tmp_path / "kamacache.toml").write_text(block.body)
    checked = run("serve", "--check", "--config", str(tmp_path / "kamacache.toml"))
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_manifests_are_well_formed(block: Block) -> None:
    for manifest in yaml.safe_load_all(block.body):
        assert {"apiVersion", "kind", "metadata"} <= manifest.keys()
        try:
            from kubernetes_validate import validate
        except ImportError:
            continue  # make test-deploy installs it
        validate(manifest, "1.30", strict=True)


def test_queries_ask_for_what_a_node_says(tmp_path: pathlib.Path) -> None:
    queries = [line for block in blocks("promql") for line in block.body.splitlines()]
    assert len(queries) >= 5
    with Serve(["serve", "--listen", "127.0.0.1:0", "--admin", ":0", "--group", "g=1MiB"]) as node:
        said = set(re.findall(r"\w+", http(node.admin, "/metrics")[1]))
    asked = {name for query in queries for name in re.findall(r"kamacache_\w+", query)}
    # A histogram's buckets are there when something has been measured.
    assert {name.removesuffix("_bucket") for name in asked} <= said
    ours = ROOT / "target/tools/promtool"
    promtool = str(ours) if ours.exists() else shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: make setup says why")
    rules = [{"record": f"q:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "guide", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_inline_commands_exist() -> None:
    """`make TARGET` and `kamacache VERB` in the text."""
    makefile = (ROOT / "Makefile").read_text()
    verbs = set(re.findall(r"^  ([a-z]+)  ", run("--help").stdout, re.MULTILINE))
    for page in PAGES:
        text = (GUIDE / page).read_text()
        for target in re.findall(r"`make ([a-z-]+)", text):
            assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE), f"{page}: make {target}"
        for verb in re.findall(r"`kamacache ([a-z]+)", text):
            assert verb in verbs, f"{page}: kamacache {verb}"


def test_options_exist() -> None:
    """What a table's first column names as an option, and what stands before an `=`."""
    source = (ROOT / "kamacache-core/src/options.rs").read_text()
    fields = set(re.findall(r"^    pub (\w+):", source, re.MULTILINE)) | {"getter_url", "getter_command"}
    for page in PAGES:
        named = set(re.findall(r"`([a-z]+_[a-z_]+)(?: = [^`]*)?`", (GUIDE / page).read_text()))
        words = set(re.findall(r"\w+", "".join(file.read_text() for file in sources())))
        assert named <= fields | words, f"{page}: {named - fields - words}"


def sources() -> list[pathlib.Path]:
    """Where other names of the guide stand: results, functions, metrics."""
    return [
        ROOT / name for name in ("docs/observability.md", "include/kamacache.h", "bindings/python/python/kamacache/_group.py",
                                 "bindings/python/python/kamacache/_node.py")
    ]  # fmt: skip
