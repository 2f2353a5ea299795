"""Reads include/kamacache.h as cbindgen prints it: each declaration with its comment.

Invariant: every public item is found, and one that is not documented as the rules
below want it is a problem, of which the caller makes an error. Called by __main__.
"""

import re
from dataclasses import dataclass, field


@dataclass
class Item:
    """A declaration: kind is macro, enum, struct, opaque, alias, callback or function."""

    kind: str
    name: str
    code: str
    about: list[str] = field(default_factory=list)  # paragraphs
    params: dict[str, str] = field(default_factory=dict)  # documented ones
    returns: str = ""
    statuses: list[tuple[str, str]] = field(default_factory=list)
    threads: str = ""
    members: list[tuple[str, str, str]] = field(default_factory=list)  # code, name, comment


COMMENT = re.compile(r"/\*\*(.*?)\*/", re.S)
TAG = re.compile(r"@(param|return|retval|par)\b")


def parse(text):
    """The opening comment, the items in their order, and what is wrong with them."""
    opening = re.match(r"/\*(.*?)\*/", text, re.S)
    body = re.sub(r"#ifdef __cplusplus\n.*?#endif[^\n]*\n", "", text[opening.end() :], flags=re.S)
    items = list(declarations(body))
    problems = [problem for item in items for problem in check(item)]
    return plain(opening.group(1)), items, problems


def declarations(body):
    at, comment = 0, ""
    while at < len(body):
        rest = body[at:]
        if match := COMMENT.match(rest):
            comment = match.group(1)
        elif match := re.match(r"#define (\w+)[^\n]*", rest):
            if not match.group(1).endswith("_H"):
                yield described("macro", match.group(1), match.group(0), comment)
            comment = ""
        elif match := re.match(r"#[^\n]*|\s+|/\*.*?\*/", rest, re.S):
            pass
        else:
            match = re.match(r"(?:enum|typedef struct \w+) \{.*?\n\}[^;]*;|[^;]*;", rest, re.S)
            yield declared(match.group(0), comment)
            comment = ""
        at += match.end()


def declared(code, comment):
    """The item of a declaration that is no macro."""
    if code.startswith("enum"):
        item = described("enum", "", code, comment)
        item.members = [(f"{name} = {value}", name, about) for about, name, value in commented(code, r"(\w+) = (\d+),")]
        return item
    if match := re.match(r"typedef struct (\w+) \{", code):
        item = described("struct", match.group(1), code, comment)
        item.members = [(kind + name, name, about) for about, kind, name in commented(code, r"([^;/{}]*?)(\w+);")]
        return item
    if match := re.match(r"typedef struct (\w+) \1;", code):
        return described("opaque", match.group(1), code, comment)
    if match := re.search(r"\(\*(\w+)\)\(", code):
        return described("callback", match.group(1), code, comment)
    if match := re.match(r"typedef .*?(\w+);", code):
        return described("alias", match.group(1), code, comment)
    return described("function", re.search(r"(\w+)\(", code).group(1), code, comment)


def commented(code, member):
    """Each member of a struct or enum with its comment, "" when it has none."""
    inner = code[code.index("{") + 1 : code.rindex("}")]
    found = re.finditer(r"(?:/\*\*(.*?)\*/)?\s*" + member, inner, re.S)
    return [(" ".join(plain(match.group(1) or "")), *match.groups()[1:]) for match in found]


def plain(comment):
    """The paragraphs of a comment, without its stars."""
    lines = [re.sub(r"^\s*\* ?", "", line) for line in comment.strip().split("\n")]
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines))
    return [" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip()]


def described(kind, name, code, comment):
    item = Item(kind, name, " ".join(code.split()) if kind == "function" else code)
    lines = "\n".join(re.sub(r"^\s*\* ?", "", line) for line in comment.split("\n"))
    first = TAG.search(lines)
    head, tagged = (lines[: first.start()], lines[first.start() :]) if first else (lines, "")
    item.about = plain(head)
    for tag in re.split(r"\n(?=@)", tagged):
        words = " ".join(tag.split()).split(" ", 2)
        if words[0] == "@param":
            item.params[words[1]] = words[2] if len(words) > 2 else ""
        elif words[0] == "@retval":
            item.statuses.append((words[1], words[2] if len(words) > 2 else ""))
        elif words[0] == "@return":
            item.returns = " ".join(words[1:])
        elif words[:2] == ["@par", "Threads"]:
            item.threads = " ".join(words[2:])
    return item


def parameters(item):
    """Each parameter's declaration and name."""
    inner = item.code[item.code.rindex(")(") + 2 if item.kind == "callback" else item.code.index("(") + 1 :]
    inner = " ".join(inner[: inner.rindex(")")].split())
    if inner == "void":
        return []
    return [(param, re.search(r"(\w+)$", param).group(1)) for param in inner.split(", ")]


def check(item):
    """What a reader of this item would miss."""
    name = item.name or "an enum (" + item.members[0][1] + ")"
    if not item.about:
        yield f"{name} has no comment"
    for code, member, about in item.members:
        if not about:
            yield f"{name}: {member} has no comment"
    if item.kind not in ("function", "callback"):
        return
    wanted = [param for _, param in parameters(item)]
    if list(item.params) != wanted or not all(item.params.values()):
        yield f"{name}: @param for {', '.join(item.params) or 'nothing'}, but it takes {', '.join(wanted) or 'nothing'}"
    if item.kind == "function" and not item.code.startswith("void ") and not (item.returns or item.statuses):
        yield f"{name} says not what it returns: @return, or a @retval for each status"
    if item.code.startswith("kamacache_status ") and wanted != ["error"] and len(item.statuses) < 2:
        yield f"{name} names no error it may return: a @retval for each"
    if not item.threads:
        yield f"{name} says not on which threads, and whether it blocks: @par Threads"
    elif item.kind == "function" and not re.search(r"\bblocks?\b", item.threads):
        yield f"{name}: @par Threads says not whether it blocks"
    pointers = any("*" in code for code, _ in parameters(item))
    said = " ".join([*item.params.values(), *(text for _, text in item.statuses), item.returns])
    if pointers and "NULL" not in said:
        yield f"{name} takes pointers and says nothing of NULL"
