"""References to results of earlier calls of the same request (RFC 8620 section 3.7)."""

import msgspec

from shared.jmap.envelope import MethodResponse
from shared.jmap.errors import MethodError, invalid_arguments
from shared.jmap.i_json import JsonObject, JsonValue, decode_i_json, encode_json
from shared.jmap.pointer import PointerError, evaluate, parse_pointer


class References:
    """Those of one request, to its `responses` so far, to which whoever made this appends.

    A request of a few octets for each reference could ask for any number of copies of one large
    value. So what they refer to is paid for from `octets_max`, once for the whole request: its
    octets as JSON, the members of each array that a `*` goes over, of which maybe nothing is taken,
    and what must be decoded for it. As large as a request may be is enough for whatever a client
    could have sent itself.
    """

    def __init__(self, octets_max: int) -> None:
        self.responses: list[MethodResponse] = []
        self._octets_max = octets_max
        self._octets_left = octets_max
        self._plain: dict[int, JsonValue] = {}  # by the index of the response

    def resolve(self, arguments: JsonObject) -> JsonObject:
        """Arguments with each `#name` replaced by what it refers to.

        Raises MethodError: invalidResultReference, or invalidArguments when `name` is there too,
        or requestTooLarge: the reference is right, so that the client should ask for less at once.
        """
        if not any(name.startswith("#") for name in arguments):
            return arguments
        both = [name for name in arguments if "#" + name in arguments]
        if both:
            raise invalid_arguments("Given as a value and as a reference.", *both)
        return {
            name.removeprefix("#"): self._resolve(value) if name.startswith("#") else value
            for name, value in arguments.items()
        }

    def _resolve(self, value: JsonValue) -> JsonValue:
        match value:
            case {"resultOf": str(call_id), "name": str(name), "path": str(path)}:
                pass
            case _:
                raise _failed("A ResultReference has resultOf, name and path, each a string.")
        index = self._index(call_id)
        if self.responses[index].name != name:
            raise _failed(f"The response to that call is named {self.responses[index].name}.")
        try:
            found = evaluate(self._read(index), parse_pointer(path), self._spend)
        except PointerError as error:
            raise _failed(f"path: {error}") from error
        self._spend(len(encode_json(found)))
        return found

    def _index(self, call_id: str) -> int:
        """Of the first response to that call."""
        for index, response in enumerate(self.responses):
            if response.call_id == call_id:
                return index
        raise _failed("No earlier response has the call id of resultOf.")

    def _read(self, index: int) -> JsonValue:
        """The response as the client will read it: members that are still raw JSON are decoded."""
        if index not in self._plain:
            self._plain[index] = self._decoded(self.responses[index])
        return self._plain[index]

    def _decoded(self, response: MethodResponse) -> JsonValue:
        if not any(_is_raw(member) for member in response.arguments.values()):
            return response.arguments  # type: ignore[return-value]  # no member is Raw
        body = encode_json(response.arguments)
        self._spend(len(body))
        return decode_i_json(body, depth_max=1000)

    def _spend(self, octets: int) -> None:
        if octets > self._octets_left:
            raise MethodError(
                "requestTooLarge",
                f"The references of a request may refer to {self._octets_max} octets in all.",
            )
        self._octets_left -= octets


def _is_raw(member: object) -> bool:
    if isinstance(member, list):
        return any(isinstance(item, msgspec.Raw) for item in member)
    return isinstance(member, msgspec.Raw)


def _failed(description: str) -> MethodError:
    return MethodError("invalidResultReference", description)
