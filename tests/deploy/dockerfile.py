"""deploy/Dockerfile as a list of instructions. Used by the tests, and by
images.py, which runs them.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field

from serving import ROOT

DOCKERFILE = ROOT / "deploy/Dockerfile"


@dataclass
class Instruction:
    word: str
    #: --from=x, --mount=y: several of one name stand in order.
    flags: list[tuple[str, str]]
    rest: str

    def flag(self, name: str) -> str | None:
        return next((value for flag, value in self.flags if flag == name), None)


@dataclass
class Stage:
    name: str
    #: An image, or another stage.
    base: str
    instructions: list[Instruction] = field(default_factory=list)


def instructions() -> list[Instruction]:
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = []
    for line in filter(None, text.splitlines()):
        word, rest = line.split(" ", 1)
        flags = []
        while match := re.match(r"--(\w+)=(\S+)\s+", rest):
            flags.append((match[1], match[2]))
            rest = rest[match.end() :]
        found.append(Instruction(word, flags, rest))
    return found


@functools.cache
def stages() -> dict[str, Stage]:
    """All stages in order, by name."""
    found: dict[str, Stage] = {}
    stage: Stage | None = None
    for instruction in instructions():
        if instruction.word == "FROM":
            match = re.fullmatch(r"(\S+) AS (\S+)", instruction.rest)
            assert match, f"a stage without a name: {instruction.rest}"
            stage = found[match[2]] = Stage(match[2], match[1])
        elif stage is not None:
            stage.instructions.append(instruction)
    return found
