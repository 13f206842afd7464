"""TIDINGS_WEBHOOK_*: what the dispatcher and the deliverer must see alike."""

from typing import Literal, Self

import msgspec

from shared.web_push.address_policy import Exemptions, parse_exemptions


class Exemption(str):
    """A host name, an address or a network. Raises ExemptionError for anything else."""

    __slots__ = ()

    def __new__(cls, entry: str) -> Self:
        parse_exemptions([entry])
        return super().__new__(cls, entry)


class WebhookPolicySettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_WEBHOOK_*."""

    allow: tuple[Exemption, ...] = ()  # exempt from the rules about addresses, ports and https
    verify: Literal["response", "code"] = "response"  # what makes a subscription a verified one

    @property
    def exemptions(self) -> Exemptions:
        return parse_exemptions(self.allow)
