"""What a type declares."""

from services.dispatcher.methods.declaration import Viewer, invalid_value
from tests.unit.services.dispatcher.methods.shelf import OPEN, SHELF, VIEWER, draft


def test_a_type_may_keep_what_it_does_not_know() -> None:
    done = draft(declared=OPEN, create={"k": {"name": "A", "x:y": [1]}})
    assert (done.drafts[0].stored or {})["x:y"] == [1]
    assert OPEN.may_name("x:y")
    assert not OPEN.may_name("y")
    assert not SHELF.may_name("x:y")
    assert SHELF.may_name("id")


def test_viewers_with_read_may_not_write() -> None:
    assert VIEWER.may_write
    assert not Viewer(user_id="u", role="read", shares={}, now=VIEWER.now).may_write


def test_only_wrong_values_are_told() -> None:
    assert invalid_value(SHELF.properties["name"], "A") is None
    assert "roomIds" in str(invalid_value(SHELF.properties["roomIds"], {"r": 1}))
