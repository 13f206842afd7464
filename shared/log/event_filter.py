"""Which events somebody looks for; no I/O."""

from collections.abc import Callable

import msgspec

from shared.log.event import StoredEvent


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """An event passes where everything that is given holds; None: whatever it is.

    `since` and `until` are UTC times as events have them, so that text compares as time does.
    """

    account_ids: frozenset[str] | None = None
    types: frozenset[str] | None = None  # that changed; one is enough
    methods: frozenset[str] | None = None
    principals: frozenset[str] | None = None
    since: str | None = None
    until: str | None = None  # the moment itself does not pass

    def passes(self, account_id: str, stored: StoredEvent) -> bool:
        event = stored.event
        return (
            (self.account_ids is None or account_id in self.account_ids)
            and (self.types is None or not self.types.isdisjoint(event.changed))
            and (self.methods is None or event.cause.method in self.methods)
            and (self.principals is None or event.cause.principal in self.principals)
            and (self.since is None or event.at >= self.since)
            and (self.until is None or event.at < self.until)
        )

    def body_test(self) -> Callable[[bytes], bool]:
        """Whether an event of this body may pass: one that does not need not be decoded.

        What is asked for stands in the body as `encode_event` writes it, perhaps in another place.
        """
        asked = (self.types, self.methods, self.principals)
        groups = [[msgspec.json.encode(name) for name in names] for names in asked if names]

        def may_pass(body: bytes) -> bool:
            for literals in groups:
                for literal in literals:
                    if literal in body:
                        break
                else:
                    return False
            return True

        return may_pass
