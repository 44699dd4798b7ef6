"""fanfare as seen by `websockets` and `msgpack`.

    python client.py ws://HOST:PORT/ws

Prints one line per check; ends with a traceback and status 1 at the first that fails.
"""

import asyncio
import base64
import json
import sys

import msgpack
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

COUNT = 1000
PATIENCE = 60
URL = sys.argv[1]


class Client:
    """A connection in one encoding."""

    def __init__(self, socket, packed):
        self.socket = socket
        self.packed = packed

    async def send(self, command):
        await self.socket.send(msgpack.packb(command) if self.packed else json.dumps(command))

    async def recv(self):
        frame = await self.socket.recv()
        assert isinstance(frame, bytes if self.packed else str), frame
        return msgpack.unpackb(frame) if self.packed else json.loads(frame)

    async def ask(self, command):
        await self.send(command)
        return await self.recv()


async def open_client(packed):
    subprotocol = "fanfare.v1.msgpack" if packed else "fanfare.v1.json"
    socket = await connect(URL, subprotocols=[subprotocol])
    assert socket.subprotocol == subprotocol
    client = Client(socket, packed)
    welcome = await client.recv()
    assert welcome["type"] == "welcome" and welcome["protocol"] == 1, welcome
    return client


async def read_all(client, topic):
    """The data of all messages, whose offsets must rise by one."""
    found = []
    while len(found) < COUNT:
        event = await client.recv()
        assert event["type"] == "message" and event["topic"] == topic, event
        assert event["offset"] == len(found) + 1, (event["offset"], len(found))
        found.append(event["data"])
    return found


def datum(number):
    return {"number": number, "text": f"ä€😀 {number}", "list": [None, True, -number, number / 8, 2**63 + number]}


async def messages_come_in_order_without_loss():
    topic = "python.order"
    readers = [await open_client(False), await open_client(True)]
    for reader in readers:
        event = await reader.ask({"type": "subscribe", "id": 1, "topic": topic})
        assert event["type"] == "subscribed" and event["offset"] == 0, event
    reading = [asyncio.create_task(read_all(reader, topic)) for reader in readers]
    writers = [await open_client(False), await open_client(True)]
    for number in range(COUNT):
        await writers[number % 2].ask({"type": "publish", "id": number, "topic": topic, "data": datum(number)})
    for found in await asyncio.gather(*reading):
        assert found == [datum(number) for number in range(COUNT)]
    for client in readers + writers:
        await client.socket.close()
        assert client.socket.close_code == 1000, client.socket.close_code


async def bytes_become_base64_and_come_back():
    topic = "python.binary"
    text, packed = await open_client(False), await open_client(True)
    for client in (text, packed):
        await client.ask({"type": "subscribe", "id": 1, "topic": topic})
    for value in (b"", b"\x00\xff\xfe", bytes(range(256)) * 4):
        shown = {"$bin": base64.b64encode(value).decode()}
        for sender, data in ((packed, value), (text, shown)):
            await sender.send({"type": "publish", "topic": topic, "data": {"in": data}})
            assert (await text.recv())["data"] == {"in": shown}
            assert (await packed.recv())["data"] == {"in": value}
    await text.socket.close()
    await packed.socket.close()


async def fragments_make_one_message():
    text, packed = await open_client(False), await open_client(True)
    # An iterable is sent in as many frames as it has parts.
    await text.socket.send(['{"type":"pi', "", 'ng","id":"é', '"}'])
    assert await text.recv() == {"type": "pong", "id": "é"}
    command = msgpack.packb({"type": "ping", "id": 7})
    await packed.socket.send([command[:1], command[1:4], command[4:]])
    assert await packed.recv() == {"type": "pong", "id": 7}
    await text.socket.close()
    await packed.socket.close()


async def pings_are_answered():
    client = await open_client(False)
    for payload in (b"", b"hello", b"x" * 125):
        await (await client.socket.ping(payload))
    await client.socket.close(1001, "gone")
    assert client.socket.close_code == 1001, client.socket.close_code


async def the_server_closes_with_a_code():
    client = await open_client(False)
    try:
        for _ in range(17):
            await client.socket.send("nonsense")
        while True:
            event = await client.recv()
            assert event["type"] in ("error", "goodbye"), event
    except ConnectionClosed as closed:
        assert closed.rcvd is not None and closed.rcvd.code == 4400, closed
    large = await open_client(False)
    try:
        await large.socket.send("x" * 65_537)
        while True:
            assert (await large.recv())["type"] == "goodbye"
    except ConnectionClosed as closed:
        assert closed.rcvd is not None and closed.rcvd.code == 1009, closed


async def an_unknown_subprotocol_is_refused():
    try:
        await connect(URL, subprotocols=["mqtt"])
    except InvalidStatus as refused:
        assert refused.response.status_code == 400, refused
    else:
        raise AssertionError("the handshake succeeded")


async def main():
    for check in (
        messages_come_in_order_without_loss,
        bytes_become_base64_and_come_back,
        fragments_make_one_message,
        pings_are_answered,
        the_server_closes_with_a_code,
        an_unknown_subprotocol_is_refused,
    ):
        await asyncio.wait_for(check(), PATIENCE)
        print("ok", check.__name__)


asyncio.run(main())
