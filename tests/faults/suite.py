"""The fault suite: rings of processes in all languages under load, a fault each,
and a table of what it cost.

    python suite.py [--size small|full] [--seed N] [--only kill,stop] [--at-once N]

Exits with 0 only if at least eight rows ran and none failed; a skipped row did
not run. With --only, all of those must run. Every random choice follows the seed.
"""

import asyncio
import sys

import runner

from rows import ROWS, processes, soak, surroundings, ways

#: Imported, so that their rows are registered.
REGISTERED = (processes, ways, surroundings, soak)
#: Rows that must have run.
ENOUGH = 8

if __name__ == "__main__":
    sys.exit(asyncio.run(runner.main("faults", __doc__ or "", ROWS, ENOUGH)))
