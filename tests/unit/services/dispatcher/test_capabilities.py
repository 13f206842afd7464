from services.dispatcher.capabilities import Capabilities
from shared.jmap.session import Capability

CORE = Capability(urn="urn:core", session={})
KEY = Capability(urn="urn:key", session={"key": "a"})
NEW_KEY = Capability(urn="urn:key", session={"key": "b"})


def test_what_comes_and_goes_is_seen_by_the_version() -> None:
    capabilities = Capabilities([CORE])
    assert (capabilities.current(), capabilities.version) == ((CORE,), 0)

    capabilities.put(KEY)
    assert "urn:key" in capabilities
    assert (capabilities.current(), capabilities.version) == ((CORE, KEY), 1)
    capabilities.put(NEW_KEY)
    assert (capabilities.current(), capabilities.version) == ((CORE, NEW_KEY), 2)
    capabilities.remove("urn:key")
    assert "urn:key" not in capabilities
    assert (capabilities.current(), capabilities.version) == ((CORE,), 3)


def test_what_changes_nothing_leaves_the_version() -> None:
    capabilities = Capabilities([CORE])
    capabilities.put(CORE)
    capabilities.remove("urn:unknown")

    assert capabilities.version == 0
