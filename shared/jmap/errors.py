"""The three levels of JMAP errors (RFC 8620 sections 3.6.1, 3.6.2 and 5.3)."""

import msgspec

from shared.jmap.i_json import JsonObject, JsonValue

_DETAIL_CHARACTERS_MAX = 500
_REQUEST_ERROR = "urn:ietf:params:jmap:error:"


class RequestError(Exception):
    """The whole request fails, with problem details (RFC 7807).

    What `detail` quotes of a request may be as large as that, and goes into a header, too.
    """

    def __init__(
        self, kind: str, detail: str, *, http_status: int = 400, limit: str | None = None
    ) -> None:
        detail = detail[:_DETAIL_CHARACTERS_MAX]
        super().__init__(detail)
        self.type = _REQUEST_ERROR + kind
        self.detail = detail
        self.http_status = http_status
        self.limit = limit

    def problem(self) -> JsonObject:
        problem: JsonObject = {
            "type": self.type,
            "status": self.http_status,
            "detail": self.detail,
        }
        if self.limit is not None:
            problem["limit"] = self.limit
        return problem


def not_json(detail: str, *, http_status: int = 400) -> RequestError:
    return RequestError("notJSON", detail, http_status=http_status)


def not_request(detail: str) -> RequestError:
    return RequestError("notRequest", detail)


def unknown_capability(detail: str) -> RequestError:
    return RequestError("unknownCapability", detail)


def limit_exceeded(limit: str, detail: str, *, http_status: int = 400) -> RequestError:
    return RequestError("limit", detail, http_status=http_status, limit=limit)


class MethodError(Exception):
    """One method call fails and leaves no trace; the calls after it go on."""

    def __init__(self, type_: str, description: str | None = None, **more: JsonValue) -> None:
        super().__init__(type_, description)
        self.type = type_
        self.description = description
        self.more = more

    def arguments(self) -> JsonObject:
        arguments: JsonObject = {"type": self.type}
        if self.description is not None:
            arguments["description"] = self.description
        return {**arguments, **self.more}


def invalid_arguments(description: str, *names: str) -> MethodError:
    return MethodError("invalidArguments", description, arguments=list(names))


METHOD_ERRORS = frozenset(
    {
        "accountNotFound",
        "accountNotSupportedByMethod",
        "accountReadOnly",
        "anchorNotFound",
        "cannotCalculateChanges",
        "forbidden",
        "fromAccountNotFound",
        "fromAccountNotSupportedByMethod",
        "invalidArguments",
        "invalidResultReference",
        "requestTooLarge",
        "serverFail",
        "serverPartialFail",
        "serverUnavailable",
        "stateMismatch",
        "tooManyChanges",
        "unknownDataType",
        "unknownMethod",
        "unsupportedFilter",
        "unsupportedSort",
    }
)
"""Those of RFC 8620 for method calls, and of RFC 9404; a service may have others."""


class SetError(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One create, update or destroy fails; the others of the call go on."""

    type: str
    description: str | None = None
    properties: list[str] | None = None
    existing_id: str | None = None
    not_found: list[str] | None = None


class SetRejectedError(Exception):
    """Carries the SetError of the record in hand to the loop over all of them."""

    def __init__(self, error: SetError) -> None:
        super().__init__(error.type, error.description)
        self.error = error


def invalid_properties(description: str, *properties: str) -> SetRejectedError:
    return SetRejectedError(
        SetError(
            type="invalidProperties", description=description, properties=sorted(set(properties))
        )
    )
