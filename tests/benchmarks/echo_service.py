"""Three that echo: a bare subscriber, a plain method service, and one made with our library.

`… echo_service NATS_URL`; the plain one answers from its subscription, as the bare one does.
"""

import asyncio
import sys

import msgspec
import uvloop
from nats.aio.msg import Msg

from shared.bus.connection import open_bus
from shared.jmap.i_json import encode_json
from shared.method_service.author import MethodCall, MethodReply, method_service
from shared.method_service.contract import ServiceDescription, subject_of
from tests.support.method_services import info_of

CAPABILITY = "urn:example:echo"
METHOD = "Echo/get"
BARE_SUBJECT = "bench.echo"
PLAIN_CAPABILITY = "urn:example:plain"
PLAIN_METHOD = "Plain/get"
_PLAIN = ServiceDescription(capability=PLAIN_CAPABILITY, version="1.0.0", types={"Plain": ("get",)})
_DESCRIPTION = ServiceDescription(capability=CAPABILITY, version="1.0.0", types={"Echo": ("get",)})


async def _echo(call: MethodCall) -> MethodReply:
    return MethodReply(arguments=call.arguments)


async def _bare(message: Msg) -> None:
    await message.respond(message.data)


async def _tell(message: Msg) -> None:
    await message.respond(encode_json(info_of(_PLAIN)))


async def _plain(message: Msg) -> None:
    call = msgspec.json.decode(message.data)
    await message.respond(encode_json({"name": PLAIN_METHOD, "arguments": call["arguments"]}))


async def main(nats_url: str) -> None:
    async with (
        open_bus(nats_url, name="echo") as bus,
        method_service(bus, _DESCRIPTION, {METHOD: _echo}),
    ):
        await bus.client.subscribe(BARE_SUBJECT, cb=_bare)
        await bus.client.subscribe("$SRV.INFO", cb=_tell)
        await bus.client.subscribe(subject_of(PLAIN_METHOD), queue="q", cb=_plain)
        print("echoing", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
