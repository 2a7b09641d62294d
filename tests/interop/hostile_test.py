#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""Valid requests with senseless numbers: each gets the protocol's word for it, and the broker
lives, serves others, and starts again on what it kept."""
import gzip
import pathlib
import re
import socket
import struct
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import broker as support  # noqa: E402
import ports  # noqa: E402
import script  # noqa: E402
from hostile import Extremes, batch, crc32c, record  # noqa: E402
from kafka.protocol.fetch import FetchRequest  # noqa: E402
from kafka.protocol.metadata import MetadataRequest  # noqa: E402
from kafka.protocol.offset import OffsetRequest  # noqa: E402
from kafka.protocol.produce import ProduceRequest  # noqa: E402

UNSUPPORTED_VERSION = 35
INVALID_REQUEST = 42
FETCH_SESSION_ID_NOT_FOUND = 70
UNKNOWN_LEADER_EPOCH = 75
NOT_LEADER = 6
MESSAGE_TOO_LARGE = 10
INVALID_TIMESTAMP = 32
POLICY_VIOLATION = 44
INVALID_RECORD = 87
CODECS = range(1, 5)


def create(client, topic):
    support.wait_until(lambda: client.ask(MetadataRequest[4]([topic], True)).topics[0][0] == 0,
                       "a topic")


def produce(client, records, topic="t", partition=0):
    ((_, ((_, error, base, *_),)),) = client.ask(
        ProduceRequest[7](None, -1, 30_000, [(topic, [(partition, records)])])).topics
    return error, base


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
    """a record from the future is refused; a claim to bear the log's time, and a false largest
    time, are put right"""
    with BROKER.client() as client:
        create(client, "times")
        now = int(time.time() * 1000)
        ahead = batch(record(), 1, first_ms=now + 5_400_000)
        assert produce(client, ahead, "times")[0] == INVALID_TIMESTAMP
        claimed = batch(record(), 1, attributes=8, first_ms=now)
        assert produce(client, claimed, "times") == (0, 0)
        false = batch(record(), 1, first_ms=now, max_ms=now + 99_999)
        assert produce(client, false, "times") == (0, 1)
        (stored,) = [list(support.batch_headers(path.read_bytes()))
                     for path in BROKER.log_files("times") if path.parent.name == "times-0"]
        for _, kept, *_ in stored[:2]:
            attributes, _, _, most = struct.unpack(">hiqq", kept[21:43])
            assert (attributes, most) == (0, now)
            assert crc32c(kept[21:]) == struct.unpack(">I", kept[17:21])[0]


def fetch(client, wanted, *, version=4, max_wait=0, min_bytes=0, max_bytes=50 << 20, topic="t"):
    """{partition: (error, high watermark, records)}; `wanted`: (partition, offset, max bytes)."""
    answer = client.ask(FetchRequest[version](-1, max_wait, min_bytes, max_bytes, 0,
                                              [(topic, list(wanted))]))
    return {part[0]: (part[1], part[2], part[-1])
            for _, parts in answer.topics for part in parts}


def page(admin):
    with urllib.request.urlopen(f"http://{admin}/metrics", timeout=60) as told:
        return told.read().decode()


def sample(admin, name):
    return float(re.search(rf'^{name}{{shard="0"}} (\S+)$', page(admin), re.MULTILINE)[1])


class Peak:
    """The most that a broker had resident, beyond what it has now, while work was done."""

    def __init__(self, broker):
        self._broker = broker
        self._before = broker.resident_bytes()
        self._reset()

    def _reset(self):
        pathlib.Path(f"/proc/{self._broker.process.pid}/clear_refs").write_text("5", "ascii")

    def bytes(self):
        return self._broker.peak_resident_bytes() - self._before


def restart(broker, topic, partitions):
    """Killed and started, and all of a topic is served: what that takes is nobody's request."""
    broker.restart()
    wanted = [(each, 0, 1) for each in range(partitions)]
    with broker.client() as client:
        support.wait_until(lambda: {error for error, *_ in fetch(
            client, wanted, max_bytes=1, topic=topic).values()} == {0}, "all partitions")


def fill(client, topic, partitions, batches, size):
    """Batches of `size` bytes at the end of each partition."""
    create(client, topic)
    for _ in range(batches):
        for partition in range(partitions):
            assert produce(client, support.batch([b"x" * size]), topic, partition)[0] == 0


def test_fetch_often():
    """a partition that a fetch names a thousand times is read and answered once"""
    with BROKER.client() as client:
        fill(client, "often", 1, 5, 900_000)
    restart(BROKER, "often", 1)  # so that it is read from the device
    peak = Peak(BROKER)
    with BROKER.client() as client:
        answer = client.ask(FetchRequest[4](-1, 0, 0, 50 << 20, 0,
                                            [("often", [(0, 0, 4 << 20)] * 1_000)]))
        ((_, parts),) = answer.topics
        assert len(parts) == 1 and parts[0][1] == 0, [part[:3] for part in parts]
        assert len(parts[0][-1]) > 3_000_000
    assert peak.bytes() < 32 << 20, f"{peak.bytes()} bytes more"


def test_fetch_many():
    """a fetch of many partitions reads what it sends, not what each might give"""
    partitions = 60
    with support.Broker("--shards", "2", "--partitions", partitions) as broker:
        with broker.client() as client:
            fill(client, "many", partitions, 2, 900_000)
        restart(broker, "many", partitions)
        peak = Peak(broker)
        with broker.client() as client:
            found = fetch(client, [(each, 0, 1 << 20) for each in range(partitions)],
                          max_bytes=4 << 20, topic="many")
            assert [error for error, *_ in found.values()] == [0] * partitions
            sent = sum(len(records) for _, _, records in found.values())
            assert 900_000 < sent <= 4 << 20, sent
        print(f"{sent >> 10} KiB sent, {peak.bytes() >> 20} MiB more resident")
        assert peak.bytes() < 12 << 20, f"{peak.bytes()} bytes more"


def test_fetch_little():
    """a fetch that wants a byte of each of many partitions reads no more than it has memory for"""
    partitions = 600
    admin = f"127.0.0.1:{ports.free_port()}"
    with support.Broker("--shards", "1", "--partitions", partitions, "--answer-bytes", 4 << 20,
                        "--open-seconds", "60", "--admin", admin) as broker:
        with broker.client() as client:
            create(client, "little")
            records = support.batch([b"x" * 9_000])
            ((_, parts),) = client.ask(ProduceRequest[7](None, -1, 30_000, [
                ("little", [(each, records) for each in range(partitions)])])).topics
            assert {error for _, error, *_ in parts} == {0}
        broker.restart()  # so that it is read from the device
        with broker.client() as client:
            before = sample(admin, "weir_broker_disk_read_bytes")
            found = fetch(client, [(each, 0, 1) for each in range(partitions)], topic="little")
            assert {error for error, *_ in found.values()} == {0}
            assert len(found[0][2]) > 9_000, "the first partition gives a batch"
        read = sample(admin, "weir_broker_disk_read_bytes") - before
        assert 9_000 < read <= 4 << 20, f"{read} bytes read"


def test_slow_readers():
    """readers who read nothing hold what they may, and another is served as if alone"""
    answer_bytes = 16 << 20
    with support.Broker("--shards", "1", "--answer-bytes", answer_bytes, "--stop-grace",
                        "1") as broker:
        with broker.client() as client:
            fill(client, "slow", 4, 2, 900_000)
            create(client, "news")
        broker.restart()
        peak = Peak(broker)
        slow = [broker.client() for _ in range(40)]
        for each in slow:
            # One byte of each partition: a whole batch of the first that has something.
            each.send(FetchRequest[4](-1, 0, 0, 50 << 20, 0,
                                      [("slow", [(part, 0, 1 << 20) for part in range(4)])]))
            for part in range(4):
                each.send(FetchRequest[4](-1, 0, 0, 50 << 20, 0, [("slow", [(part, 0, 1)])]))
        time.sleep(1)
        with broker.client() as client:
            slowest = 0
            for each in range(20):
                assert produce(client, support.batch([b"new"]), "news", each % 4)[0] == 0
                began = time.monotonic()
                found = fetch(client, [(part, each // 4 if part == each % 4 else 0, 1 << 20)
                                       for part in range(4)], max_wait=500, min_bytes=1,
                              topic="news")
                slowest = max(slowest, time.monotonic() - began)
                assert any(records for _, _, records in found.values()), "no memory for a record"
        print(f"{peak.bytes() >> 20} MiB more resident; {slowest * 1000:.0f} ms at most")
        assert peak.bytes() < 2 * answer_bytes + (32 << 20), f"{peak.bytes()} bytes more"
        for each in slow:
            each.close()


def test_metadata_often():
    """a topic that is named ten thousand times is described once"""
    with support.Broker("--shards", "1", "--partitions", 500) as broker:
        with broker.client() as client:
            create(client, "wide")
            peak = Peak(broker)
            answer = client.ask(MetadataRequest[4](["wide"] * 10_000, False))
            assert len(answer.topics) == 1 and len(answer.topics[0][3]) == 500
        assert peak.bytes() < 16 << 20, f"{peak.bytes()} bytes more"


def test_elements():
    """a request that names more than it may closes its connection, with a line, and costs little"""
    null_entries = struct.pack(">ii", 0, -1) * 2_000_000
    produce_nulls = (struct.pack(">hhi", -1, -1, 1000) + struct.pack(">i", 1) + b"\0\1t" +
                     struct.pack(">i", 2_000_000) + null_entries)
    names = struct.pack(">i", 4_000_000) + b"\0\1t" * 4_000_000
    peak = Peak(BROKER)
    before = len(BROKER.lines("request failed"))
    for key, version, body in ((0, 3, produce_nulls), (3, 4, names + b"\0"),
                               (18, 3, b"\2a\2b" + b"\xff\xff\xff\x7f" + b"\0\0" * 1000)):
        header = struct.pack(">hhih", key, version, 7, 4) + b"host"
        header += b"\0" if (key, version) == (18, 3) else b""
        body = header + (b"\xff\xff" + body if key == 0 else body)
        with BROKER.client() as client:
            client.send_bytes(struct.pack(">i", len(body)) + body)
            assert client.is_closed()
    support.wait_until(lambda: len(BROKER.lines("request failed")) == before + 3, "three lines")
    assert "client=host" in BROKER.lines("request failed")[-1]
    assert "api=Produce" in "".join(BROKER.lines("request failed"))
    assert peak.bytes() < 64 << 20, f"{peak.bytes()} bytes more"


def test_min_bytes():
    """a fetch waits for min_bytes no longer than until they are there, wherever they lie"""
    with BROKER.client() as client:
        create(client, "least")
        for _ in range(400):
            client.send(ProduceRequest[7](None, -1, 30_000,
                                          [("least", [(0, support.batch([b"x" * 500]))])]))
        for _ in range(400):
            client.receive()
        fill(client, "least", 1, 8, 900_000)
        began = time.monotonic()
        for limits in ({"min_bytes": 60_000}, {"min_bytes": 6 << 20},
                       {"min_bytes": 6 << 20, "max_bytes": 1 << 20}):
            ((error, _, records),) = fetch(client, [(0, 0, 8 << 20)], max_wait=20_000,
                                           topic="least", **limits).values()
            assert error == 0 and len(records) > 50_000, (limits, error, len(records))
        assert time.monotonic() - began < 15, f"it waited {time.monotonic() - began:.1f} s"


def test_answers():
    """senseless numbers get Kafka's word for them"""
    with BROKER.client() as client:
        create(client, "words")
        assert produce(client, support.batch([b"a", b"b"]), "words") == (0, 0)

        def offsets(*wanted, version=1):
            answer = client.ask(OffsetRequest[version](-1, *([0] if version > 1 else []),
                                                       [("words", list(wanted))]))
            return [part[1:] for _, parts in answer.topics for part in parts]

        for time_ms in (-3, -4, -5, -100, -(1 << 63)):
            for version in (1, 2):
                ((error, _, offset),) = offsets((0, time_ms), version=version)
                assert (error, offset) == (UNSUPPORTED_VERSION, -1), (time_ms, error, offset)
        assert offsets((0, -1)) == [(0, -1, 2)]
        assert offsets((0, -2)) == [(0, -1, 0)]
        assert offsets((0, -1), (0, -2)) == [(INVALID_REQUEST, -1, -1)]
        assert offsets((0, (1 << 63) - 1)) == [(0, -1, -1)]
        unknown = client.ask(FetchRequest[7](-1, 0, 0, 1 << 20, 0, 77, 5,
                                             [("words", [(0, 0, 0, 1000)])], []))
        assert (unknown.error_code, unknown.topics) == (FETCH_SESSION_ID_NOT_FOUND, [])
        replica = client.ask(FetchRequest[4](1, 0, 0, 1 << 20, 0, [("words", [(0, 0, 1000)])]))
        assert replica.topics[0][1][0][1] == NOT_LEADER
        epoch = client.ask(FetchRequest[9](-1, 0, 0, 1 << 20, 0, 0, -1,
                                           [("words", [(0, 5, 0, 0, 1000)])], []))
        assert epoch.topics[0][1][0][1] == UNKNOWN_LEADER_EPOCH
        none = fetch(client, [(0, 0, 0)], topic="words")
        assert len(none[0][2]) > 0, "the first partition gives a batch, whatever its limit"
        beyond = fetch(client, [(0, 99, 1000)], topic="words")
        assert beyond[0][:2] == (1, -1)
        answer = client.ask(MetadataRequest[4](["__consumer_offsets"], True))
        assert answer.topics[0][0] != 0
        assert not list(BROKER.data.glob("__consumer*"))


def test_compressed_times():
    """a time that lies within a compressed batch is found where it is"""
    with BROKER.client() as client:
        create(client, "look")
        now = int(time.time() * 1000) - 100_000
        records = b"".join(record(each, time_delta=1000 * each) for each in range(10))
        whole = batch(gzip.compress(records), 10, 1, first_ms=now, max_ms=now + 9_000)
        assert produce(client, whole, "look") == (0, 0)
        for at, expected in ((0, (now, 0)), (5_000, (now + 5_000, 5)), (4_001, (now + 5_000, 5)),
                             (9_000, (now + 9_000, 9)), (9_001, (-1, -1))):
            answer = client.ask(OffsetRequest[1](-1, [("look", [(0, now + at)])]))
            assert answer.topics[0][1][0][1:] == (0, *expected), answer


def test_extremes():
    """whatever numbers valid requests bear, the broker answers or closes, and lives"""
    seed = support.number("WEIR_SEED", time.time_ns() % 1_000_000_007)
    print(f"seed {seed}")
    extremes = Extremes(seed)
    answered = 0
    with BROKER.client() as other:
        create(other, "t")
        create(other, "extremes")
        create(other, "beside")
        for each in range(support.number("WEIR_EXTREMES", 300)):
            with BROKER.client() as client:
                try:
                    client.send_bytes(extremes.request())
                    client.socket.shutdown(socket.SHUT_WR)
                    client.receive_frame()
                    answered += 1
                except OSError:
                    pass  # it was closed
            if each % 50 == 0:
                assert produce(other, support.batch([b"x"]), "beside")[0] == 0
    assert BROKER.process.poll() is None
    assert answered > 50, f"{answered} answers"
    before = {path.parent.name: path.stat().st_size for path in BROKER.log_files("t")}
    BROKER.restart()
    assert before.keys() == {path.parent.name for path in BROKER.log_files("t")}
    support.walk_all(BROKER, "beside")


def test_page():
    """a page tells how long the requests of each API took, and the log whose batch was refused,
    whatever he calls himself"""
    admin = f"127.0.0.1:{ports.free_port()}"
    with support.Broker("--shards", "1", "--partitions-max", 8, "--admin", admin) as broker:
        with broker.client() as client:
            said = b"so\nft"
            whole = struct.pack(">hhih", 18, 3, 7, 4) + b"ho\"t" + b"\0"
            whole += bytes([len(said) + 1]) + said + b"\2" + b"1" + b"\0"
            client.send_bytes(struct.pack(">i", len(whole)) + whole)
            client.receive_frame()
            create(client, "page")
            for codec in CODECS:
                assert produce(client, batch(b"x" * 20, 1, codec), "page")[0] == INVALID_RECORD
            large = batch(b"x" * (2 << 20), 1)[:-1] + b"y"  # its checksum is not looked at
            assert produce(client, large, "page")[0] == MESSAGE_TOO_LARGE
            create(client, "second")
            answer = client.ask(MetadataRequest[4](["third"], True))
            assert answer.topics[0][0] == POLICY_VIOLATION, answer
        told = page(admin)
        taken = {found[1]: int(found[2]) for found in re.finditer(
            r'weir_broker_request_seconds_count{shard="0",api="(\w+)"} (\d+)', told)}
        assert taken.keys() == {"Produce", "Fetch", "ListOffsets", "Metadata", "FindCoordinator",
                                "ApiVersions"}, taken
        assert taken["Produce"] == 5 and taken["ApiVersions"] == 1, taken
        assert sample(admin, "weir_broker_partitions_limit") == 8
        assert sample(admin, "weir_broker_topics_refused_total") == 1
        line = broker.lines("batch refused")[-1]
        assert "api=Produce" in line and "client=weir-test" in line, line
        assert "software=\"so\\nft 1\"" in line and "max-batch-bytes" in line, line


def test_start():
    """what clients could not connect to, and budgets that the memory can't hold, are refused at the
    start, with what to write instead"""
    for options in (("--listen", "0.0.0.0"), ("--listen", "::"), ("--advertise", "0.0.0.0"),
                    ("--advertise", "[::]:9092")):
        told = support.Broker(*options).refusal()
        assert "--advertise HOST" in told, told
    for address in (":9092", "host:0", "host:", "[::1", "[::1]9092", "host:99999"):
        told = support.Broker("--advertise", address).refusal(status=None)
        assert "want host or host:port" in told, told
    for option in ("--answer-bytes", "--request-bytes", "--opened-bytes-max", "--recent-bytes"):
        for large in (1 << 50, (1 << 64) - 1, 1 << 63):
            told = support.Broker(option, large).refusal()
            assert option[2:] in told and "MiB" in told, told
    for most in (0, -1, 1_000_001, 1 << 40):
        told = support.Broker("--partitions-max", most).refusal(status=None)
        assert "--partitions-max" in told, told
    told = support.Broker("--partitions-max", 3).refusal()
    assert "more than partitions-max" in told, told
    with support.Broker("--max-batch-bytes", 5 << 20) as broker, broker.client() as client:
        create(client, "large")
        large = support.batch([b"x" * (4 << 20)])
        assert produce(client, large, "large") == (0, 0)
        ((error, _, records),) = fetch(client, [(0, 0, 1)], topic="large").values()
        assert (error, records) == (0, large[:8] + records[8:]) and len(records) == len(large)


if __name__ == "__main__":
    support.need()
    if crc32c is None:
        raise script.Skip("python3-kafka has no crc32c of its own")
    BROKER = support.Broker("--shards", "2", "--log-burst", 1_000)
    with BROKER:
        script.run(globals())
