"""urn:ietf:params:jmap:core: Core/echo (RFC 8620 section 4) and the limits."""

import msgspec

from services.dispatcher.registry import Answers, Call, Method
from shared.jmap.session import CORE, Capability, CoreLimits


async def _echo(call: Call) -> Answers:
    return [("Core/echo", call.arguments)]


METHODS = [Method(name="Core/echo", capability=CORE, handle=_echo)]


def core_capability(limits: CoreLimits) -> Capability:
    # Per account it says nothing, but jmapc looks for it in primaryAccounts.
    return Capability(urn=CORE, session=msgspec.to_builtins(limits), account={})
