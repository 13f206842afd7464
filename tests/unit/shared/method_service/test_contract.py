"""What a service may say of itself, and what is not believed."""

from typing import Any

import msgspec
import pytest

from shared.method_service.contract import (
    ContractError,
    ServiceDescription,
    cancel_subject,
    metadata_of,
    read_info,
    service_name,
    subject_of,
)

NOTES = ServiceDescription(
    capability="urn:example:notes",
    version="1.2.3",
    session={"a": 1},
    account={"b": [None]},
    types={"Note": ("get", "set"), "NoteDelivery": ()},
)


def info(description: ServiceDescription = NOTES, **other: Any) -> bytes:
    told = {
        "type": "io.nats.micro.v1.info_response",
        "name": description.name,
        "id": "X1",
        "version": description.version,
        "metadata": metadata_of(description),
        "endpoints": [],
    }
    return msgspec.json.encode({**told, **other})


def with_metadata(**other: str) -> bytes:
    changed = {f"tidings.{name}": value for name, value in other.items()}
    return info(metadata={**metadata_of(NOTES), **changed})


def test_names_and_subjects() -> None:
    assert service_name("urn:example:notes") == "urn_example_notes"
    assert service_name("https://example.com/a_b?c") == "https___example_com_a_b_c"
    assert subject_of("Note/get") == "tidings.method.Note.get"
    assert cancel_subject(NOTES.name) == "tidings.cancel.urn_example_notes"


def test_what_is_written_is_read() -> None:
    assert read_info(info()) == ("X1", NOTES)
    without = msgspec.structs.replace(NOTES, account=None)
    assert read_info(info(without)) == ("X1", without)
    assert NOTES.methods == ["Note/get", "Note/set"]


def test_other_services_of_the_bus_are_passed_over() -> None:
    assert read_info(info(metadata=None)) is None
    assert read_info(info(metadata={"other": "x"})) is None
    assert read_info(info(type="io.nats.micro.v1.ping_response")) is None


def test_a_service_may_speak_several_versions() -> None:
    assert read_info(with_metadata(contract="1 2")) is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b"x" * 65_537,
        info(id=""),
        info(id="a b"),
        info(name="notes"),
        info(version="1.2"),
        info(metadata={"tidings.capability": 7}),
        with_metadata(capability="notes"),
        with_metadata(capability="urn:" + "x" * 300),
        with_metadata(contract="2"),
        with_metadata(contract=""),
        with_metadata(session="[]"),
        with_metadata(session='{"a":1,"a":2}'),
        with_metadata(account="nothing"),
        with_metadata(types="{}"),
        with_metadata(types='{"Note":"get"}'),
        with_metadata(types='{"Note":["get","get"]}'),
        with_metadata(types='{"Note":["g.e.t"]}'),
        with_metadata(types='{"Note":[7]}'),
        with_metadata(types='{"No>te":["get"]}'),
        with_metadata(types=msgspec.json.encode({f"T{n}": [] for n in range(65)}).decode()),
        with_metadata(
            types=msgspec.json.encode({"T": [f"v{n}" for n in range(33)]}).decode(),
        ),
    ],
)
def test_what_does_not_fit_is_refused(body: bytes) -> None:
    with pytest.raises(ContractError):
        read_info(body)


def test_a_lone_surrogate_is_refused() -> None:
    body = with_metadata(session="@").replace(b'"@"', b'"{\\"a\\":\\"\\ud800\\"}"')
    with pytest.raises(ContractError):
        read_info(body)


def test_versions_are_compared_by_number() -> None:
    versions = ["1.9.0", "1.10.0", "1.10.1-rc.1"]
    named = [msgspec.structs.replace(NOTES, version=version) for version in versions]
    assert sorted(named, key=lambda item: item.newness) == named
    other = msgspec.structs.replace(NOTES, session={"a": 2})
    assert other.newness != NOTES.newness
    assert msgspec.structs.replace(NOTES, version="x").newness < NOTES.newness
