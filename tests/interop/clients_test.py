#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""What kcat and python3-kafka ask of a broker, and what they get."""
import pathlib
import re
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import broker as support  # noqa: E402
import script  # noqa: E402
from kafka import KafkaConsumer, KafkaProducer, TopicPartition  # noqa: E402
from kafka.errors import KafkaError  # noqa: E402
from kafka.protocol.fetch import FetchRequest  # noqa: E402
from kafka.protocol.metadata import MetadataRequest  # noqa: E402
from kafka.protocol.offset import OffsetRequest  # noqa: E402
from kafka.protocol.produce import ProduceRequest  # noqa: E402
from kafka.record import MemoryRecords  # noqa: E402

MESSAGE_TOO_LARGE = 10
OFFSET_OUT_OF_RANGE = 1
UNKNOWN_TOPIC_OR_PARTITION = 3
BATCH_BYTES_MAX = 100_000
BROKER = support.Broker("--shards", "2", "--max-batch-bytes", BATCH_BYTES_MAX)


def make(topic):
    with BROKER.client() as client:
        support.wait_until(lambda: client.ask(MetadataRequest[4]([topic], True)).topics[0][0] == 0,
                           "a topic")


def produce(client, topic, partition, values, acks=-1):
    request = ProduceRequest[7](None, acks, 30_000,
                                [(topic, [(partition, support.batch(values))])])
    if acks == 0:
        client.send(request)
        return None
    ((_, ((_, error, base, *_),)),) = client.ask(request).topics
    return error, base


def fetch(client, topic, offset, wait_ms=0, bytes_min=0, bytes_max=1 << 20, partition=0):
    """(error, high watermark, values from `offset` on, bytes)"""
    request = FetchRequest[4](-1, wait_ms, bytes_min, bytes_max, 0,
                              [(topic, [(partition, offset, bytes_max)])])
    ((_, ((_, error, high, _, _, records),)),) = client.ask(request).topics
    values = []
    reader = MemoryRecords(records)
    while reader.has_next():
        each = reader.next_batch()
        assert each.validate_crc()
        values += [record.value for record in each if record.offset >= offset]
    return error, high, values, len(records)


def test_list():
    """kcat -L names the broker, a topic and its four partitions"""
    make("listed")
    told = BROKER.kcat("-L").decode()
    assert f"broker 1 at {BROKER.address}" in told, told
    assert re.search(r'topic "listed" with 4 partitions', told), told
    assert len(re.findall(r"partition \d, leader 1", told)) >= 4, told


def test_offsets_by_time():
    """kcat -Q finds the first, the next, and the first of a time"""
    made = {}
    for value in range(3):
        before = int(time.time() * 1000)
        BROKER.kcat("-P", "-t", "timed", "-p", "0", "-X", "acks=all", stdin=b"%d\n" % value)
        made[value] = before
        time.sleep(0.02)

    def query(timestamp):
        told = BROKER.kcat("-Q", "-t", f"timed:0:{timestamp}").decode()
        return int(re.search(r"offset (-?\d+)", told)[1])

    assert query(-2) == 0
    assert query(-1) == 3
    for value, before in made.items():
        assert query(before) == value, f"time {before}: {query(before)} for {value}"
    with BROKER.client() as client:
        later = int(time.time() * 1000) + 60_000
        answer = client.ask(OffsetRequest[1](-1, [("timed", [(0, later), (9, -1)])]))
        (_, ((_, error, _, offset), (_, unknown, _, _))), = answer.topics
        assert (error, offset) == (0, -1), "nothing is so young"
        assert unknown == UNKNOWN_TOPIC_OR_PARTITION


def test_round_trip():
    """python3-kafka's producer and consumer pass keys, headers and values"""
    count = 2_000
    sent = {}
    producer = KafkaProducer(bootstrap_servers=BROKER.address, acks="all", linger_ms=2,
                             compression_type="gzip")
    waiting = []
    for index in range(count):
        key, value = b"key %d" % (index % 7), b"value %d" % index
        waiting.append((producer.send("python", value, key, [("n", b"%d" % index)]), key, value))
    for future, key, value in waiting:
        told = future.get(support.PATIENCE_S)
        sent[(told.partition, told.offset)] = (key, value)
    producer.close()
    assert len(sent) == count
    consumer = KafkaConsumer(bootstrap_servers=BROKER.address, auto_offset_reset="earliest",
                             enable_auto_commit=False, check_crcs=True)
    parts = [TopicPartition("python", index) for index in range(4)]
    consumer.assign(parts)
    assert sum(consumer.end_offsets(parts).values()) == count
    got = {}
    end = time.monotonic() + support.PATIENCE_S
    while len(got) < count and time.monotonic() < end:
        for records in consumer.poll(500).values():
            for record in records:
                assert (record.partition, record.offset) not in got
                assert record.headers == [("n", record.value.split()[1])]
                got[(record.partition, record.offset)] = (record.key, record.value)
    consumer.close()
    assert got == sent


def test_middle():
    """reading begins in the middle of a batch, and of a topic"""
    make("middle")
    with BROKER.client() as client:
        for first in range(0, 100, 10):
            values = [b"%d" % value for value in range(first, first + 10)]
            assert produce(client, "middle", 0, values) == (0, first)
        for offset in (0, 1, 9, 10, 55, 99):
            got = fetch(client, "middle", offset)
            assert got[2] == [b"%d" % value for value in range(offset, 100)], f"from {offset}"
        assert fetch(client, "middle", 100)[:3] == (0, 100, [])
        assert fetch(client, "middle", 101)[0] == OFFSET_OUT_OF_RANGE
        assert fetch(client, "middle", -1)[0] == OFFSET_OUT_OF_RANGE
        assert fetch(client, "middle", 0, partition=7)[0] == UNKNOWN_TOPIC_OR_PARTITION
    told = BROKER.kcat("-C", "-t", "middle", "-p", "0", "-o", "55", "-c", "3")
    assert told.split() == [b"55", b"56", b"57"], told


def test_bytes_max():
    """an answer keeps to its limit, but a first batch is always sent whole"""
    make("limited")
    with BROKER.client() as client:
        for _ in range(20):
            assert produce(client, "limited", 0, [b"x" * 1_000])[0] == 0
        whole = fetch(client, "limited", 0)[3]
        assert whole > 20_000
        got = fetch(client, "limited", 0, bytes_max=5_000)
        assert 0 < got[3] <= 5_000 and 0 < len(got[2]) < 20, got[3]
        got = fetch(client, "limited", 3, bytes_max=10)
        assert len(got[2]) == 1 and got[3] > 1_000, got[3]
    told = BROKER.kcat("-C", "-t", "limited", "-p", "0", "-e", "-o", "beginning", "-f", "%o\n",
                       "-X", "fetch.message.max.bytes=2000", "-X", "fetch.max.bytes=2000",
                       "-X", "message.max.bytes=1500")
    assert told.split() == [b"%d" % offset for offset in range(20)], told


def test_long_poll():
    """a fetch that waits gets a record when it is produced, and nothing when its time is up"""
    make("polled")
    with BROKER.client() as client, BROKER.client() as other:
        began = time.monotonic()
        assert fetch(client, "polled", 0, wait_ms=200, bytes_min=1)[:3] == (0, 0, [])
        assert time.monotonic() - began >= 0.19, "answered before its time"
        for partition in range(4):
            got = []
            waiter = threading.Thread(target=lambda p=partition, into=got: into.append(
                fetch(client, "polled", 0, wait_ms=50_000, bytes_min=1, partition=p)))
            waiter.start()
            time.sleep(0.1)
            assert not got
            began = time.monotonic()
            assert produce(other, "polled", partition, [b"news"])[0] == 0
            waiter.join(support.PATIENCE_S)
            assert got[0][2] == [b"news"]
            assert time.monotonic() - began < 10, "the news waited"


def test_abandoned_poll():
    """a client that leaves while its fetch waits takes nothing with it"""
    make("left")
    for _ in range(50):
        client = BROKER.client()
        client.send(FetchRequest[4](-1, 100_000, 1, 1 << 20, 0, [("left", [(0, 0, 1 << 20)])]))
        client.close()
    with BROKER.client() as client:
        assert produce(client, "left", 0, [b"still here"]) == (0, 0)
        assert fetch(client, "left", 0)[2] == [b"still here"]


def test_order():
    """answers leave in the order of the requests, a waiting fetch before a quick one included"""
    make("ordered")
    with BROKER.client() as client:
        client.send(FetchRequest[4](-1, 300, 1, 1 << 20, 0, [("ordered", [(0, 0, 1 << 20)])]))
        for value in range(20):
            client.send(ProduceRequest[7](
                None, -1, 30_000, [("ordered", [(1, support.batch([b"%d" % value]))])]))
        client.send(MetadataRequest[4](["ordered"], False))
        client.receive()
        for value in range(20):
            ((_, ((_, error, base, *_),)),) = client.receive().topics
            assert (error, base) == (0, value)
        assert client.receive().topics[0][1] == "ordered"


def test_acks():
    """acks=0 is answered with silence and kept, acks=1 as acks=all, any other is refused"""
    make("acked")
    with BROKER.client() as client:
        produce(client, "acked", 0, [b"zero"], acks=0)
        assert produce(client, "acked", 0, [b"one"], acks=1) == (0, 1)
        assert produce(client, "acked", 0, [b"all"], acks=-1) == (0, 2)
        assert produce(client, "acked", 0, [b"two"], acks=2)[0] == 21  # INVALID_REQUIRED_ACKS
        assert fetch(client, "acked", 0)[2] == [b"zero", b"one", b"all"]
    sent = b"".join(b"%d\n" % value for value in range(5_000))
    for acks in ("0", "1"):
        BROKER.kcat("-P", "-t", f"kept{acks}", "-X", f"acks={acks}", stdin=sent)
        # Nobody said that the records of acks=0 are there already.
        support.wait_until(lambda topic=f"kept{acks}": len(BROKER.everything(topic)) == 5_000,
                           f"the records of acks={acks}")


def test_too_large():
    """a batch above the limit is refused by the protocol's error, and the connection goes on"""
    make("large")
    with BROKER.client() as client:
        assert produce(client, "large", 0, [b"x" * 200_000])[0] == MESSAGE_TOO_LARGE
        assert produce(client, "large", 0, [b"fits"]) == (0, 0)
    producer = KafkaProducer(bootstrap_servers=BROKER.address, acks="all", retries=0)
    try:
        producer.send("large", b"x" * 200_000).get(support.PATIENCE_S)
    except KafkaError as failure:
        assert "MessageSizeTooLarge" in repr(failure), repr(failure)
    else:
        raise AssertionError("200,000 bytes were taken")
    finally:
        producer.close()


def test_pipelined_close():
    """a client that has sent everything and closes its side gets every answer"""
    make("half")
    with BROKER.client() as client:
        for value in range(10):
            client.send(ProduceRequest[7](
                None, -1, 30_000, [("half", [(0, support.batch([b"%d" % value]))])]))
        client.socket.shutdown(socket.SHUT_WR)
        for value in range(10):
            ((_, ((_, error, base, *_),)),) = client.receive().topics
            assert (error, base) == (0, value)
        assert client.is_closed()


if __name__ == "__main__":
    with BROKER:
        script.run(globals())
