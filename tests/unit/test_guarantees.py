"""docs/guarantees.md names tests for each promise, and they exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
PROMISES = re.findall(r"^## (\d+)\. .*\n((?:(?!## ).*\n)*)", PAGE, re.MULTILINE)
_NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`( \((?:nginx|long|nginx, long)\))?")
_RUN_BY_HAND = {"long", "nginx"}


def defined(path: Path) -> dict[str, set[str]]:
    """Names of a module's tests, and the marks of each that say who runs it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    of_all = {
        mark
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        for mark in marks(node.value)
    }
    names = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names[node.name] = of_all.union(*(marks(one) for one in node.decorator_list))
        elif isinstance(node, ast.Assign):
            names[ast.unparse(node.targets[0])] = of_all
    return names


def marks(node: ast.expr) -> set[str]:
    """One within `parametrize` is of some of the cases only."""
    text = ast.unparse(node)
    found = set() if "parametrize" in text else set(re.findall(r"pytest\.mark\.(\w+)", text))
    return {"nginx" if mark == "cluster" else mark for mark in found} & _RUN_BY_HAND


def test_the_promises_are_numbered() -> None:
    assert [int(number) for number, _ in PROMISES] == list(range(1, len(PROMISES) + 1))
    assert len(PROMISES) >= 15


@pytest.mark.parametrize(("number", "text"), PROMISES, ids=[number for number, _ in PROMISES])
def test_a_promise_names_tests_that_exist_and_says_who_runs_them(number: str, text: str) -> None:
    named = _NAMED.findall(text)
    assert named, f"promise {number} names no test"
    for path, name, who in named:
        tests = defined(ROOT / "tests" / path)
        assert name in tests, f"{path} has no {name}"
        assert set(re.findall(r"\w+", who)) == tests[name], f"{path}::{name}"
