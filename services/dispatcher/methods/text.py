"""Words, phrases and sort keys: how text is matched (RFC 9610 section 3.3.1) and compared.

Text is matched by whole words, without regard to case, width or Latin accents. Scripts that do not
put spaces between words are matched character by character, in sequence.
"""

import functools
import re
import sys
import unicodedata

import msgspec

KEY_CHARACTERS_MAX = 100
_WORDS_MAX = 64  # of one search

_SINGLE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2600-\u27bf\u3040-\u30ff\u3400-\u9fff"
    "\uf900-\ufaff\U0001f000-\U0001faff\U00020000-\U0003ffff"
)
_ACCENTS = re.compile(r"[\u0300-\u036f]")
_PHRASE = re.compile(r"""(?<!\S)(["'])((?:\\.|(?!\1)[^\\])*)\1(?!\S)""", re.DOTALL)
_ASCII_WORD = re.compile("[a-z0-9]+")
_ESCAPE = re.compile(r"""\\(["'\\])""")


class Search(msgspec.Struct, frozen=True):
    """All of `phrases` must be found: each is a sequence of words.

    `is_hopeless`: the text has something in it, but nothing that could be a word.
    """

    phrases: tuple[tuple[str, ...], ...]
    is_hopeless: bool = False


def words(text: str) -> list[str]:
    """In order; equal for texts that match each other."""
    if text.isascii():  # the same, and much sooner
        return _ASCII_WORD.findall(text.lower())
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", text)).casefold()
    found: list[str] = _word().findall(plain)
    return found


def parse_search(text: str) -> Search:
    """Quoted parts are phrases; outside of them each token is searched for separately."""
    phrases = [tuple(words(_ESCAPE.sub(r"\1", match[2]))) for match in _PHRASE.finditer(text)]
    # A token of several words (an address, a name in Han) is a sequence of them.
    phrases += [tuple(words(token)) for token in _PHRASE.sub(" ", text).split()]
    kept = tuple(dict.fromkeys(phrase for phrase in phrases if phrase))
    shortened = kept[:_WORDS_MAX]
    return Search(shortened, is_hopeless=not kept and bool(phrases))


def searchable(texts: list[str]) -> str:
    """The words of all texts, so that a phrase is a substring and never spans two of them."""
    return "|".join(f" {' '.join(found)} " for text in texts if (found := words(text)))


def unicode_casemap(text: str) -> str:
    """The sort key of i;unicode-casemap (RFC 5051): titlecase each character, decompose."""
    if text.isascii():
        return text[:KEY_CHARACTERS_MAX].upper().replace("\0", "")
    titled = "".join(_titlecase(character) for character in text[:KEY_CHARACTERS_MAX])
    return unicodedata.normalize("NFKD", titled).replace("\0", "")  # jsonb refuses it


def ascii_casemap(text: str) -> str:
    """The sort key of i;ascii-casemap (RFC 4790 section 9.2)."""
    key = re.sub("[a-z]+", lambda found: found[0].upper(), text[:KEY_CHARACTERS_MAX])
    return key.replace("\0", "")


def date_key(text: str) -> str:
    """Orders UTCDates as text: a fraction of a fixed length."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return f"{whole}.{fraction:0<12}"


def _titlecase(character: str) -> str:
    titled = character.title()
    return titled if len(titled) == 1 else character  # simple mappings only, as in RFC 5051


@functools.cache
def _word() -> re.Pattern[str]:
    r"""A letter or digit with what follows, marks included, which `\w` leaves out."""
    marks = "".join(
        chr(code)
        for code in range(sys.maxunicode)
        if unicodedata.category(chr(code)) in ("Mn", "Mc")
        and not re.match(f"[{_SINGLE}]", chr(code))
    )
    return re.compile(rf"[{_SINGLE}]|(?:(?![{_SINGLE}_])[\w{marks}])+")
