"""P5: what Python costs. Prints rows for benches/src/report.rs, as JSON.
Called by the suite, through run.sh."""

from __future__ import annotations

import json
import sys

import hits
import remote


def main() -> None:
    rows = []
    for row in (*hits.rows(), *remote.rows()):
        print(f"P5: {row['metric']}, {row['peer_name']}: {row['ratio']:.3f}", file=sys.stderr)
        rows.append(row)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
