"""Makes tests/data/contacts.json: varied JSContact cards (RFC 9553), the same on every run.

`python -m tests.support.contacts` writes the file anew.
"""
# ruff: noqa: RUF001 - names as people write them

import json
import random
import uuid
from pathlib import Path
from typing import Any

PATH = Path(__file__).parents[1] / "data" / "contacts.json"
CARDS = 240

Json = dict[str, Any]

_NAMES = [  # given, surname: many scripts
    ("Ada", "Lovelace"),
    ("José", "Muñoz-Díaz"),
    ("Zoë", "O’Brien"),
    ("Łukasz", "Żółć"),
    ("Ольга", "Иванова"),
    ("Γιώργος", "Παπαδόπουλος"),
    ("محمد", "الأحمد"),
    ("נועה", "כהן"),
    ("अनिता", "शर्मा"),
    ("தமிழ்", "செல்வன்"),
    ("สมชาย", "ใจดี"),
    ("太郎", "山田"),
    ("伟", "王"),
    ("민준", "김"),
    ("Nguyễn", "Thị Minh Khai"),
    ("አበበ", "ቢቂላ"),
    ("გიორგი", "მაისურაძე"),
    ("Անի", "Հակոբյան"),
    ("ᏣᎳᎩ", "ᎦᏬᏂᎯᏍᏗ"),
    ("👩‍🚀 Space", "Ünïcødé 🏳️‍🌈"),
    ("İpek", "Işık"),
    ("Straße", "Groß"),
    ("e\u0301milie", "combining"),
    ("\u202eright\u202c", "to left"),
]
_LANGUAGES = ["en", "de-CH", "zh-Hant-TW", "ar", "sr-Latn", "pt-BR"]
_KINDS = ["individual", "org", "location", "device", "application", "x-example"]
_CONTEXTS = ["work", "private", "school"]


def generate() -> list[Json]:
    dice = random.Random(9610)
    cards = [_card(dice, number) for number in range(CARDS)]
    for number in range(0, CARDS, 40):
        others = dice.sample(cards, 7)
        cards[number]["kind"] = "group"
        cards[number]["members"] = {card["uid"]: True for card in others}
    return cards


def _card(dice: random.Random, number: int) -> Json:
    given, surname = _NAMES[number % len(_NAMES)]
    card: Json = {
        "@type": "Card",
        "version": "1.0",
        "uid": uuid.UUID(int=dice.getrandbits(128), version=4).urn,
        "name": _name(dice, given, surname),
    }
    makers = [_reach, _places, _work, _dates, _texts, _media, _vendor, _meta]
    has_everything = number % 60 == 7
    for make in makers:
        if has_everything or dice.random() < 0.6:
            card.update(make(dice, number))
    return card


def _name(dice: random.Random, given: str, surname: str) -> Json:
    if dice.random() < 0.3:
        return {"full": f"{given} {surname}"}
    components = [{"kind": "given", "value": given}, {"kind": "surname", "value": surname}]
    if dice.random() < 0.3:
        components.insert(0, {"kind": "title", "value": "Dr."})
        components.insert(2, {"kind": "given2", "value": "M."})
        components.append({"kind": "surname2", "value": "y Castillo"})
    name: Json = {"@type": "Name", "components": components, "isOrdered": dice.random() < 0.5}
    if dice.random() < 0.5:
        name["full"] = f"{given} {surname}"
        name["sortAs"] = {"surname": surname.lower()}
    return name


def _reach(dice: random.Random, number: int) -> Json:
    return {
        "emails": {
            f"e{place}": {
                "@type": "EmailAddress",
                "address": f"person{number}.{place}@example.{dice.choice(['com', 'org', 'net'])}",
                "contexts": {dice.choice(_CONTEXTS): True},
                "pref": place + 1,
            }
            for place in range(dice.randint(1, 4))
        },
        "phones": {
            "mobile": {
                "number": f"tel:+1-555-{number:04}",
                "features": {"mobile": True, "voice": True},
                "label": "☎ reach me",
            }
        },
        "onlineServices": {
            "a": {"service": "Mastodon", "user": f"@p{number}@social.example"},
            "b": {"uri": f"xmpp:p{number}@chat.example", "vCardName": "impp"},
        },
        "preferredLanguages": {"l1": {"language": dice.choice(_LANGUAGES), "pref": 1}},
    }


def _places(dice: random.Random, number: int) -> Json:
    return {
        "addresses": {
            "k23": {
                "@type": "Address",
                "contexts": {"work": True},
                "components": [
                    {"kind": "number", "value": str(number)},
                    {"kind": "separator", "value": " "},
                    {"kind": "name", "value": "Rue de l’Église"},
                    {"kind": "locality", "value": dice.choice(["Reykjavík", "東京都", "القاهرة"])},
                ],
                "isOrdered": True,
                "countryCode": "IS",
                "coordinates": f"geo:{dice.uniform(-90, 90):.5f},{dice.uniform(-180, 180):.5f}",
                "timeZone": "Atlantic/Reykjavik",
                "full": "1 Rue de l’Église\nReykjavík\n\tIceland",
            }
        }
    }


def _work(dice: random.Random, number: int) -> Json:
    return {
        "organizations": {
            "o1": {
                "name": f"株式会社 Example {number % 9}",
                "units": [{"name": "R&D"}, {"name": "“Quotes” \\ / \u2028 unit"}],
                "sortAs": "example",
            }
        },
        "titles": {
            "t1": {"kind": "role", "name": "Project Leader", "organizationId": "o1"},
            "t2": {"name": dice.choice(["CEO", "Ingénieure", "엔지니어"])},
        },
        "nicknames": {"n1": {"name": f"nick-{number}"}, "n2": {"name": "😀" * dice.randint(1, 9)}},
        "speakToAs": {
            "grammaticalGender": "neuter",
            "pronouns": {"p": {"pronouns": "they/them", "pref": 2}},
        },
    }


def _dates(dice: random.Random, number: int) -> Json:
    day = {"@type": "PartialDate", "year": 1900 + number % 120, "month": 2, "day": 28}
    return {
        "anniversaries": {
            "b": {"kind": "birth", "date": day, "place": {"full": "Somewhere"}},
            "d": {"kind": "wedding", "date": {"month": 12, "day": 31}},
            "t": {
                "kind": "death",
                "date": {"@type": "Timestamp", "utc": "2019-10-15T23:10:00Z"},
            },
        },
        "created": f"20{10 + number % 15:02}-01-02T03:04:05Z",
        "updated": f"20{10 + number % 15:02}-06-07T08:09:{dice.randint(10, 59)}.5Z",
    }


def _texts(dice: random.Random, number: int) -> Json:
    long = " ".join(dice.choice(_NAMES)[0] for _ in range(dice.choice([3, 30, 300])))
    return {
        "notes": {
            "n": {"note": long, "created": "2022-11-23T15:01:32Z", "author": {"name": "¡Yo!"}},
            "empty": {"note": ""},
        },
        "keywords": {f"tag-{number % 5}": True, "spaced tag": True, "ключ": True},
        "personalInfo": {
            "h": {"kind": "hobby", "value": "reading\r\nand writing", "level": "high"},
            "i": {"kind": "interest", "value": "r&b <music>", "listAs": 1},
        },
    }


def _media(dice: random.Random, number: int) -> Json:
    return {
        "media": {
            "photo": {
                "@type": "Media",
                "kind": "photo",
                "uri": f"https://photos.example/{number}.png?size={dice.randint(1, 999)}",
                "mediaType": "image/png",
            }
        },
        "links": {"home": {"kind": "contact", "uri": f"https://example.org/~p{number}"}},
        "cryptoKeys": {"k": {"uri": "https://example.com/key.asc", "contexts": {"work": True}}},
        "directories": {"d": {"kind": "entry", "uri": "https://dir.example/x.vcf", "listAs": 3}},
        "calendars": {"c": {"kind": "freeBusy", "uri": f"webcal://cal.example/{number}"}},
        "schedulingAddresses": {"s": {"uri": f"mailto:p{number}@example.com"}},
    }


def _vendor(dice: random.Random, number: int) -> Json:
    """Unknown to everybody but their vendor; nulls and any numbers are allowed there."""
    return {
        "example.com:rank": dice.choice([0, -1, 1.5, 1e300, 2**53 - 1, -0.25]),
        "example.com:nothing": None,
        "example.com:deep": {"a": [{"b": [None, True, False, "", {}]}], "é": number},
        "futureProperty": {"since": "2.0"},
    }


def _meta(dice: random.Random, number: int) -> Json:
    return {
        "kind": _KINDS[number % len(_KINDS)],
        "language": dice.choice(_LANGUAGES),
        "prodId": "ACME Contacts App version 1.23.5",
        "relatedTo": {
            f"urn:uuid:{number:08}": {"relation": {"friend": True, "colleague": True}},
            "urn:uuid:none": {"@type": "Relation"},
        },
        "localizations": {
            "jp": {"titles/t2/name": "技師", "nicknames": None},
            "uk": {"name": {"full": "Ім’я"}},
        },
    }


def main() -> None:
    PATH.parent.mkdir(exist_ok=True)
    lines = [json.dumps(card, ensure_ascii=False) for card in generate()]
    PATH.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
