# SPDX-License-Identifier: Apache-2.0
"""A client who means harm: valid requests with senseless numbers, slow readers, half frames, and
whatever costs a broker more than it costs its sender."""
import contextlib
import functools
import gzip
import multiprocessing
import random
import socket
import struct
import threading
import time

import broker
from kafka.protocol.fetch import FetchRequest
from kafka.protocol.metadata import MetadataRequest
from kafka.protocol.offset import OffsetRequest
from kafka.protocol.produce import ProduceRequest

try:
    from kafka.record._crc32c import crc as crc32c
except ImportError:
    crc32c = None


def batch(records, count, codec=0, attributes=0, first_ms=None, max_ms=None):
    """A batch with a true checksum, of records that are given as bytes."""
    now = int(time.time() * 1000)
    first_ms = now if first_ms is None else first_ms
    max_ms = first_ms if max_ms is None else max_ms
    covered = struct.pack(">hiqqqhii", attributes | codec, count - 1, first_ms, max_ms, -1, -1, -1,
                          count) + records
    return struct.pack(">qiibI", 0, len(covered) + 9, -1, 2, crc32c(covered)) + covered


def varint(value):
    return varint_unsigned(value << 1 if value >= 0 else ~(value << 1))


def varint_unsigned(value):
    text = bytearray()
    while value > 127:
        text.append(value & 127 | 128)
        value >>= 7
    return bytes([*text, value])


def record(delta=0, value=b"x", time_delta=0):
    places = b"\0" + varint(time_delta) + varint(delta)
    body = places + varint(-1) + varint(len(value)) + value + b"\0"
    return varint(len(body)) + body


class Extremes:
    """Requests of right form whose numbers are drawn from those that break things."""

    def __init__(self, seed):
        self.chance = random.Random(seed)

    def number(self, bits):
        edge = 1 << (bits - 1)
        return self.chance.choice([0, 1, -1, -2, -3, 2, 7, edge - 1, -edge, edge - 2, edge // 2,
                                   self.chance.randrange(-edge, edge)])

    def int(self, bits):
        return struct.pack({8: ">b", 16: ">h", 32: ">i", 64: ">q"}[bits], self.number(bits))

    def array(self, element):
        count = self.chance.choice([0, 1, 1, 2, 5, 100])
        return struct.pack(">i", count) + b"".join(element() for _ in range(count))

    def name(self):
        name = self.chance.choice([b"t", b"t", b"extremes", b"", b"no such", b"__x", b"x" * 300,
                                   b"..", b"\xff\0", b"x" * 32_000, None])
        return b"\xff\xff" if name is None else struct.pack(">h", len(name)) + name

    def topic(self, element):
        """An array of one topic, named again and again."""
        name = self.name()
        return self.array(lambda: name + self.array(element))

    def partition(self):
        return struct.pack(">i", self.chance.choice([0, 1, 2, 3, self.number(32)]))

    def batch(self):
        if self.chance.random() < 0.05:
            bomb = self.chance.choice(bombs())
            return struct.pack(">i", len(bomb)) + bomb
        whole = bytearray(broker.batch([b"x"] * self.chance.choice([1, 3])))
        for at, bits in self.chance.sample([(0, 64), (21, 16), (23, 32), (27, 64), (35, 64),
                                            (43, 64), (51, 16), (53, 32), (57, 32)],
                                           self.chance.randrange(3)):
            whole[at:at + bits // 8] = self.int(bits)
        whole[17:21] = struct.pack(">I", crc32c(bytes(whole[21:])))
        return struct.pack(">i", len(whole)) + bytes(whole)

    def fetch(self, version):
        def wanted():
            return (self.partition() + (self.int(32) if version >= 9 else b"") + self.int(64) +
                    (self.int(64) if version >= 5 else b"") + self.int(32))
        wait = struct.pack(">i", self.chance.choice([0, 5, -1, -(1 << 31)]))
        body = self.int(32) + wait + self.int(32) + self.int(32) + self.int(8)
        body += self.int(32) + self.int(32) if version >= 7 else b""
        body += self.topic(wanted) + (self.topic(lambda: self.int(32)) if version >= 7 else b"")
        return body + (b"\0\0" if version >= 11 else b"")

    def produce(self, _):
        acks = struct.pack(">h", self.chance.choice([-1, 1, 1, self.number(16)]))
        return b"\xff\xff" + acks + self.int(32) + self.topic(
            lambda: self.partition() + self.chance.choice([self.batch, lambda: b"\xff" * 4])())

    def list_offsets(self, version):
        return self.int(32) + (self.int(8) if version >= 2 else b"") + self.topic(
            lambda: self.partition() + self.int(64))

    def metadata(self, version):
        names = self.chance.choice([self.array(self.name), b"\xff" * 4])
        return names + (self.int(8) if version >= 4 else b"")

    def find_coordinator(self, _):
        return self.name()

    def api_versions(self, version):
        if version < 3:
            return b""
        said = self.chance.choice([b"soft", b"\n\x1b[2J", b"x" * 30_000, b""])
        tags = [b"\0", b"\1\0\2ab", b"\2\5\0\4\0", b"\1\0\xff\xff\xff\xff\x07",
                b"\xff\xff\xff\xff\x0f", b""]
        return varint_unsigned(len(said) + 1) + said + b"\2" + b"1" + self.chance.choice(tags)

    def request(self):
        """Of an API that is served, mostly; sometimes less than all of it, or more."""
        key, version, body = self.chance.choice(
            [(1, version, self.fetch) for version in range(4, 12)] +
            [(0, version, self.produce) for version in range(3, 8)] * 2 +
            [(2, version, self.list_offsets) for version in (1, 2)] * 4 +
            [(3, version, self.metadata) for version in range(5)] +
            [(18, version, self.api_versions) for version in range(5)] +
            [(10, 0, self.find_coordinator)])
        flexible = b"\0" if key == 18 and version >= 3 else b""
        client = self.chance.choice([b"\0\4host", b"\0\4host", b"\0\0", b"\xff\xff"])
        whole = struct.pack(">hhi", key, version, 7) + client + flexible + body(version)
        cut = self.chance.randrange(len(whole)) if self.chance.random() < 0.03 else len(whole)
        more = b"\0" * 9 if self.chance.random() < 0.03 else b""
        whole = whole[:cut] + more
        return struct.pack(">i", len(whole)) + whole


class Hostile:
    """Connections that do their worst to a broker, from processes of their own, until the end.

    topic, partitions   of which there are records of 900 kB to fetch
    only                the kind that all are of; None: each kind by some
    """

    def __init__(self, port, topic, partitions, *, connections=64, seed=1, processes=2,
                 only=None):
        self._port = port
        self._topic = topic
        self._partitions = partitions
        self._connections = connections
        self._only = only
        self._seed = seed
        self._stop = multiprocessing.Event()
        bombs()  # made once, before there are processes
        self._done = multiprocessing.Array("Q", connections)
        self._workers = [multiprocessing.Process(target=self._run, args=(each, processes),
                                                 daemon=True) for each in range(processes)]

    def __enter__(self):
        for each in self._workers:
            each.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for each in self._workers:
            each.join(1)
            each.kill()
            each.join()

    def done(self):
        """How often each kind began."""
        kinds = self.kinds()
        return {each.__name__.strip("_"): sum(self._done[number::len(kinds)])
                for number, each in enumerate(kinds)}

    def kinds(self):
        kinds = [self._extremes, self._slow_reader, self._half_frame, self._fetch_many,
                 self._metadata_often, self._offsets_by_time, self._null_entries, self._bombs,
                 self._floods, self._topics, self._long_polls]
        return [each for each in kinds if self._only in (None, each.__name__.strip("_"))]

    def _run(self, process, processes):
        threads = [threading.Thread(target=self._work, args=(number,), daemon=True)
                   for number in range(process, self._connections, processes)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    def _work(self, number):
        chance = random.Random(self._seed * 1_000 + number)
        kind = self.kinds()[number % len(self.kinds())]
        while not self._stop.is_set():
            # A broker that has had enough closes the connection: the next one, then.
            with contextlib.suppress(OSError):
                with broker.Client(self._port, timeout_s=5) as client:
                    while not self._stop.is_set():
                        self._done[number] += 1
                        kind(client, chance)
            self._stop.wait(0.01)

    @staticmethod
    def _raw(client, key, version, body):
        whole = struct.pack(">hhih", key, version, 7, 4) + b"host" + body
        client.send_bytes(struct.pack(">i", len(whole)) + whole)

    def _ask_raw(self, client, *request):
        self._raw(client, *request)
        client.receive_frame()

    def _ask(self, client, request):
        client.send(request)
        client.receive_frame()

    def _fetch(self, bytes_max):
        return FetchRequest[4](-1, 100, 1, 50 << 20, 0, [
            (self._topic, [(each, 0, bytes_max) for each in range(self._partitions)])])

    def _extremes(self, client, chance):
        client.send_bytes(Extremes(chance.random()).request())
        client.socket.shutdown(socket.SHUT_WR)
        client.receive_frame()
        raise ConnectionError("one a connection")

    def _slow_reader(self, client, chance):
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(40):
            client.send(self._fetch(chance.choice([1, 1 << 20])))
        for _ in range(chance.randrange(30)):
            self._stop.wait(0.1)
            client.socket.recv(100)
        raise ConnectionError("enough")

    def _half_frame(self, client, chance):
        size = chance.choice([100, 1 << 16, 1 << 20, 2_000_000])
        client.send_bytes(struct.pack(">i", size) + struct.pack(">hhih", 0, 7, 7, -1) +
                          b"\0" * chance.randrange(size))
        self._stop.wait(chance.random() * 3)
        raise ConnectionError("enough")

    def _fetch_many(self, client, _):
        self._ask(client, self._fetch(1 << 20))

    def _metadata_often(self, client, chance):
        names = [self._topic] * 10_000 if chance.random() < 0.5 else [
            f"none-{each}" for each in range(10_000)]
        self._ask(client, MetadataRequest[4](names, False))
        self._ask(client, MetadataRequest[4](None, False))

    def _offsets_by_time(self, client, chance):
        for _ in range(20):
            client.send(OffsetRequest[1](-1, [(self._topic, [
                (each, chance.randrange(1 << 41)) for each in range(self._partitions)])]))
        for _ in range(20):
            client.receive_frame()

    def _null_entries(self, client, _):
        entries = 15_000
        self._ask_raw(client, 0, 3, b"\xff\xff" + struct.pack(">hiih", -1, 1000, 1, 1) + b"t" +
                      struct.pack(">i", entries) + struct.pack(">ii", 0, -1) * entries)
        self._ask_raw(client, 0, 3, b"\xff\xff" + struct.pack(">hiih", -1, 1000, 1, 1) + b"t" +
                      struct.pack(">i", 200_000) + struct.pack(">ii", 0, -1) * 200_000)

    def _bombs(self, client, chance):
        self._ask(client, ProduceRequest[7](None, -1, 30_000, [
            (self._topic, [(0, chance.choice(bombs()))])]))

    def _floods(self, client, chance):
        """Batches of 1 byte to 900 kB, one after the other, and no look at the answers."""
        kinds = [(chance.choice([0, 1, -1]), chance.choice([1, 1_000, 900_000]))
                 for _ in range(30)]
        for acks, size in kinds:
            client.send(ProduceRequest[7](None, acks, 30_000, [
                ("flood", [(chance.randrange(self._partitions),
                            batch(record(value=b"f" * size), 1))])]))
        for acks, _ in kinds:
            if acks != 0:
                client.receive_frame()

    def _long_polls(self, client, _):
        """Waits for more bytes than it lets anybody send it."""
        self._ask(client, FetchRequest[4](-1, 60_000, (1 << 31) - 1, 50 << 20, 0, [
            (self._topic, [(each, 0, 1) for each in range(self._partitions)])]))

    def _topics(self, client, chance):
        self._ask(client, MetadataRequest[4]([f"made-{chance.randrange(1 << 40)}"], True))


@functools.lru_cache
def bombs():
    """Batches that open to much more than they are, or to nothing, however much they are."""
    skipped = b"\x50\x2a\x4d\x18\0\0\0\0"
    in_large_window = b"\x28\xb5\x2f\xfd\0\x88\1\0\0"  # it may refer to 128 MiB
    headers = 400_000
    body = b"\0" * 3 + b"\1\1" + varint(headers) + b"\0\1" * headers
    return [batch(gzip.compress(b"\0" * (100 << 20)), 1, 1),
            batch(gzip.compress(record(value=b"v" * (4 << 20))), 1, 1),
            batch(gzip.compress(b"".join(record(each, b"0" * (1 << 20)) for each in range(20))),
                  20, 1),
            batch(gzip.compress(b"") * 40_000 + gzip.compress(record()), 1, 1),
            batch(skipped * 120_000, 1, 4), batch(in_large_window * 100_000, 1, 4),
            batch(varint(len(body)) + body, 1)]
