"""docs/errors.md: what clients, operators and readers of the log are told."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import get_args

from docs.tables.log_lines import LINES
from docs.tables.markdown import WRITTEN, code, table
from docs.tables.meanings import METHOD, REQUEST, SET
from docs.tables.source import comments_of, modules, name_of, template_of
from services.gateway.push_connection import EndReason
from services.webhooks.answers import Outcome
from shared.jmap.errors import METHOD_ERRORS
from shared.store.appends import Refusal

_HEAD = f"""# Errors, refusals and log lines

{WRITTEN}
"""

_LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
_STARTS = ("CouldNotStartError", "SettingsError")
_LETTERS_MIN = 12
# Lines whose words are put together where the reason is found.
_PUT_TOGETHER = (
    (
        "Port … on … is taken by another program: stop it, or set TIDINGS_PORT to a free one.",
        "shared/runtime/serve.py",
    ),
    (
        "Port … on … is not allowed to this user: set TIDINGS_PORT to 1024 or more.",
        "shared/runtime/serve.py",
    ),
    ("Port … on … cannot be used (…): check TIDINGS_HOST.", "shared/runtime/serve.py"),
    (
        "no NATS server at …: …; start it, or correct TIDINGS_NATS_URL.",
        "shared/bus/connection.py",
    ),
    (
        "NATS server … is too old: the log needs … or newer.",
        "shared/bus/connection.py",
    ),
    (
        (
            "the stream exists, but this database has never seen it; "
            "`tidings log rebuild` replaces it."
        ),
        "shared/log/keeper.py",
    ),
)


class UndocumentedError(Exception):
    """Names what docs/tables says nothing of, or what it says something of that is no more."""


def errors_page() -> str:
    calls = [(path.as_posix(), call) for path, tree in modules() for call in _calls(tree)]
    sections = {
        "A request as a whole fails": _typed(
            REQUEST,
            _types(calls, "RequestError") | set(get_args(Refusal)),
            "The type is `urn:ietf:params:jmap:error:` and this (RFC 8620 section 3.6.1).",
        ),
        "A method call fails": _typed(
            METHOD, set(METHOD_ERRORS), "The others of the request go on (section 3.6.2)."
        ),
        "A create, update or destroy fails": _typed(
            SET, _set_errors(calls), "The others of the call go on (section 5.3)."
        ),
        "Problems over HTTP without a type": _problems(calls),
        "Why a connection ended": _enum(EndReason),
        "What became of a webhook request": _enum(Outcome),
        "What stops a start": _starts(calls),
        "Log lines": _lines(calls),
    }
    return _HEAD + "".join(f"\n## {title}\n\n{body}" for title, body in sections.items())


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _typed(meanings: Mapping[str, str], found: set[str], head: str) -> str:
    require_same(meanings, found)
    rows = [[code(name), meaning] for name, meaning in meanings.items()]
    return f"{head}\n\n{table(('type', 'meaning, and what to do'), rows)}"


def _types(calls: list[tuple[str, ast.Call]], class_name: str) -> set[str]:
    return {
        template_of(call.args[0])
        for _, call in calls
        if name_of(call) == class_name and call.args and isinstance(call.args[0], ast.Constant)
    }


def _set_errors(calls: list[tuple[str, ast.Call]]) -> set[str]:
    """Also of a container that is not empty, whose declaration has the type of its error."""
    arguments = {"SetError": "type", "Container": "error"}
    return {
        template_of(keyword.value)
        for _, call in calls
        for keyword in call.keywords
        if keyword.arg == arguments.get(name_of(call)) and isinstance(keyword.value, ast.Constant)
    }


def _problems(calls: list[tuple[str, ast.Call]]) -> str:
    rows = {
        (str(call.args[0].value), template_of(call.args[1]))
        for _, call in calls
        if name_of(call) in ("problem", "Refusal", "_problem")
        and len(call.args) > 1
        and isinstance(call.args[0], ast.Constant)
        and _says(template_of(call.args[1]))
    }
    return table(("status", "detail"), sorted(rows))


def _enum(enum: type[StrEnum]) -> str:
    rows = [[code(name), meaning] for name, meaning in comments_of(enum).items()]
    return table(("word", "meaning"), rows)


def _starts(calls: list[tuple[str, ast.Call]]) -> str:
    rows = {
        (template_of(call.args[0]), path)
        for path, call in calls
        if name_of(call) in _STARTS and call.args and _says(template_of(call.args[0]))
    }
    rows |= set(_PUT_TOGETHER)
    head = (
        "One line on standard error, and the exit code 3; 1 is a crash, with a stack trace in the "
        "log, and 0 an end in good order.\n\n"
    )
    return head + table(("line", "from"), sorted([text, code(path)] for text, path in rows))


def _says(template: str) -> bool:
    """Whether it has words of its own."""
    return sum(map(str.isalpha, template)) >= _LETTERS_MIN


def _lines(calls: list[tuple[str, ast.Call]]) -> str:
    levels: dict[str, set[str]] = defaultdict(set)
    facts: dict[str, set[str]] = defaultdict(set)
    for _, call in calls:
        name = _logged(call)
        if name:
            levels[name].add(_level_of(call))
            facts[name] |= set(_extra(call))
    require_same(LINES, set(levels))
    rows = [
        [
            code(name),
            ", ".join(sorted(levels[name])),
            ", ".join(sorted(facts[name])),
            LINES[name],
        ]
        for name in sorted(LINES)
    ]
    head = (
        "JSON on standard output, one line each: `at`, `level`, `event`, the facts, `logger`, and "
        "in what belongs to a request its `request_id`. No line has a token, a key, a code, a "
        "body or the URL of a subscription.\n\n"
    )
    return head + table(("event", "level", "facts", "meaning"), rows)


def _logged(call: ast.Call) -> str:
    """The event's name, "" for what does not log."""
    match call:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="_log"), attr=attribute), args=arguments
        ) if attribute in (*_LEVELS, "log"):
            return template_of(arguments[-1])
        case ast.Call(func=ast.Name(id="log_facts"), args=[_, event, _]):
            return template_of(event)
        case _:
            return ""


def _level_of(call: ast.Call) -> str:
    if not isinstance(call.func, ast.Attribute):
        return "info"
    attribute = call.func.attr
    return {"exception": "error", "log": "info or warning"}.get(attribute, attribute)


def _extra(call: ast.Call) -> Iterator[str]:
    told = [keyword.value for keyword in call.keywords if keyword.arg == "extra"]
    for facts in (*told, *call.args[2:]):
        if isinstance(facts, ast.Dict):
            yield from ("…" if key is None else template_of(key) for key in facts.keys)
    if any(keyword.arg == "exc_info" for keyword in call.keywords):
        yield "error"


def require_same(told: Mapping[str, str], found: set[str]) -> None:
    """Raises UndocumentedError."""
    if missing := sorted(found - told.keys()):
        raise UndocumentedError(f"say in docs/tables what these mean: {', '.join(missing)}")
    if stale := sorted(told.keys() - found):
        raise UndocumentedError(f"remove from docs/tables what is no more: {', '.join(stale)}")
