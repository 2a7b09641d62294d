#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
"""A broker that was stopped for longer than its clients may take hears them out when it goes on;
and half-sent requests keep nobody waiting."""
import pathlib
import signal
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import broker as support  # noqa: E402
import script  # noqa: E402

SECONDS = 1
CLIENTS = 20


def metadata_request():
    body = struct.pack(">hhih", 3, 0, 7, 4) + b"test" + struct.pack(">i", 0)
    return struct.pack(">i", len(body)) + body


def is_answered(client):
    client.settimeout(support.PATIENCE_S)
    prefix = client.recv(4, socket.MSG_WAITALL)
    if len(prefix) < 4:
        return False
    length = struct.unpack(">i", prefix)[0]
    return len(client.recv(length, socket.MSG_WAITALL)) == length


def clients_of(broker, count):
    return [socket.create_connection(("127.0.0.1", broker.port)) for _ in range(count)]


def test_stopped():
    """after SIGSTOP and SIGCONT every request is answered that was sent meanwhile"""
    with support.Broker("--shards", "1", "--frame-seconds", SECONDS, "--idle-seconds",
                        SECONDS) as broker:
        request = metadata_request()
        silent, half = clients_of(broker, CLIENTS), clients_of(broker, CLIENTS)
        for client in half:
            client.sendall(request[:7])
        time.sleep(SECONDS / 4)  # so that it has seen them
        broker.process.send_signal(signal.SIGSTOP)
        for client in silent:
            client.sendall(request)
        for client in half:
            client.sendall(request[7:])
        time.sleep(3 * SECONDS)  # longer than anybody may take
        broker.process.send_signal(signal.SIGCONT)
        answered = sum(is_answered(client) for client in silent + half)
        assert answered == 2 * CLIENTS, f"{answered} of {2 * CLIENTS} answered"
        assert not broker.lines("too slow"), broker.lines("too slow")
        assert broker.stop() == 0


def test_half_sent():
    """150 requests of 1 MB that stop after 40 KB keep no small one waiting"""
    with support.Broker("--shards", "1") as broker:
        half = clients_of(broker, 150)
        for client in half:
            client.sendall(struct.pack(">i", 1_000_000) + bytes(40_000))
        time.sleep(0.5)
        (other,) = clients_of(broker, 1)
        began = time.monotonic()
        other.sendall(metadata_request())
        assert is_answered(other)
        took = time.monotonic() - began
        print(f"a small request took {took * 1000:.1f} ms beside them")
        assert not broker.lines("too slow"), "it waited until they were cut off"
        for client in half:
            client.close()
        assert broker.stop() == 0


if __name__ == "__main__":
    script.run(globals())
