"""Many idle clients, and a broker that lets everybody in, in a process of their own: what they cost is not the proxy's.

Run as ``python -m tests.admin.crowd COUNT``: it prints the broker's port, reads the proxy's port, connects, prints
"ready", and stays until its input ends.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from pamqp import commands
from pamqp import frame as codec

HEADER = b"AMQP\x00\x00\x09\x01"
PROPERTIES: Any = {"product": "crowd", "platform": "Python", "version": "1.0", "capabilities": {"basic.nack": True}}
#: Handshakes at a time.
AT_ONCE = 20


def octets(method: Any, channel: int = 0) -> bytes:
    return bytes(codec.marshal(method, channel))


async def frame(reader: asyncio.StreamReader) -> None:
    """Take one frame, whatever it says."""
    head = await reader.readexactly(7)
    await reader.readexactly(int.from_bytes(head[3:], "big") + 1)


async def client(port: int, number: int) -> object:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEADER)
    await frame(reader)
    response = f"\0user-{number}\0secret"
    writer.write(octets(commands.Connection.StartOk(PROPERTIES, "PLAIN", response, "en_US")))
    await frame(reader)
    writer.write(octets(commands.Connection.TuneOk(100, 131072, 0)))
    writer.write(octets(commands.Connection.Open("/")))
    await frame(reader)
    writer.write(octets(commands.Channel.Open(), 1))
    await frame(reader)
    return reader, writer


async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let a client in, open its channel, and be silent from then on."""
    try:
        await reader.readexactly(8)
        writer.write(octets(commands.Connection.Start(server_properties={"product": "crowd"})))
        await frame(reader)
        writer.write(octets(commands.Connection.Tune(2047, 131072, 0)))
        await frame(reader)
        await frame(reader)
        writer.write(octets(commands.Connection.OpenOk()))
        await frame(reader)
        writer.write(octets(commands.Channel.OpenOk(), 1))
        await reader.read()
    except (asyncio.IncompleteReadError, OSError):
        pass  # the proxy has left
    writer.close()


async def main(count: int) -> None:
    server = await asyncio.start_server(broker, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    port = int(await loop.run_in_executor(None, sys.stdin.readline))
    free = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> object:
        async with free:
            return await client(port, number)

    connected = await asyncio.gather(*[one(number) for number in range(count)])
    print("ready", len(connected), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
