"""A mechanical splitter of SQL: what of a migration can be taken out, one piece at a time.

It knows words, strings, comments and nesting, and no more of the language than where a condition begins and ends. A
piece is taken out by putting what changes nothing in its place: a term of an AND becomes true, a term of an OR false.

    statements(text)   the statements, whole
    cuts(statement)    every piece: columns' and tables' constraints, indexes, triggers, their events and columns,
                       each term and each arm of a condition, each IF
"""

import itertools
import re
from collections.abc import Iterator
from typing import Final

import msgspec

_TOKEN: Final = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\$\$|[A-Za-z_][\w.]*|\d+|\|\||<>|<=|>=|:=|::|\S")
_EDGES: Final = frozenset(
    (
        *("AND", "OR", "WHEN", "THEN", "ELSE", "BEGIN", "WHERE", "IF", "ELSIF", "ON", "FROM", "SELECT", "HAVING"),
        *("SET", "GROUP", "ORDER", "LIMIT", "EXECUTE", "FOR", "JOIN", "LEFT", "USING", "RETURNS", "UPDATE", "INSERT"),
        *(",", ";"),
    )
)
"""Words that a term does not reach beyond."""


NOTHING: Final = "SELECT 1;"
"""A statement that does nothing, where one was."""

_KINDS: Final = ("CREATE", "UNIQUE", "TABLE", "INDEX", "TRIGGER", "FUNCTION")


class Token(msgspec.Struct):
    word: str
    """In capitals, unless it is a string."""
    start: int
    end: int
    scope: int = 0
    """The bracket, or the CASE, that it stands in."""
    closes: bool = False
    """Whether it ends one of them."""


class Cut(msgspec.Struct, frozen=True):
    """`text[start:end]` becomes `new`."""

    what: str
    start: int
    end: int
    new: str = ""


class Statement:
    """One statement of a migration, from `start` on in it."""

    def __init__(self, text: str, start: int, true: str) -> None:
        self.text = text
        self.start = start
        self.true, self.false = true, {"1": "0", "true": "false"}[true]
        self.tokens = _nested(tokens(text))
        words = [token.word for token in self.tokens]
        self.words = words
        self.kind = " ".join(itertools.takewhile(_KINDS.__contains__, words))
        self.name = self.tokens[len(self.kind.split())].word.lower() if self.kind else words[0].lower()
        if words[:2] == ["ALTER", "TABLE"]:
            self.kind, self.name = "ALTER TABLE", words[2].lower()

    def said(self, start: int, end: int) -> str:
        """A piece in one line, without its comments."""
        return re.sub(r"\s+", " ", re.sub(r"--[^\n]*", "", self.text[start:end])).strip()


def tokens(text: str) -> list[Token]:
    """The words of a text; comments are none."""
    found = (match for match in _TOKEN.finditer(text) if not match[0].startswith("--"))
    return [Token(match[0] if match[0][0] == "'" else match[0].upper(), *match.span()) for match in found]


def _nested(found: list[Token]) -> list[Token]:
    """Say of each token which bracket or CASE it stands in; the brackets themselves stand outside."""
    stack, opened = [0], 0
    cases: list[int] = []
    for token in found:
        if token.word == ")" or (token.word == "END" and cases and cases[-1] == stack[-1]):
            token.closes = True
            closed = stack.pop()
            if cases and cases[-1] == closed:
                cases.pop()
        token.scope = stack[-1]
        if token.word in ("(", "CASE"):
            opened += 1
            stack.append(opened)
            if token.word == "CASE":
                cases.append(opened)
    return found


def statements(text: str, *, true: str) -> Iterator[Statement]:
    """Each statement of a migration. A trigger of SQLite ends with END;, a function of PostgreSQL with $$;."""
    start, quoted, body = 0, False, False
    words: list[str] = []
    ended = False
    for token in _nested(tokens(text)):
        words.append(token.word)
        if token.word == "$$":
            quoted = not quoted
        if token.word == "BEGIN" and "TRIGGER" in words[:2]:
            body = True
        if token.word == ";" and not quoted and (ended or not body):
            first = next(one.start for one in tokens(text[start:])) + start
            yield Statement(text[first : token.end], first, true)
            start, body, words = token.end, False, []
        ended = token.word == "END" and not token.closes


def cuts(statement: Statement) -> Iterator[Cut]:
    """Everything that can be taken out of one statement, alone."""
    whole = len(statement.text)
    if statement.kind == "CREATE TABLE":
        yield from _of_table(statement)
        yield from terms(statement)
    elif statement.kind == "ALTER TABLE":
        yield from _of_column(statement, statement.tokens[statement.words.index("COLUMN") + 1 : -1], set())
        yield from terms(statement)
    elif statement.kind == "CREATE UNIQUE INDEX":
        unique = statement.tokens[1]
        yield Cut("not unique", unique.start, unique.end)
    elif statement.kind == "CREATE INDEX":
        yield Cut("no index", 0, whole, NOTHING)
    elif statement.kind == "CREATE TRIGGER":
        yield Cut("no trigger", 0, whole, NOTHING)
        yield from _of_head(statement)
        yield from terms(statement)
    elif statement.kind == "CREATE FUNCTION":
        yield from _of_function(statement)
        yield from terms(statement)


def _of_table(statement: Statement) -> Iterator[Cut]:
    items = _items(statement)
    primary = {token.word for item in items if item[0].word == "PRIMARY" for token in item}
    for item in items:
        words = [token.word for token in item]
        start, end = item[0].start, item[-1].end
        if words[0] in ("PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "CONSTRAINT"):
            comma = max(token.start for token in statement.tokens if token.word == "," and token.start < start)
            yield _without(statement, f"no {statement.said(start, end)}", comma, end, words[0] == "PRIMARY")
            continue
        yield from _of_column(statement, item, primary)


def _of_column(statement: Statement, item: list[Token], primary: set[str]) -> Iterator[Cut]:
    words = [token.word for token in item]
    column = words[0].lower()
    for at, word in enumerate(words):
        following = words[at : at + 2]
        if following == ["NOT", "NULL"] and words[0] not in primary:
            yield Cut(f"{column} may be NULL", item[at].start, item[at + 1].end)
        elif following == ["PRIMARY", "KEY"]:
            yield _without(statement, f"{column} is no PRIMARY KEY", item[at].start, item[at + 1].end, True)
        elif word == "UNIQUE":
            yield Cut(f"{column} is not UNIQUE", item[at].start, item[at].end)
        elif word in ("CHECK", "REFERENCES"):
            close = _closing(item, words.index("(", at))
            said = statement.said(item[at].start, item[close].end)
            yield Cut(f"{column} without {said}", item[at].start, item[close].end)


def _without(statement: Statement, what: str, start: int, end: int, rowid: bool) -> Cut:  # noqa: FBT001
    """A constraint gone; a table of SQLite without its primary key has to have a rowid."""
    tail = statement.text.find(", WITHOUT ROWID")
    if not rowid or tail < 0:
        return Cut(what, start, end)
    return Cut(what, start, tail + len(", WITHOUT ROWID"), statement.text[end:tail])


def _items(statement: Statement) -> list[list[Token]]:
    """The columns and constraints of a table."""
    inner = statement.words.index("(")
    close = _closing(statement.tokens, inner)
    scope = statement.tokens[inner + 1].scope
    items: list[list[Token]] = [[]]
    for token in statement.tokens[inner + 1 : close]:
        if token.word == "," and token.scope == scope:
            items.append([])
        else:
            items[-1].append(token)
    return items


def _closing(among: list[Token], opening: int) -> int:
    scope = among[opening].scope
    return next(at for at in range(opening + 1, len(among)) if among[at].word == ")" and among[at].scope == scope)


def _of_head(statement: Statement) -> Iterator[Cut]:
    """Of a trigger: its events, and the columns that it watches."""
    on = statement.words.index("ON")
    head = statement.tokens[:on]
    words = statement.words[:on]
    if "OR" in words:
        at = words.index("OR")
        yield Cut(f"not at {words[at - 1]}", head[at - 1].start, head[at].end)
        yield Cut(f"not at {words[at + 1]}", head[at].start, head[at + 1].end)
    if "OF" in words:
        columns = [token for token in head[words.index("OF") + 1 :] if token.word != ","]
        for at, column in enumerate(columns):
            if len(columns) > 1:
                last = at == len(columns) - 1
                start, end = (columns[at - 1].end, column.end) if last else (column.start, columns[at + 1].start)
                yield Cut(f"does not watch {column.word.lower()}", start, end)


def _of_function(statement: Statement) -> Iterator[Cut]:
    words, found = statement.words, statement.tokens
    for at, word in enumerate(words):
        if words[at : at + 2] == ["SECURITY", "DEFINER"]:
            yield Cut("with its caller's rights", found[at].start, found[at + 1].end)
        if word in ("IF", "ELSIF") and words[at - 1] != "END":
            then = next(i for i in range(at, len(words)) if words[i] == "THEN" and found[i].scope == found[at].scope)
            start, end = found[at + 1].start, found[then - 1].end
            yield Cut(f"{word} never: {statement.said(start, end)}", start, end, statement.false)


def terms(statement: Statement) -> Iterator[Cut]:
    """Each term of an AND or an OR, each lone WHERE of a trigger's body, each arm of a CASE and its ELSE."""
    found = statement.tokens
    first = statement.words.index("ON") if statement.kind == "CREATE TRIGGER" else 0
    for scope in sorted({token.scope for token in found}):
        own = [at for at in range(first, len(found)) if found[at].scope == scope]
        yield from _terms_of(statement, own)
        if own and _in_case(found, own[0]):
            yield from _arms(statement, own)


def _in_case(found: list[Token], at: int) -> bool:
    before = [token for token in found[:at] if token.scope != found[at].scope]
    return bool(before) and before[-1].word == "CASE"


def _terms_of(statement: Statement, own: list[int]) -> Iterator[Cut]:
    found = statement.tokens
    edges, between = [], False
    for at in own:
        word = found[at].word
        between = between or word == "BETWEEN"
        if word == "AND" and between:
            between = False
        elif (word in _EDGES or word == "$$") and found[at - 1].word != "DISTINCT":
            edges.append(at)
    bounds = [own[0] - 1, *edges, _end(found, own)]
    for left, right in itertools.pairwise(bounds):
        around = {found[at].word for at in (left, right) if at in edges}
        if left + 1 >= right:
            continue
        alone = left in edges and found[left].word == "WHERE" and statement.kind != "CREATE TABLE"
        if not around & {"AND", "OR"} and not alone:
            continue
        start, end = found[left + 1].start, found[right - 1].end
        new = statement.true if "AND" in around or "OR" not in around else statement.false
        yield Cut(f"without {statement.said(start, end)}", start, end, new)


def _end(found: list[Token], own: list[int]) -> int:
    """Behind the last token of a scope, with all that is nested in it."""
    scope = found[own[0]].scope
    at = own[-1] + 1
    while at < len(found) and found[at].scope > scope:
        at += 1
    return at


def _arms(statement: Statement, own: list[int]) -> Iterator[Cut]:
    found = statement.tokens
    marks = [at for at in own if found[at].word in ("WHEN", "ELSE")]
    ends = [*marks[1:], _end(found, own)]
    whens = sum(found[at].word == "WHEN" for at in marks)
    for at, end in zip(marks, ends, strict=True):
        last = found[end - 1].end
        if found[at].word == "WHEN" and whens > 1:
            yield Cut(f"no arm {statement.said(found[at].start, last)}", found[at].start, last)
        elif found[at].word == "ELSE" and statement.text[found[at + 1].start : last] != statement.true:
            start = found[at + 1].start
            yield Cut(f"ELSE is true, not {statement.said(start, last)}", start, last, statement.true)
