"""Words, phrases and sort keys (RFC 9610 section 3.3.1, RFC 5051, RFC 4790)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.methods.text import (
    ascii_casemap,
    date_key,
    parse_search,
    searchable,
    unicode_casemap,
    words,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("José  Muñoz-Díaz", ["jose", "munoz", "diaz"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("山田太郎", ["山", "田", "太", "郎"]),
        ("a@b.example", ["a", "b", "example"]),
        ("snake_case", ["snake", "case"]),
        ("\uff21\uff22", ["ab"]),
        ("अनिता", ["अनिता"]),
        ("hi 😀", ["hi", "😀"]),
        ("", []),
        ("!? \0", []),
    ],
)
def test_text_has_words(text: str, found: list[str]) -> None:
    assert words(text) == found


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("ada bob", {("ada",), ("bob",)}),
        ("'ada bob' cleo", {("ada", "bob"), ("cleo",)}),
        ('"ada  bob"', {("ada", "bob")}),
        (r"'it\'s here'", {("it", "s", "here")}),
        ("o'brien", {("o", "brien")}),
        ("'unclosed ada", {("unclosed",), ("ada",)}),
        ("山田", {("山", "田")}),
        ("   ", set()),
    ],
)
def test_a_search_has_phrases(text: str, phrases: set[tuple[str, ...]]) -> None:
    search = parse_search(text)
    assert set(search.phrases) == phrases
    assert not search.is_hopeless


def test_a_search_without_words_finds_nothing() -> None:
    assert parse_search("!!!").is_hopeless
    assert parse_search("'!!!' ?").is_hopeless


@given(st.text(), st.text())
def test_every_word_of_a_text_is_searchable_in_it(first: str, second: str) -> None:
    line = searchable([first, second])
    for phrase in (*parse_search(first).phrases, tuple(words(second))):
        assert all(f" {word} " in line for word in phrase)


def test_a_phrase_does_not_span_two_texts() -> None:
    assert " ada bob " not in searchable(["ada", "bob"])
    assert searchable(["", "!"]) == ""


@given(st.text(max_size=50))
def test_case_does_not_order(text: str) -> None:
    plain = text.encode("ascii", "ignore").decode()
    assert unicode_casemap(plain.lower()) == unicode_casemap(plain.upper())
    assert ascii_casemap(plain.lower()) == ascii_casemap(plain.upper())


def test_keys_are_comparable() -> None:
    assert unicode_casemap("éa") == unicode_casemap("E\u0301A")
    assert unicode_casemap("ß") == "ß"
    assert ascii_casemap("aé\0") == "Aé"
    dates = ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00.5Z", "2020-01-01T00:00:01Z"]
    assert sorted(dates, key=date_key) == dates


@given(st.text(st.characters(codec="ascii"), max_size=40))
def test_plain_ascii_is_no_exception(text: str) -> None:
    """It is treated by itself, for it is common; what is behind it makes it go the usual way."""
    assert words(text + " \u00e9") == [*words(text), "e"]
    assert unicode_casemap(text + "\u00e9") == unicode_casemap(text) + "E\u0301"
