"""Pages as man pages, in the man(7) macros that every reader knows.

Invariant: the pages pass `mandoc -T lint`. Called by __main__.
"""

import re
import textwrap

LINK = re.compile(r"\b(kamacache(?:_\w+)?)(\(\d\))?")


def write(folder, overview, reference, items, version):
    known = {item.name for item in items if item.name.startswith("kamacache_")}
    for page in [overview, *reference]:
        put(folder, page.name, page.section, render(page, known, version))
    # A name without a page of its own leads to the overview.
    for name in known - {page.name for page in reference}:
        put(folder, name, 3, ".so man7/kamacache.7\n")


def put(folder, name, section, text):
    path = folder / f"man{section}" / f"{name}.{section}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def render(page, known, version):
    title = "Library Functions Manual" if page.section == 3 else "Miscellaneous Information Manual"
    lines = [f'.TH "{page.name.upper()}" {page.section} "" "kamacache {version}" "{title}"']
    # Left-aligned, and no name is ever broken.
    lines += [".nh", ".ad l", ".SH NAME", f"{page.name} \\- {escaped(page.summary)}"]
    for kind, what in page.blocks:
        block = BLOCKS[kind](what, known)
        # A heading begins a paragraph by itself.
        lines += block[1:] if block[0] == ".PP" and lines[-1].startswith((".SH", ".SS")) else block
    return "\n".join(lines) + "\n"


def guarded(line):
    """A line of text must not look like a request."""
    return "\\&" + line if line[:1] in (".", "'") else line


def escaped(text):
    return guarded(text.replace("\\", "\\e").replace("-", "\\-"))


def filled(text, known):
    lines = textwrap.wrap(prose(text, known), 79, break_long_words=False, break_on_hyphens=False)
    return [guarded(line) for line in lines]


def prose(text, known):
    """Names of pages in bold, with their section."""

    def link(match):
        name, section = match.group(1), match.group(2) or ""
        if name in known:
            section = section or "(3)"
        return f"\\fB{name}\\fP{section}" if name in known or section else match.group(0)

    return LINK.sub(link, escaped(text))


def code(text, _):
    lines = [escaped(line) for line in text.split("\n")]
    return [".PP", ".RS 4", ".nf", *lines, ".fi", ".RE"]


def synopsis_or_code(text, known):
    if text.startswith("#include <kamacache.h>\n\n"):
        return [".nf", *[f"\\fB{escaped(line)}\\fP" if line else "" for line in text.split("\n")], ".fi"]
    return code(text, known)


def listing(entries, known):
    lines = []
    for term, text in entries:
        lines += [".TP", prose(term, known) if "(3)" in term else f"\\fB{escaped(term)}\\fP", *filled(text, known)]
    return lines


BLOCKS = {
    "h": lambda text, _: [f".SH {text}"],
    "sub": lambda text, _: [f".SS {text}"],
    "p": lambda text, known: [".PP", *filled(text, known)],
    "code": synopsis_or_code,
    "list": listing,
}
