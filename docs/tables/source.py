"""What the source says: comments beside fields, calls and the texts that they are given."""

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]


def meanings_of(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Field -> what is written beside and below it; "" where nothing is."""
    class_, comments = _class_and_comments(struct)
    found: dict[str, str] = {}
    for statement, below in zip(class_.body, [*class_.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found[statement.target.id] = f"{_beside(statement, comments)} {_text_of(below)}".strip()
    return found


def comments_of(enum: type[StrEnum]) -> dict[str, str]:
    """Value -> what is written beside it."""
    class_, comments = _class_and_comments(enum)
    return {
        template_of(statement.value): _beside(statement, comments)
        for statement in class_.body
        if isinstance(statement, ast.Assign)
    }


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """Path below the root, and what it holds."""
    for folder in ("services", "shared"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def name_of(call: ast.Call) -> str:
    """Of what is called, without what it is an attribute of."""
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def template_of(node: ast.expr) -> str:
    """The text of a literal, with … for what is known only when the program runs."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(template_of(value) for value in values)
        case _:
            return "…"


def _class_and_comments(class_: type) -> tuple[ast.ClassDef, dict[int, str]]:
    """And the comments by their lines."""
    source = textwrap.dedent(inspect.getsource(class_))
    comments = {
        token.start[0]: token.string.removeprefix("#").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.ClassDef)  # noqa: S101 - what getsource returns
    return node, comments


def _beside(statement: ast.stmt, comments: dict[int, str]) -> str:
    lines = range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    return " ".join(comments[line] for line in lines if line in comments)


def _text_of(statement: ast.stmt | None) -> str:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return " ".join(text.split())
        case _:
            return ""
