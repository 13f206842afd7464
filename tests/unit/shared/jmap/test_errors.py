"""The three levels of errors (RFC 8620 section 3.6; checklist C-26, C-27)."""

from shared.jmap.errors import (
    MethodError,
    invalid_arguments,
    invalid_properties,
    limit_exceeded,
    not_json,
    unknown_capability,
)


def test_a_limit_names_itself() -> None:
    problem = limit_exceeded("maxSizeRequest", "Too large.", http_status=413).problem()
    assert problem == {
        "type": "urn:ietf:params:jmap:error:limit",
        "status": 413,
        "detail": "Too large.",
        "limit": "maxSizeRequest",
    }


def test_request_errors_have_a_status() -> None:
    assert not_json("x").http_status == 400
    assert unknown_capability("x").problem()["status"] == 400


def test_a_method_error_may_say_more() -> None:
    assert MethodError("accountNotFound").arguments() == {"type": "accountNotFound"}
    assert invalid_arguments("No.", "ids").arguments() == {
        "type": "invalidArguments",
        "description": "No.",
        "arguments": ["ids"],
    }


def test_invalid_properties_are_listed_once() -> None:
    assert invalid_properties("No.", "b", "a", "b").error.properties == ["a", "b"]
