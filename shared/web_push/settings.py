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
    """TIDINGS_WEBHOOK_*: what dispatchers, deliverers, consoles and replays must see alike."""

    allow: tuple[Exemption, ...] = ()
    """Hosts, addresses and networks exempt from the rules for addresses, ports and https; `up`
    exempts localhost,127.0.0.0/8,::1/128."""
    verify: Literal["response", "code"] = "response"
    """What verifies a subscription: the 2xx answer to the PushVerification too, or only the code
    that the client sends back."""

    @property
    def exemptions(self) -> Exemptions:
        return parse_exemptions(self.allow)
