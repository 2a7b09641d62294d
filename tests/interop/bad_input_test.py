#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""What must not be sent gets the protocol's error or a closed connection, and one log line. All
the while another client works, and the broker's memory stays where it is."""
import pathlib
import resource
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import broker as support  # noqa: E402
import disk as disks  # noqa: E402
import script  # noqa: E402
from kafka.protocol.admin import ApiVersionRequest  # noqa: E402
from kafka.protocol.fetch import FetchRequest  # noqa: E402
from kafka.protocol.metadata import MetadataRequest  # noqa: E402
from kafka.protocol.produce import ProduceRequest  # noqa: E402

FRAME_SECONDS = 4
# What an idle broker may hold, and what it may grow by under abuse.
MEMORY_BYTES = 64 << 20
CORRUPT_MESSAGE = 2
STORAGE_ERROR = 56
BROKER = support.Broker("--shards", "2", "--frame-seconds", FRAME_SECONDS,
                        "--log-burst", 1_000)


def create(client, topic):
    support.wait_until(lambda: client.ask(MetadataRequest[4]([topic], True)).topics[0][0] == 0,
                       "a topic")


def produce(client, records, topic="t", partition=0):
    ((_, ((_, error, base, *_),)),) = client.ask(
        ProduceRequest[7](None, -1, 30_000, [(topic, [(partition, records)])])).topics
    return error, base


class Neighbour:
    """Another client, that produces and notes how long that takes."""

    def __init__(self, broker):
        self._client = broker.client()
        create(self._client, "neighbour")
        self.done = 0
        self.slowest_s = 0.0
        self.failure = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                assert produce(self._client, support.batch([b"x"]), "neighbour") == (0, self.done)
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                self.done += 1
                time.sleep(0.002)
        except Exception as failure:  # pylint: disable=broad-except
            self.failure = failure

    def stop(self):
        self._stop.set()
        self._thread.join()
        self._client.close()
        assert self.failure is None, f"the neighbour noticed: {self.failure!r}"


def header(api, version, client=b"weir-test"):
    return struct.pack(">hhih", api, version, 7, len(client)) + client


def frame(body):
    return struct.pack(">i", len(body)) + body


def refused(data, why, end=False):
    """The connection is closed, and one line tells why."""
    before = len(BROKER.lines(why))
    with BROKER.client() as client:
        client.send_bytes(data)
        if end:
            client.socket.shutdown(socket.SHUT_WR)
        assert client.is_closed()
    support.wait_until(lambda: len(BROKER.lines(why)) > before, f'a line "{why}"')
    assert len(BROKER.lines(why)) == before + 1, BROKER.lines(why)


def test_length():
    """a frame that lies about its length closes its connection"""
    refused(struct.pack(">i", -1) + b"x" * 100, "frame length")
    refused(struct.pack(">i", -(1 << 31)), "frame length")
    refused(struct.pack(">i", (1 << 31) - 1) + b"x" * 100, "frame length")
    refused(struct.pack(">i", 1_000) + header(3, 4), "frame cut short", end=True)
    refused(struct.pack(">i", 50_000_000) + header(3, 4) + b"x" * 100_000, "frame cut short",
            end=True)
    refused(b"\0\0", "frame cut short", end=True)
    refused(frame(b""), "request header")
    refused(frame(b"\0\3\0\4"), "request header")
    refused(frame(struct.pack(">hhih", 3, 4, 7, 30_000) + b"short"), "request header")


def test_counts():
    """an array that lies about its count closes its connection and takes no memory"""
    before = BROKER.resident_bytes()
    for count in (1 << 20, (1 << 31) - 1, -2, -(1 << 31)):
        lie = struct.pack(">i", count)
        one_topic = struct.pack(">i", 1) + b"\0\1t"
        refused(frame(header(3, 4) + lie), "request failed")
        refused(frame(header(0, 7) + struct.pack(">hhi", -1, -1, 1000) + lie), "request failed")
        refused(frame(header(0, 7) + struct.pack(">hhi", -1, -1, 1000) + one_topic + lie),
                "request failed")
        refused(frame(header(1, 4) + struct.pack(">iiiib", -1, 0, 0, 1000, 0) + lie),
                "request failed")
        refused(frame(header(2, 1) + struct.pack(">i", -1) + one_topic + lie), "request failed")
    grown = BROKER.resident_bytes() - before
    assert grown < MEMORY_BYTES, f"{grown} bytes more"


def test_unknown():
    """an unknown api or version closes its connection; of ApiVersions it is answered"""
    refused(frame(header(999, 0)), "request failed")
    refused(frame(header(-1, 0)), "request failed")
    refused(frame(header(3, 99)), "connection refused")
    refused(frame(header(0, 99)), "connection refused")
    with BROKER.client() as client:
        client.send_bytes(frame(header(18, 99) + b"\0"))
        number, error = struct.unpack(">ih", client.receive_frame()[:6])
        assert (number, error) == (7, 35)
        assert client.ask(ApiVersionRequest[0]()).error_code == 0


def test_batches():
    """a wrong batch gets an error, is not kept, and the connection goes on"""
    good = support.batch([b"one", b"two"])

    def with_bytes(at, text):
        return good[:at] + text + good[at + len(text):]

    wrong = {
        "checksum": with_bytes(17, b"\0\0\0\1"),
        "a byte changed": good[:-1] + bytes([good[-1] ^ 1]),
        "magic": with_bytes(16, b"\7"),
        "cut": good[:-5],
        "length above": with_bytes(8, struct.pack(">i", len(good))),
        "length negative": with_bytes(8, struct.pack(">i", -5)),
        "no header": good[:20],
        "two batches": good + good,
        "bytes behind": good + b"\0" * 40,
        "empty": b"",
    }
    with BROKER.client() as client:
        create(client, "t")
        for name, records in wrong.items():
            error, base = produce(client, records)
            assert error != 0 and base == -1, f"{name}: {error}, {base}"
        assert produce(client, wrong["checksum"])[0] == CORRUPT_MESSAGE
        assert produce(client, good) == (0, 0), "something wrong was kept"
        answer = client.ask(ProduceRequest[7](None, -1, 1000, [("t", [(99, good)])]))
        assert answer.topics[0][1][0][1] == 3  # UNKNOWN_TOPIC_OR_PARTITION


def test_junk():
    """junk, and requests with a byte changed, never end the broker"""
    import random  # pylint: disable=import-outside-toplevel
    seed = support.number("WEIR_SEED", time.time_ns() % 1_000_000_007)
    chance = random.Random(seed)
    print(f"seed {seed}")
    requests = [ProduceRequest[7](None, -1, 1000, [("junk", [(0, support.batch([b"x"] * 3))])]),
                FetchRequest[4](-1, 10, 0, 1000, 0, [("t", [(0, 0, 1000), (1, 0, 1000)])]),
                MetadataRequest[4](["t"], False)]
    for _ in range(support.number("WEIR_JUNK", 300)):
        request = chance.choice(requests)
        body = bytearray(header(request.API_KEY, request.API_VERSION) + request.encode())
        for _ in range(chance.choice([1, 1, 2, 8])):
            body[chance.randrange(len(body))] = chance.randrange(256)
        if chance.random() < 0.1:
            body = bytearray(chance.randbytes(chance.randrange(200)))
        with BROKER.client() as client:
            try:
                client.send_bytes(frame(bytes(body)))
                client.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it was quicker
            client.is_closed()
    assert BROKER.process.poll() is None


def test_half():
    """half a frame for ever is cut after its time, and holds up neither memory nor others"""
    before = BROKER.resident_bytes()
    why = "frame too slow"
    known = len(BROKER.lines(why))
    began = time.monotonic()
    clients = [BROKER.client() for _ in range(10)]
    for client in clients:
        client.send_bytes(struct.pack(">i", 90_000_000) + header(0, 7) + b"x" * 20_000)
    # They hold all the memory that large frames may have; on each shard others still get some.
    for _ in range(8):
        with BROKER.client() as client:
            create(client, "t")
            assert produce(client, support.batch([b"x" * 100_000]))[0] == 0
    served_s = time.monotonic() - began
    for client in clients:
        assert client.is_closed()
        client.close()
    assert time.monotonic() - began >= FRAME_SECONDS * 0.9
    assert served_s < FRAME_SECONDS, f"others waited for {served_s:.1f} s"
    support.wait_until(lambda: len(BROKER.lines(why)) == known + len(clients), "their lines")
    grown = BROKER.resident_bytes() - before
    assert grown < MEMORY_BYTES, f"{grown} bytes more"


def test_idle():
    """a thousand idle connections are served beside the one that works, in little memory"""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3_000:
        raise script.Skip(f"only {hard} descriptors are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with support.Broker("--shards", "2", prefix=["prlimit", f"--nofile=1024:{hard}"]) as broker:
        neighbour = Neighbour(broker)
        before = broker.resident_bytes()
        clients = [broker.client() for _ in range(1_000)]
        for client in clients:
            assert client.ask(ApiVersionRequest[0]()).error_code == 0
        grown = broker.resident_bytes() - before
        for client in clients:
            assert client.ask(ApiVersionRequest[0]()).error_code == 0
            client.close()
        neighbour.stop()
        print(f"1,000 connections: {grown / 1000 / 1024:.1f} KiB each; the neighbour's "
              f"{neighbour.done} produces took {neighbour.slowest_s * 1000:.0f} ms at most")
        assert grown < MEMORY_BYTES, f"{grown} bytes more"
        assert broker.stop() == 0


def test_slow_readers():
    """clients that ask for everything and read nothing hold what they may, and not more"""
    answer_bytes = 32 << 20
    with support.Broker("--shards", "2", "--answer-bytes", answer_bytes,
                        "--stop-grace", "1") as broker:
        big = support.batch([b"x" * 900_000])
        with broker.client() as client:
            create(client, "t")
            for _ in range(16):
                assert produce(client, big)[0] == 0
        broker.restart()  # so that it reads them from the disk
        neighbour = Neighbour(broker)
        before = broker.resident_bytes()
        clients = [broker.client() for _ in range(30)]
        for client in clients:
            for _ in range(60):
                client.send(FetchRequest[4](-1, 0, 0, 50 << 20, 0, [("t", [(0, 0, 50 << 20)])]))
        most = 0
        for _ in range(40):
            time.sleep(0.05)
            most = max(most, broker.resident_bytes() - before)
        neighbour.stop()
        print(f"30 slow readers: {most >> 20} MiB more resident; {neighbour.done} produces "
              f"beside them, {neighbour.slowest_s * 1000:.0f} ms at most")
        assert most < 2 * answer_bytes + MEMORY_BYTES, f"{most} bytes more"
        # One that begins to read gets everything that it asked for, in order.
        for _ in range(60):
            assert clients[0].receive().topics[0][1][0][1] == 0
        assert broker.stop() == 0
        for client in clients:
            client.close()


def test_share():
    """a slow reader holds its share of the memory for answers, and another one is served"""
    share = 4 << 20
    with support.Broker("--shards", "1", "--answer-bytes", 2 * share, "--answer-bytes-each", share,
                        "--fetches-in-flight", 50, "--stop-grace", "1") as broker:
        big = support.batch([b"x" * 900_000])
        request = FetchRequest[4](-1, 0, 0, 50 << 20, 0, [("t", [(0, 0, 1 << 20)])])
        with broker.client() as client:
            create(client, "t")
            assert produce(client, big)[0] == 0
        slow, quick = broker.client(), broker.client()
        for _ in range(50):
            slow.send(request)
        for _ in range(20):
            partition = quick.ask(request).topics[0][1][0]
            assert partition[1] == 0
            assert len(partition[-1]) > 900_000, "no memory was left for the other reader"
        for _ in range(50):
            assert len(slow.receive().topics[0][1][0][-1]) > 900_000
        for client in (slow, quick):
            client.close()


def test_limit():
    """a connection above the limit is closed, and the next is served when one has left"""
    with support.Broker("--shards", "1", "--connections-max", "10") as broker:
        clients = [broker.client() for _ in range(10)]
        for client in clients:
            assert client.ask(ApiVersionRequest[0]()).error_code == 0
        with broker.client() as client:
            assert client.is_closed()
        clients.pop().close()

        def is_served():
            with broker.client() as client:
                try:
                    return client.ask(ApiVersionRequest[0]()).error_code == 0
                except OSError:
                    return False

        support.wait_until(is_served, "a free place")


def test_limits():
    """limits that can't hold together are refused at the start, by name"""
    told = support.Broker("--request-bytes", 1_000_000).refusal()
    assert "large-request-bytes" in told, told


def test_full():
    """a full disk refuses what doesn't fit, keeps what did, and goes on when there is room"""
    support.need("mkfs.ext4")
    with disks.Disk("ext4", 64) as disk, support.Broker(
            "--segment-bytes", 1 << 20, directory=disk.path) as broker:
        with broker.client() as client:
            create(client, "t")
            kept = []
            filler = disk.path / "filler"
            filler.write_bytes(b"x" * (16 << 20))
            for each in range(2_000):
                value = b"%06d" % each + b"x" * 60_000
                error, base = produce(client, support.batch([value]), partition=each % 4)
                if error != 0:
                    break
                kept.append((each % 4, base, value))
            assert error == STORAGE_ERROR, f"after {len(kept)} batches: error {error}"
            for _ in range(200):
                produce(client, support.batch([b"y" * 60_000]), partition=1)
            lines = broker.lines("level=error")
            assert 0 < len(lines) < 100, f"{len(lines)} lines for one full disk"
            filler.unlink()
            support.wait_until(
                lambda: produce(client, support.batch([b"again"]), partition=0)[0] == 0,
                "room on the disk")
        for _ in range(2):
            found = broker.everything("t")
            for partition, base, value in kept:
                assert found.get((partition, base)) == value, f"{partition}/{base} is lost"
            broker.restart()
        support.walk_all(broker, "t")
        assert broker.stop() == 0


if __name__ == "__main__":
    with BROKER:
        started = BROKER.resident_bytes()
        NEIGHBOUR = Neighbour(BROKER)

        def test_neighbour():
            """another client noticed nothing, and no memory was kept"""
            NEIGHBOUR.stop()
            grown = BROKER.resident_bytes() - started
            print(f"{NEIGHBOUR.done} produces beside it, {NEIGHBOUR.slowest_s * 1000:.0f} ms at "
                  f"most; {grown >> 20} MiB more resident")
            assert grown < MEMORY_BYTES, f"{grown} bytes more"
            assert BROKER.stop() == 0

        script.run(globals())
