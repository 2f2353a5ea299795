"""Runs the rows of a table, prints what each cost, and gives the verdict.

    [--size small|full] [--seed N] [--only kill,stop] [--at-once N]

Invariant: 0 only if enough rows ran and none failed; a skipped row did not run.
With --only, all of those must run. Every random choice follows the seed. Used
by suite.py, and by tests/upgrade.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping

from case import SIZES, Case, Outcome
from network import NotPossible
from ring import Broken

from rows import Row

#: A row that takes longer hangs, in seconds.
TOO_LONG = 180
#: Complaints of a row that are shown.
SHOWN = 12


async def run(name: str, row: Row, size: str, seed: int, folder: pathlib.Path) -> Outcome:
    folder.mkdir()
    case = Case(row.title, folder, SIZES[size], seed)
    began = time.monotonic()
    try:
        async with asyncio.timeout(TOO_LONG + row.minutes * 60):
            await row.run(case)
        case.judge()
    except NotPossible as reason:
        case.out.skipped = str(reason)
    except TimeoutError:
        case.wrong(f"it did not end within {TOO_LONG} s")
    except Broken as error:
        case.wrong(str(error))
        with contextlib.suppress(Broken):  # this may be why; a process that is gone says nothing
            await case.misunderstood()
    finally:
        await case.ring.stop()
    tell(name, case.out, time.monotonic() - began)
    return case.out


def tell(name: str, out: Outcome, seconds: float) -> None:
    verdict = "skipped" if out.skipped else "FAILED" if out.wrong else "ok"
    notes = "; ".join([*out.notes, *([out.skipped] if out.skipped else [])])
    print(f"{verdict} {name} ({seconds:.0f} s){': ' + notes if notes else ''}")
    for text in out.wrong[:SHOWN]:
        print(f"    {text}")
    if len(out.wrong) > SHOWN:
        print(f"    and {len(out.wrong) - SHOWN} more")
    sys.stdout.flush()


def table(outcomes: list[Outcome]) -> str:
    head = ["row", "operations", "failed", "extra getter calls", "of allowed", "worst staleness", "p99 before", "during", "after"]
    rows = [head]
    for out in outcomes:
        if out.skipped:
            rows.append([out.title, "skipped", *[""] * 7])
            continue
        times = [f"{ms:.1f} ms" for ms in out.p99]
        counts = [out.operations, out.failed, out.extra, out.allowed]
        rows.append([out.title, *map(str, counts), f"{out.stale_ms:.0f} ms", *times])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells))
    return "\n".join(lines)


async def main(suite: str, about: str, rows: Mapping[str, Row], enough: int) -> int:
    """`about` is the help text of the suite; `enough` rows must have run."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default=os.environ.get("SIZE") or "full")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 30)))
    parser.add_argument("--only", default=os.environ.get("ONLY") or "", help="rows: " + ",".join(rows))
    parser.add_argument("--at-once", type=int, help="rows that run at the same time; 1, and 4 in the small size")
    options = parser.parse_args()
    usual = [name for name, row in rows.items() if options.size in row.sizes]
    names = options.only.split(",") if options.only else usual
    if unknown := [name for name in names if name not in rows]:
        parser.error(f"there is no row {unknown[0]!r}; rows are: {', '.join(rows)}")

    print(f"{suite}: size {options.size}, SEED={options.seed}", flush=True)
    turns = asyncio.Semaphore(options.at_once or (4 if options.size == "small" else 1))
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"kamacache-{suite}-"))

    async def in_turn(name: str) -> Outcome:
        async with turns:
            return await run(name, rows[name], options.size, options.seed, folder / name)

    began = time.monotonic()
    outcomes = await asyncio.gather(*(in_turn(name) for name in names))
    failed = sum(bool(out.wrong) for out in outcomes)
    skipped = [out for out in outcomes if out.skipped]
    ran = len(outcomes) - len(skipped)
    if failed:
        print(f"what the processes wrote is in {folder}")
    else:
        shutil.rmtree(folder)
    print(f"\n{table(outcomes)}\n\nin {time.monotonic() - began:.0f} s; the same again: SEED={options.seed}")
    reasons = "".join(f": {out.title} ({out.skipped})" for out in skipped[:1])
    print(f"{suite}: {ran} rows ran, {failed} failed, {len(skipped)} skipped{reasons}")
    return 0 if not failed and ran >= (len(names) if options.only else enough) else 1
