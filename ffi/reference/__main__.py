"""Writes the reference of the C library: man pages and an HTML page.

  python3 ffi/reference HEADER GUIDE EXAMPLE OUT [VERSION]

HEADER is include/kamacache.h, GUIDE the text that opens kamacache(7), EXAMPLE the
program that closes it. Into OUT go man/man3, man/man7 and html/. An item of the
header that is not documented ends it with status 1, and nothing is written.
"""

import sys
from pathlib import Path

import header
import pages
import to_html
import to_man


def main(arguments):
    if len(arguments) not in (4, 5):
        print(__doc__, file=sys.stderr)
        return 2
    source, guide, example, out = map(Path, arguments[:4])
    version = arguments[4] if len(arguments) == 5 else ""
    rules, items, problems = header.parse(source.read_text(encoding="utf-8"))
    for problem in problems:
        print(f"{source}: {problem}", file=sys.stderr)
    if problems:
        return 1
    overview = pages.overview(rules, items, guide.read_text(encoding="utf-8"), example.read_text(encoding="utf-8"))
    reference = [page for item in items for page in pages.of(item, items)]
    to_man.write(out / "man", overview, reference, items, version)
    to_html.write(out / "html", overview, reference, version)
    print(f"{len(reference) + 1} pages in {out}")
    return 0


sys.exit(main(sys.argv[1:]))
