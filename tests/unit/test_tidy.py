"""What linters cannot state about the source (STYLE 4.2)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
# Modules without I/O: the list of the Makefile, which asks 100 % coverage of them.
PURE = [
    pattern
    for line in (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    if line.startswith("PURE_MODULES :=")
    for pattern in line.removeprefix("PURE_MODULES :=").split()
]
IMPURE_MODULES = {"asyncio", "time", "os", "nats", "asyncpg", "starlette", "httpx", "uvicorn"}
SOURCES = sorted(
    path
    for folder in ("services", "shared", "tests")
    for path in (ROOT / folder).rglob("*.py")
    if "node_modules" not in path.parts
)
PURE_SOURCES = sorted(
    {
        path
        for pattern in PURE
        for path in ROOT.glob(pattern.replace("/*", "/**/*.py"))
        if path.name != "__init__.py"
    }
)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_modules_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MODULE_LINES_MAX
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, node.name


@pytest.mark.parametrize("path", PURE_SOURCES, ids=name)
def test_a_pure_module_neither_waits_nor_asks_the_world(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), node
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & IMPURE_MODULES
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in IMPURE_MODULES


@pytest.mark.parametrize("path", PURE_SOURCES, ids=name)
def test_a_pure_module_has_tests_of_its_own(path: Path) -> None:
    mirror = ROOT / "tests" / "unit" / path.relative_to(ROOT)
    tests = list(mirror.parent.glob(f"test_{mirror.stem}*.py"))
    assert tests, f"no {mirror.with_name('test_' + mirror.name).relative_to(ROOT)}"


def test_nothing_in_nats_shadows_the_client_library() -> None:
    assert not list((ROOT / "nats").rglob("*.py"))


def test_each_folder_of_tests_is_a_package() -> None:
    """Or two test modules of one name would clash."""
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert not [name(folder) for folder in folders if not (folder / "__init__.py").exists()]
