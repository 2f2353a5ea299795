"""What stands on each page, before it is man or HTML.

A page is a name, a one-line summary and blocks: ("h", heading), ("p", text),
("code", text), ("list", [(term, text)]). Called by __main__.
"""

import re
from dataclasses import dataclass, field

import header

# The enums have no names in C; each stands on the page of what uses it.
ENUMS = {"KAMACACHE_OK": "kamacache_status", "KAMACACHE_EVICT_CAPACITY": "kamacache_evict_fn", "KAMACACHE_LOG_ERROR": "kamacache_log_fn"}

# Areas of the overview: a heading and what names belong there, the first match counting.
AREAS = [
    ("Nodes", r"kamacache_node_"),
    ("Groups", r"kamacache_group_(open|free|options)|kamacache_(getter|batch_getter|evict_fn|free_fn)$"),
    ("Answering a load", r"kamacache_load_"),
    ("Many keys in one call", r".*_many$|kamacache_results?(_|$)|kamacache_slice"),
    ("Without blocking", r".*_(async|queued)$|kamacache_cancel|kamacache_queue_|kamacache_(get|done)_callback"),
    ("Figures and messages", r"kamacache_(group_)?(stats|latency)|kamacache_(set_logger|log_fn)"),
    ("Reading and writing", r"kamacache_group_"),
    ("Values", r"kamacache_value_"),
    ("Statuses and errors", r"kamacache_(error_|status|version)"),
]


@dataclass
class Page:
    name: str
    section: int
    summary: str
    blocks: list = field(default_factory=list)


def summary(item):
    """The first sentence, as NAME wants it."""
    first = re.split(r"\.(?: |$)", item.about[0])[0]
    return first if first[1:2].isupper() else first[0].lower() + first[1:]


def of(item, items):
    """The page of an item that has one of its own."""
    if item.kind not in ("function", "callback", "struct", "alias"):
        return
    page = Page(item.name, 3, summary(item))
    page.blocks += [("h", "SYNOPSIS"), ("code", "#include <kamacache.h>\n\n" + synopsis(item))]
    page.blocks.append(("h", "DESCRIPTION"))
    page.blocks += [("p", text) for text in item.about]
    if item.params:
        page.blocks += [("h", "PARAMETERS"), ("list", list(item.params.items()))]
    if item.kind == "struct":
        page.blocks += [("h", "FIELDS"), ("list", [(code, about) for code, _, about in item.members])]
    for enum in (other for other in items if other.kind == "enum"):
        if ENUMS[enum.members[0][1]] == item.name:
            page.blocks += [("h", "VALUES"), ("list", [(code, about) for code, _, about in enum.members])]
    if item.returns:
        page.blocks += [("h", "RETURN VALUE"), ("p", item.returns[0].upper() + item.returns[1:] + ".")]
    if item.statuses:
        page.blocks += [("h", "RETURN VALUE"), ("list", item.statuses)]
    if item.threads:
        page.blocks += [("h", "THREADS"), ("p", item.threads)]
    page.blocks += [("h", "SEE ALSO"), ("p", ", ".join([f"{name}(3)" for name in related(item, items)] + ["kamacache(7)"]))]
    yield page


def synopsis(item):
    """The declaration; a function's with one parameter a line when it is long."""
    if item.kind != "function":
        return re.sub(r"\s*/\*\*.*?\*/", "", item.code, flags=re.S)
    code = item.code.replace("struct ", "")
    if len(code) <= 76:
        return code
    head, tail = code.split("(", 1)
    return head + "(\n    " + ",\n    ".join(tail.rstrip(";").rstrip(")").split(", ")) + ");"


def related(item, items):
    """The pages that this one speaks of, then its neighbours of the same area."""
    known = {other.name for other in items if other.kind in ("function", "callback", "struct", "alias")} - {item.name}
    said = re.findall(r"kamacache_\w+", " ".join([item.code, *item.about, *item.params.values(), item.returns, item.threads]))
    near = [other.name for other in items if other.name in known and area(other.name) == area(item.name)]
    return sorted(dict.fromkeys([name for name in said if name in known] + near))


def area(name):
    return next((heading for heading, pattern in AREAS if re.match(pattern, name)), None)


def overview(rules, items, guide, example):
    """kamacache(7): the guide, the rules of the header, what there is, and a program."""
    page = Page("kamacache", 7, "an in-process distributed read-through cache, for C and C++")
    page.blocks += guide_blocks(guide)
    begin = next(i for i, text in enumerate(rules) if text.startswith("RULES"))
    page.blocks += [("h", "RULES"), ("list", [tuple(rule.split(". ", 1)) for rule in rules[begin + 1 :]])]
    page.blocks.append(("h", "FUNCTIONS AND TYPES"))
    named = [item for item in items if item.kind in ("function", "callback", "struct", "alias")]
    for heading, _ in AREAS:
        here = [(f"{item.name}(3)", summary(item)) for item in named if area(item.name) == heading]
        page.blocks += [("sub", heading), ("list", here)]
    page.blocks += [("sub", "Opaque types"), ("list", about_all(items, "opaque"))]
    page.blocks += [("h", "CONSTANTS AND MACROS"), ("list", about_all(items, "macro"))]
    statuses = next(item for item in items if item.kind == "enum" and item.members[0][1] == "KAMACACHE_OK")
    page.blocks += [("h", "ERRORS"), ("list", [(code, about) for code, _, about in statuses.members])]
    page.blocks += [("h", "EXAMPLE"), ("code", example.rstrip())]
    return page


def about_all(items, kind):
    return [(item.name, " ".join(item.about)) for item in items if item.kind == kind]


def guide_blocks(guide):
    """Markup: "# heading", lines that are indented are code, the rest are paragraphs."""
    for part in re.split(r"\n\s*?\n(?=\S)|\n\n(?=    )", guide.strip()):
        if part.startswith("# "):
            yield ("h", part[2:].strip())
        elif part.startswith("    "):
            yield ("code", "\n".join(line[4:] for line in part.rstrip().split("\n")))
        else:
            yield ("p", " ".join(part.split()))
