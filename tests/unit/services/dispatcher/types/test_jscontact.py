"""What a card may hold (RFC 9553, RFC 9610 section 3)."""

import json
from typing import Any

import pytest

from services.dispatcher.methods.declaration import invalid_value
from services.dispatcher.types.contacts import CONTACT_CARD
from tests.support.contacts import CARDS, PATH, generate


def test_the_sample_cards_are_those_that_the_generator_makes() -> None:
    cards = json.loads(PATH.read_text(encoding="utf-8"))
    assert cards == generate()
    assert len({card["uid"] for card in cards}) == CARDS >= 200


def test_the_sample_cards_are_valid_and_show_every_property() -> None:
    cards = generate()
    for card in cards:
        for name, value in card.items():
            item = CONTACT_CARD.properties.get(name)
            assert item is None or invalid_value(item, value) is None, (name, value)
    named = {name for card in cards for name in card}
    assert set(CONTACT_CARD.properties) - named == {"addressBookIds"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("addressBookIds", {}),
        ("addressBookIds", {"b1": False}),
        ("addressBookIds", {"b 1": True}),
        ("addressBookIds", None),
        ("@type", "Group"),
        ("version", 1),
        ("created", "yesterday"),
        ("updated", "2020-01-01T00:00:00+01:00"),
        ("uid", ""),
        ("language", "english language"),
        ("members", ["urn:uuid:1"]),
        ("members", {"urn:uuid:1": 1}),
        ("name", {"components": [{"kind": "given"}]}),
        ("name", "Ada"),
        ("nicknames", {"n": {}}),
        ("emails", {"e": {"address": ""}}),
        ("emails", {"e": {"address": "a", "pref": 0}}),
        ("emails", {"bad id": {"address": "a"}}),
        ("phones", {"p": {"number": "1", "contexts": {"work": "yes"}}}),
        ("media", {"m": {"kind": "photo"}}),
        ("media", {"m": {"uri": "https://x"}}),
        ("anniversaries", {"a": {"kind": "birth", "date": {"month": 13}}}),
        ("anniversaries", {"a": {"kind": "birth", "date": {"@type": "Timestamp"}}}),
        ("anniversaries", {"a": {"kind": "birth", "date": "2020"}}),
        ("localizations", {"en": []}),
        ("links", {"l": {}}),
        ("name", None),
    ],
)
def test_a_wrong_value_is_told(name: str, value: Any) -> None:
    assert invalid_value(CONTACT_CARD.properties[name], value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("media", {"m": {"kind": "photo", "blobId": "G1", "unknown": [1]}}),
        ("emails", {"e": {"address": "a@b", "example.com:x": None}}),
        ("anniversaries", {"a": {"kind": "x", "date": {"year": 2000}}}),
        ("kind", "x-anything"),
    ],
)
def test_a_good_value_with_unknown_parts_is_accepted(name: str, value: Any) -> None:
    assert invalid_value(CONTACT_CARD.properties[name], value) is None
