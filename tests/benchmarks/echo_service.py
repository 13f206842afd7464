"""A method service that echoes, and a bare subscriber that does: `… echo_service NATS_URL`."""

import asyncio
import sys

import uvloop
from nats.aio.msg import Msg

from shared.bus.connection import open_bus
from shared.method_service.author import MethodCall, MethodReply, method_service
from shared.method_service.contract import ServiceDescription

CAPABILITY = "urn:example:echo"
METHOD = "Echo/get"
BARE_SUBJECT = "bench.echo"
_DESCRIPTION = ServiceDescription(capability=CAPABILITY, version="1.0.0", types={"Echo": ("get",)})


async def _echo(call: MethodCall) -> MethodReply:
    return MethodReply(arguments=call.arguments)


async def _bare(message: Msg) -> None:
    await message.respond(message.data)


async def main(nats_url: str) -> None:
    async with (
        open_bus(nats_url, name="echo") as bus,
        method_service(bus, _DESCRIPTION, {METHOD: _echo}),
    ):
        await bus.client.subscribe(BARE_SUBJECT, cb=_bare)
        print("echoing", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
