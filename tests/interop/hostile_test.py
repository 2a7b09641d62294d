#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""Valid requests with senseless numbers: each gets the protocol's word for it, and the broker
lives, serves others, and starts again on what it kept."""
import gzip
import pathlib
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import broker as support  # noqa: E402
import script  # noqa: E402
from kafka.protocol.metadata import MetadataRequest  # noqa: E402
from kafka.protocol.produce import ProduceRequest  # noqa: E402

try:
    from kafka.record._crc32c import crc as crc32c  # noqa: E402
except ImportError:
    crc32c = None

MESSAGE_TOO_LARGE = 10
INVALID_TIMESTAMP = 32
INVALID_RECORD = 87
CODECS = range(1, 5)


def create(client, topic):
    support.wait_until(lambda: client.ask(MetadataRequest[4]([topic], True)).topics[0][0] == 0,
                       "a topic")


def produce(client, records, topic="t", partition=0):
    ((_, ((_, error, base, *_),)),) = client.ask(
        ProduceRequest[7](None, -1, 30_000, [(topic, [(partition, records)])])).topics
    return error, base


def batch(records, count, codec=0, attributes=0, first_ms=None, max_ms=None):
    """A batch with a true checksum, of records that are given as bytes."""
    now = int(time.time() * 1000)
    first_ms = now if first_ms is None else first_ms
    max_ms = first_ms if max_ms is None else max_ms
    covered = struct.pack(">hiqqqhii", attributes | codec, count - 1, first_ms, max_ms, -1, -1, -1,
                          count) + records
    return struct.pack(">qiibI", 0, len(covered) + 9, -1, 2, crc32c(covered)) + covered


def varint(value):
    value = value << 1 if value >= 0 else ~(value << 1)
    text = bytearray()
    while value > 127:
        text.append(value & 127 | 128)
        value >>= 7
    return bytes([*text, value])


def record(delta=0, value=b"x"):
    body = b"\0\0" + varint(delta) + varint(-1) + varint(len(value)) + value + b"\0"
    return varint(len(body)) + body


def test_counts():
    """a count that no batch of its size can have is refused in every codec, and nothing dies"""
    with BROKER.client() as client:
        create(client, "t")
        for codec in CODECS:
            for count in (2, 1 << 20, (1 << 30) - 1, (1 << 31) - 1):
                assert produce(client, batch(b"x" * 20, count, codec)) == (INVALID_RECORD, -1)
        one = gzip.compress(record())
        for count in (2, (1 << 30) - 1, (1 << 31) - 1):
            assert produce(client, batch(one, count, 1)) == (INVALID_RECORD, -1)
        assert produce(client, batch(one, 1, 1)) == (0, 0)
    BROKER.restart()
    with BROKER.client() as client:
        assert produce(client, batch(gzip.compress(record()), 1, 1)) == (0, 1)


def test_bombs():
    """a batch that opens to more than it may is refused, in bounded memory, and the rest waits
    for nothing: batches of a connection keep their order around one that a thread opens"""
    before = BROKER.resident_bytes()
    bomb = gzip.compress(b"\0" * (100 << 20))
    opened_elsewhere = batch(gzip.compress(record(value=b"v" * (1 << 20))), 1, 1)
    with BROKER.client() as client:
        create(client, "bombs")
        assert produce(client, batch(bomb, 1, 1), "bombs")[0] in (MESSAGE_TOO_LARGE, INVALID_RECORD)
        large = gzip.compress(b"".join(record(each, b"0" * (1 << 20)) for each in range(90)))
        assert produce(client, batch(large, 90, 1), "bombs")[0] == MESSAGE_TOO_LARGE
        for _ in range(20):
            for records in (opened_elsewhere, batch(record(), 1)):
                client.send(ProduceRequest[7](None, -1, 30_000, [("bombs", [(0, records)])]))
        for offset in range(40):
            ((_, ((_, error, base, *_),)),) = client.receive().topics
            assert (error, base) == (0, offset)
    grown = BROKER.resident_bytes() - before
    assert grown < 64 << 20, f"{grown} bytes more"


def test_times():
    """a record from the future and the log's own time are refused; a false largest time is put
    right"""
    with BROKER.client() as client:
        create(client, "times")
        now = int(time.time() * 1000)
        ahead = batch(record(), 1, first_ms=now + 5_400_000)
        assert produce(client, ahead, "times")[0] == INVALID_TIMESTAMP
        claimed = batch(record(), 1, attributes=8)
        assert produce(client, claimed, "times")[0] == INVALID_TIMESTAMP
        false = batch(record(), 1, first_ms=now, max_ms=now + 99_999)
        assert produce(client, false, "times") == (0, 0)
        ((stored, *_),) = [list(support.batch_headers(path.read_bytes()))
                           for path in BROKER.log_files("times") if path.parent.name == "times-0"]
        assert struct.unpack(">q", stored[1][35:43])[0] == now
        assert crc32c(stored[1][21:]) == struct.unpack(">I", stored[1][17:21])[0]


if __name__ == "__main__":
    support.need()
    if crc32c is None:
        raise script.Skip("python3-kafka has no crc32c of its own")
    BROKER = support.Broker("--shards", "2", "--log-burst", 1_000)
    with BROKER:
        script.run(globals())
