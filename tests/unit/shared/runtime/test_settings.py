from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from shared.runtime.settings import Secret, SettingsError, refuse_unknown, settings_from


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    port: Annotated[int, Meta(ge=1, le=65535)] = 8080
    data: Path | None = None
    verbose: bool = False


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    ping_seconds: float = 30
    allow: tuple[str, ...] = ()
    key: Secret


def test_each_variable_becomes_a_field_of_its_type() -> None:
    environ = {"TIDINGS_PORT": "1", "TIDINGS_DATA": "/srv", "TIDINGS_VERBOSE": "true", "HOME": "/"}
    assert settings_from(environ, "TIDINGS_", Shared) == Shared(
        port=1, data=Path("/srv"), verbose=True
    )


def test_an_empty_variable_is_not_set() -> None:
    assert settings_from({"TIDINGS_PORT": ""}, "TIDINGS_", Shared) == Shared()


def test_a_tuple_is_a_list_with_commas() -> None:
    environ = {"T_ALLOW": "10.0.0.0/8, example.com,", "T_KEY": "k"}
    assert settings_from(environ, "T_", Gateway).allow == ("10.0.0.0/8", "example.com")


def test_a_secret_hides_itself() -> None:
    settings = settings_from({"T_KEY": "hunter2"}, "T_", Gateway)
    assert settings.key == "hunter2"
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"TIDINGS_PORT": "http"}, "TIDINGS_PORT: expected `int`, got `str`."),
        ({"TIDINGS_PORT": "0"}, "TIDINGS_PORT: expected `int` >= 1."),
        ({"TIDINGS_PORT": "65536"}, "TIDINGS_PORT: expected `int` <= 65535."),
        ({"TIDINGS_VERBOSE": "perhaps"}, "TIDINGS_VERBOSE: expected `bool`, got `str`."),
    ],
)
def test_a_bad_value_is_refused_by_name(environ: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_from(environ, "TIDINGS_", Shared)
    assert str(caught.value) == says


def test_a_missing_secret_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match=r"^T_KEY must be set\.$"):
        settings_from({}, "T_", Gateway)


def test_structs_share_a_prefix() -> None:
    declared: list[tuple[str, type[msgspec.Struct]]] = [("TIDINGS_", Shared), ("TIDINGS_", Gateway)]
    environ = {"TIDINGS_PORT": "1", "TIDINGS_KEY": "k", "OTHER": "1"}
    refuse_unknown(environ, declared)
    assert settings_from(environ, "TIDINGS_", Shared).port == 1


def test_an_unknown_variable_is_refused_with_what_it_resembles() -> None:
    with pytest.raises(SettingsError) as caught:
        refuse_unknown({"TIDINGS_PRT": "1"}, [("TIDINGS_", Shared)])
    assert (
        str(caught.value) == "TIDINGS_PRT is not a setting of Tidings: did you mean TIDINGS_PORT?"
    )
    with pytest.raises(SettingsError, match="remove it"):
        refuse_unknown({"TIDINGS_ZZZZZZZZZ": "1"}, [("TIDINGS_", Shared)])
