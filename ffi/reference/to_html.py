"""Pages as one HTML page: the guide first, then every item, each with an anchor.

Invariant: it stands alone, without scripts, fonts or files beside it. Called by
__main__.
"""

import html
import re

STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #1a1a1a; background: #fff; }
code, pre { font-family: monospace; font-size: 0.92em; } pre { background: #f4f4f4; padding: 0.8em; overflow-x: auto; }
h2 { border-top: 1px solid #ccc; padding-top: 1em; } dt { font-weight: bold; font-family: monospace; } dd { margin-bottom: 0.4em; }
a { color: #0b57a4; text-decoration: none; } a:hover { text-decoration: underline; }
"""


def write(folder, overview, reference, version):
    known = {page.name for page in reference}
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>kamacache {version}: the C library</title><style>{STYLE}</style></head><body>',
        f"<h1>kamacache {version}: {html.escape(overview.summary)}</h1>",
        *blocks(overview, known, "h2"),
    ]
    for page in sorted(reference, key=lambda page: page.name):
        parts += [f'<h2 id="{page.name}"><code>{page.name}</code></h2>', f"<p>{prose(sentence(page.summary), known)}</p>"]
        parts += blocks(page, known, "h3")
    parts.append("</body></html>")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text("\n".join(parts) + "\n", encoding="utf-8")


def sentence(text):
    return text[0].upper() + text[1:] + "."


def blocks(page, known, heading):
    for kind, what in page.blocks:
        if kind == "h":
            yield f"<{heading}>{html.escape(what.capitalize())}</{heading}>"
        elif kind == "sub":
            yield f"<h3>{html.escape(what)}</h3>"
        elif kind == "p":
            yield f"<p>{prose(what, known)}</p>"
        elif kind == "code":
            yield f"<pre>{html.escape(what)}</pre>"
        else:
            yield from listing(what, known)


def listing(entries, known):
    yield "<dl>"
    for term, text in entries:
        yield f"<dt>{prose(term, known)}</dt><dd>{prose(text, known)}</dd>"
    yield "</dl>"


def prose(text, known):
    def link(match):
        name = match.group(1)
        return f'<a href="#{name}"><code>{name}</code></a>' if name in known else match.group(0)

    return re.sub(r"\b(kamacache_\w+)(?:\(3\))?", link, html.escape(text))
