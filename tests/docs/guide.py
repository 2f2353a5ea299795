"""The guide's pages as their tests see them: blocks by language, and a session
in which a page's shell commands run beside real nodes.

Invariant: ports are free ones. A page names addresses as it likes; what it shows
is compared with its own names in place of the real ones.
"""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import warnings
from dataclasses import dataclass

from serving import LONG, ROOT, Serve, environment, run, until

GUIDE = ROOT / "docs/guide"
PAGES = sorted(page.name for page in GUIDE.glob("*.md"))


@dataclass(frozen=True)
class Block:
    page: str
    number: int
    language: str
    body: str

    def __str__(self) -> str:
        return f"{self.page}-{self.number}-{self.language}"


def blocks(*languages: str, page: str | None = None) -> list[Block]:
    """The blocks of these languages (of all), in the guide or on one page, in order."""
    found = []
    for name in [page] if page else PAGES:
        fences = re.findall(r"^```(\w*)\n(.*?)^```$", (GUIDE / name).read_text(), re.DOTALL | re.MULTILINE)
        found += [Block(name, number, language, body) for number, (language, body) in enumerate(fences)]
    return [block for block in found if not languages or block.language in languages]


def expected(block: Block) -> list[str]:
    """What a program's printing lines say that they print, up to a colon."""
    patterns = {"python": r"print\(.*# ([^:]+)", "js": r"console\.log\(.*// ([^:]+)", "c": r"printf\(.*/\* ([^:]+?) \*/"}
    lines = (re.search(patterns[block.language], line) for line in block.body.splitlines())
    return [match[1].strip() for match in lines if match]


def same(shown: str, said: str) -> bool:
    """Whether a page shows what was said; `...` stands for anything within a
    line, on a line of its own for any lines."""
    pattern = re.escape(shown.strip()).replace("\\\n\\.\\.\\.\\\n", "\\n(?:.*\\n)*").replace("\\.\\.\\.", ".*")
    return re.fullmatch(pattern, said.strip()) is not None


class Session:
    """The shell of one page. Nodes that it starts live until its end."""

    def __init__(self, page: str, folder: pathlib.Path) -> None:
        self.text, self.folder = (GUIDE / page).read_text(), folder
        #: Addresses of the page, and what they are here.
        self.names: dict[str, str] = {}
        self.nodes: dict[str, Serve] = {}
        #: The admin address that goes with a node's, both as the page names them.
        self.admins: dict[str, str] = {}
        self.code = 0
        (folder / "deploy").symlink_to(ROOT / "deploy")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            node.kill()

    def real(self, text: str) -> str:
        return re.sub(r"127\.0\.0\.1:\d+", lambda name: self.names.get(name[0], name[0]), text)

    def as_shown(self, text: str) -> str:
        shown = {real: name for name, real in self.names.items()}
        return re.sub(r"127\.0\.0\.1:\d+", lambda real: shown.get(real[0], real[0]), text)

    def shell(self, script: str, before: int = 0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", f"(exit {before}); {self.real(script)}"], cwd=self.folder, env=environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LONG,
        )  # fmt: skip

    def play(self, block: Block) -> None:
        if block.language == "sh":
            before = len(self.nodes)
            self.script(block.body)
            if len(self.nodes) > before:
                self.settle()
        else:
            self.console(block.body)

    def script(self, body: str) -> None:
        """Commands without output: nodes are started, the rest must succeed."""
        for command in re.sub(r"\\\n\s*", "", body).splitlines():
            if command.startswith("kamacache serve") and "--check" not in command:
                self.serve(command.rstrip("& "))
            elif command.startswith("kubectl") and shutil.which("kubectl") is None:
                warnings.warn(f"skipped for want of kubectl: {command}", stacklevel=1)
            elif command and not command.startswith("#"):
                done = self.shell(f"set -e; {command}")
                assert done.returncode == 0, f"{command}: {done.stdout}"

    def serve(self, command: str) -> None:
        """The node of this command line, on free ports."""
        words = self.shell(f"printf '%s\\0' {command.removeprefix('kamacache ')}").stdout.split("\0")[:-1]
        listen, admin = (words.index(flag) + 1 for flag in ("--listen", "--admin"))
        name = words[listen]
        self.admins[name] = words[admin]
        words[listen] = words[admin] = "127.0.0.1:0"
        self.nodes[name] = Serve(words, cwd=self.folder)
        self.name_nodes()

    def name_nodes(self) -> None:
        for name, node in self.nodes.items():
            self.names |= {name: node.address, self.admins[name]: node.admin}

    def settle(self) -> None:
        """Waits for the members, and gives the nodes their names so that a key has
        the owner that the page says: which it is follows from the ports."""
        match = re.search(r"<!-- owner of (\S+): (\S+) -->", self.text)
        if match is None or len(self.nodes) < 2:
            return
        key, wanted = match.groups()
        for node in self.nodes.values():
            until("the nodes are members", lambda node=node: len(node.members()) == len(self.nodes))  # type: ignore[misc]
        owner = run("owner", "--admin", next(iter(self.nodes.values())).admin, key).stdout.strip()
        named = next(name for name, node in self.nodes.items() if node.address == owner)
        self.nodes[wanted], self.nodes[named] = self.nodes[named], self.nodes[wanted]
        self.name_nodes()

    def console(self, body: str) -> None:
        """Commands, each with what it says."""
        assert body.startswith("$ ")
        for step in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command, _, shown = step.partition("\n")
            done = self.shell(command, self.code)
            self.code = done.returncode
            said = self.as_shown(done.stdout)
            assert same(shown, said), f"{command}\nis shown as:\n{shown}\nand says:\n{said}"
