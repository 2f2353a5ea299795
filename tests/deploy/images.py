#!/usr/bin/env python3
"""Runs the steps of deploy/Dockerfile without Docker, as they stand there: each
stage in a folder of its own, which begins with what the stage copies and with
nothing else. `make test-deploy` calls it.

Not as in Docker: the base images are this machine (its Rust, Python and Node.js),
packages of apt are only looked up, python is a virtual environment, PROFILE is
dev, and `target/` is the repository's, so that dependencies are compiled already.
"""

from __future__ import annotations

import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "docs"))

from dockerfile import DOCKERFILE, Instruction, Stage, stages
from serving import ROOT

PROFILE = os.environ.get("PROFILE", "dev")


class Failed(Exception):
    """A step that does not do what it should; the message names it."""


def context() -> list[str]:
    """The files that git knows or would add, less those of .dockerignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    patterns = [line for line in DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().split("\n") if line and line[0] != "#"]

    def ignored(name: str) -> bool:
        folders = pathlib.PurePath(name).parts
        return any(
            any(fnmatch.fnmatch(part, pattern[3:]) for part in folders) if pattern.startswith("**/") else folders[0] == pattern
            for pattern in patterns
        )

    return [name for name in listed.stdout.split("\0") if name and not ignored(name) and os.path.lexists(ROOT / name)]


class Build:
    """One stage after the other, each the file system of an image below a folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.cwd: dict[str, str] = {}

    def root(self, stage: str) -> pathlib.Path:
        return self.folder / stage

    def stage(self, stage: Stage) -> None:
        begun = time.monotonic()
        root = self.root(stage.name)
        if stage.base in self.cwd:
            shutil.copytree(self.root(stage.base), root, symlinks=True)
        else:
            root.mkdir()
        self.cwd[stage.name] = self.cwd.get(stage.base, "/")
        for instruction in stage.instructions:
            step = {"WORKDIR": self.workdir, "COPY": self.copy, "RUN": self.run, "ENTRYPOINT": self.entrypoint}
            if instruction.word in step:
                step[instruction.word](stage.name, instruction)
        print(f"ok: stage {stage.name}, {time.monotonic() - begun:.0f} s", flush=True)

    def inside(self, stage: str, path: str) -> pathlib.Path:
        """Where a path of the image is here."""
        return self.root(stage) / os.path.join(self.cwd[stage], path).lstrip("/")

    def workdir(self, stage: str, step: Instruction) -> None:
        self.cwd[stage] = os.path.join(self.cwd[stage], step.rest)
        self.inside(stage, ".").mkdir(parents=True, exist_ok=True)

    def copy(self, stage: str, step: Instruction) -> None:
        *sources, to = step.rest.split()
        origin, target, into = step.flag("from"), self.inside(stage, to), to.endswith("/") or to == "."
        for source in sources:
            for file, name in self.files(origin, source):
                copied = target / name if into else target
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, copied, follow_symlinks=origin is not None)

    def files(self, origin: str | None, source: str) -> list[tuple[pathlib.Path, str]]:
        """The files of a source, each with its name below the target."""
        if origin is None:
            prefix = "" if source == "." else source
            found = [(ROOT / name, name.removeprefix(prefix)) for name in context() if name.startswith(prefix)]
        elif origin in self.cwd:
            found = []
            for path in sorted(self.root(origin).glob(source.lstrip("/"))):
                below = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
                found += [(file, file.name if file == path else str(file.relative_to(path))) for file in below]
            if "*" in source and len(found) > 1:  # a link and what it points to
                found = [(file, name) for file, name in found if not file.is_symlink()]
        else:  # an image: the same program of this machine
            program = shutil.which(pathlib.PurePath(source).name)
            found = [(pathlib.Path(program), pathlib.PurePath(source).name)] if program else []
        if not found:
            raise Failed(f"COPY finds nothing at {source} (from {origin or 'the repository'})")
        return found

    def run(self, stage: str, step: Instruction) -> None:
        if "apt-get install" in step.rest:
            return known_to_apt(step.rest)
        for kind, mount in step.flags:
            options = dict(option.split("=", 1) for option in mount.split(","))
            if kind == "mount" and options["target"].endswith("/target"):
                cache = self.root(stage) / options["target"].lstrip("/")
                if not cache.exists():
                    cache.symlink_to(ROOT / "target")
        print(f"   {stage}: {step.rest}", flush=True)
        done = subprocess.run(["sh", "-c", step.rest], cwd=self.inside(stage, "."), env=self.environment(stage))
        if done.returncode != 0:
            raise Failed(f"stage {stage}: exit code {done.returncode} of RUN {step.rest}")

    def environment(self, stage: str) -> dict[str, str]:
        """PROFILE, the programs of the image before those of the machine, and a
        Python whose packages are the image's own."""
        venv = self.root(stage) / "venv"
        if not venv.exists():
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        places = [venv / "bin", *(self.root(stage) / place for place in ("usr/local/bin", "usr/bin"))]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CARGO_TARGET", "PYTHON"))}
        libraries = str(self.root(stage) / "usr/lib")
        return kept | {"PROFILE": PROFILE, "PATH": ":".join([*map(str, places), kept["PATH"]]), "LD_LIBRARY_PATH": libraries}

    def entrypoint(self, stage: str, step: Instruction) -> None:
        """The program starts, with all that it needs: it refuses a flag that it does not have."""
        command = json.loads(step.rest)
        asked = subprocess.run(
            [*command, "--no-such-flag"], cwd=self.inside(stage, "."), env=self.environment(stage), capture_output=True, text=True
        )
        if asked.returncode != 2 or not re.search("[Uu]sage", asked.stderr):
            raise Failed(f"stage {stage}: {command} does not start: exit code {asked.returncode}, {asked.stderr.strip()}")


def known_to_apt(command: str) -> None:
    install = command.split("apt-get install", 1)[1].split("&&")[0]
    packages = [word for word in install.split() if not word.startswith("-")]
    if shutil.which("apt-cache") is None:
        print(f"   not checked, for want of apt: {packages}")
        return
    unknown = [name for name in packages if subprocess.run(["apt-cache", "show", name], capture_output=True).returncode != 0]
    if unknown:
        raise Failed(f"apt knows no package {unknown}")


def main() -> int:
    begun = time.monotonic()
    # Always the same folder, so that a second run compiles nothing.
    folder = ROOT / "target/images"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    build = Build(folder)
    try:
        for stage in stages().values():
            build.stage(stage)
    except Failed as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(f"All {len(stages())} stages of deploy/Dockerfile in {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
