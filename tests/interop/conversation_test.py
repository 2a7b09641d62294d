#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 900
"""The same conversations with Apache Kafka and with us, held against each other field by field.

Both brokers begin empty and hear the same requests in the same order, in each version that we
serve; answers are decoded by Kafka's own descriptions of its messages. Whatever differs must be a
row of ALLOWED, with its reason, and each row must be needed.
"""
import contextlib
import gzip
import os
import pathlib
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import apache_kafka  # noqa: E402
import broker as support  # noqa: E402
import ports  # noqa: E402
import script  # noqa: E402
from kafka.record.default_records import DefaultRecordBatchBuilder  # noqa: E402
from kafka.record.util import calc_crc32c  # noqa: E402

NODE = 1
EPOCH = 1_600_000_000_000  # of the records: long ago, so that no broker finds them ahead of it
EARLIEST, LATEST = -2, -1
CLOSED = "closes the connection"
SILENT = "says nothing"
SILENCE_S = 10
VERSIONS = {"Produce": range(3, 8), "Fetch": range(4, 12), "ListOffsets": range(1, 3),
            "Metadata": range(0, 5), "ApiVersions": range(0, 4)}

# (conversation and path, a regular expression; what Kafka says; what we say; reason). None: any.
ALLOWED = [
    (r"versions: ApiKeys\[(?!(0|1|2|3|10|18)\])\d+\].*", None, "(nothing)", "not served yet"),
    (r"versions: ApiKeys\[\d+\]\.MaxVersion", None, None, "newer versions are not served yet"),
    (r"versions: (Supported|Finalized)Features.*", None, "(nothing)", "there are none yet"),
    (r"another version of versions.*MaxVersion", None, None, "newer ones are not served yet"),
    (r"metadata.*: ClusterId", None, None, "each cluster has its own"),
    (r"fetch in session (0|77) 0: SessionId", None, 0, "sessions are not kept yet"),
    (r"fetch less than nothing: .*", None, None, "Kafka fails by an exception; we take it for 0"),
    (r"fetch with isolation 9: .*", None, None, "Kafka fails by an exception; we take it for 0"),
    (r"codec [57]: produce: .*ErrorCode", -1, 76, "Kafka fails by an exception"),
    (r"(gzip|zstd) that isn't: produce: .*ErrorCode", -1, 87, "Kafka fails by an exception"),
    (r"junk for records: produce: .*ErrorCode", -1, 87, "Kafka fails by an exception"),
    (r"a transactional batch: produce: .*ErrorCode", 53, 48, "there are no transactions yet"),
    (r".*: produce: .*LogStartOffset", 0, -1, "what is refused doesn't reach its partition"),
    (r"null: produce: .*", None, None, "Kafka fails by an exception, and never answers"),
    (r"gzip and bytes behind it: .*", None, None, "not every client's library can read it"),
    (r"a batch and half of one: .*", None, None, "Kafka takes the first, and loses the rest"),
    (r"produce twice to one: .*", None, None, "Kafka loses the first, and answers for one"),
    (r"a producer id( without a sequence)?: .*", None, None, "sequences are not checked yet"),
]


# Error codes, Kafka's and ours, that may differ for a batch that is refused either way.
ALLOWED_CODES = {
    (-1, 87): "Kafka fails by an exception",
    (-1, 76): "Kafka fails by an exception",
    (53, 48): "there are no transactions yet",
    (53, 76): "Kafka looks for transactions first",
    (53, 87): "Kafka looks for transactions first",
    (87, 59): "sequences are not checked yet",
}
# Kafka takes records whose offsets don't follow one another, and lengths below -1.
ALLOWED_OF_RECORDS = (0, 87)


class Side:
    """A broker under test: ours or Kafka."""

    def __init__(self, name, port, messages):
        self.name = name
        self.port = port
        self.messages = messages
        self._number = 0
        self._socket = None

    def connect(self):
        self.close()
        self._socket = socket.create_connection(("127.0.0.1", self.port), SILENCE_S)

    def close(self):
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _take(self, count):
        data = b""
        while len(data) < count:
            more = self._socket.recv(count - len(data))
            if not more:
                raise ConnectionError("closed")
            data += more
        return data

    def frame(self, body):
        """Sends a frame and returns the next answer's, or CLOSED or SILENT."""
        if self._socket is None:
            self.connect()
        try:
            self._socket.sendall(struct.pack(">i", len(body)) + body)
            return self._take(struct.unpack(">i", self._take(4))[0])
        except ConnectionError:
            self.close()
            return CLOSED
        except TimeoutError:
            self.close()
            return SILENT

    def ask(self, api, version, values, answered_as=None):
        """The answer as a dictionary, or CLOSED or SILENT. answered_as: the answer's version."""
        self._number += 1
        got = self.frame(self.messages.request(api, version, self._number, values))
        if got in (CLOSED, SILENT):
            return got
        number, answer = self.messages.answer(
            api, version if answered_as is None else answered_as, got)
        assert number == self._number, f"{self.name} answers {number} to {self._number}"
        return answer


def batch(values, codec="none", times=None, key=None):
    """A batch of records whose times are a second apart, if not given."""
    builder = DefaultRecordBatchBuilder(2, support.CODECS[codec], 0, -1, -1, -1, 1 << 30)
    for index, value in enumerate(values):
        at = EPOCH + 1000 * index if times is None else times[index]
        builder.append(index, at, key, value, [])
    return bytes(builder.build())


def changed(data, position, form, value, is_summed=True):
    """A batch with another value in its header, and with the checksum that goes with it."""
    data = bytearray(data)
    struct.pack_into(form, data, position, value)
    if is_summed:
        struct.pack_into(">I", data, 17, calc_crc32c(memoryview(data)[21:]))
    return bytes(data)


def with_body(data, body):
    """A batch whose records are other bytes."""
    out = bytearray(data[:61] + body)
    struct.pack_into(">i", out, 8, len(out) - 12)
    struct.pack_into(">I", out, 17, calc_crc32c(memoryview(out)[21:]))
    return bytes(out)


def packed(codec, data):
    """Some bytes as a codec's shortest way to say them uncompressed: no library is needed."""
    if codec == "snappy":
        return bytes([len(data) & 0x7F | 0x80, len(data) >> 7, 61 << 2]) + struct.pack(
            "<H", len(data) - 1) + data
    if codec == "lz4":
        return bytes.fromhex("04224d18604082") + struct.pack(
            "<I", len(data) | 1 << 31) + data + bytes(4)
    assert codec == "zstd"
    return bytes.fromhex("28b52ffd0058") + struct.pack("<I", len(data) << 3 | 1)[:3] + data


def compressed(codec, values):
    plain = batch(values)
    return changed(with_body(plain, packed(codec, plain[61:])), 21, ">h", support.CODECS[codec])


GOOD = batch([b"one", b"two", b"three"])
ZSTD = compressed("zstd", [b"z" * 100] * 20)
ZIPPED = batch([b"zipped %d" % number for number in range(50)], "gzip")
BATCHES = {
    "three records": GOOD,
    "gzip": ZIPPED,
    "snappy": compressed("snappy", [b"s" * 100] * 20),
    "lz4": compressed("lz4", [b"l" * 100] * 20),
    "times in disorder": batch([b"a", b"b", b"c"], times=[EPOCH + 9, EPOCH, EPOCH + 5]),
    "times in disorder, gzip": batch([b"a", b"b"], "gzip", times=[EPOCH + 9, EPOCH]),
    "a key": batch([b"v"], key=b"k"),
    "no value": batch([None], key=b"k"),
    "a negative time": batch([b"early"], times=[-5]),
    "time -1": batch([b"none"], times=[-1]),
    "a time of the year 3000": batch([b"late"], times=[32_503_680_000_000]),
    "a false largest time": changed(GOOD, 35, ">q", EPOCH + 500_000),
    "a false largest time, gzip": changed(ZIPPED, 35, ">q", EPOCH + 900_000),
    "a false first time": changed(GOOD, 27, ">q", EPOCH + 100_000),
    "log append time": changed(GOOD, 21, ">h", 8),
    "a control batch": changed(GOOD, 21, ">h", 0x20),
    "a transactional batch": changed(GOOD, 21, ">h", 0x10),
    "unknown attributes": changed(GOOD, 21, ">h", 0x100),
    "codec 5": changed(GOOD, 21, ">h", 5),
    "codec 7": changed(GOOD, 21, ">h", 7),
    "zstd that isn't": changed(GOOD, 21, ">h", 4),
    "gzip that isn't": changed(GOOD, 21, ">h", 1),
    "a count of one too many": changed(changed(GOOD, 57, ">i", 4), 23, ">i", 3),
    "a count that isn't the last delta": changed(GOOD, 57, ">i", 2),
    "a count of none": changed(changed(GOOD, 57, ">i", 0), 23, ">i", -1),
    "a negative count": changed(GOOD, 57, ">i", -3),
    "a huge count": changed(changed(GOOD, 57, ">i", 2**31 - 1), 23, ">i", 2**31 - 2),
    "a false last delta": changed(GOOD, 23, ">i", 7),
    "a base offset of 77": changed(GOOD, 0, ">q", 77),
    "a negative base offset": changed(GOOD, 0, ">q", -1),
    "a leader epoch of 9": changed(GOOD, 12, ">i", 9, False),
    "a bad checksum": changed(GOOD, 17, ">I", 12345, False),
    "magic 1": changed(GOOD, 16, ">b", 1, False),
    "magic 0": changed(GOOD, 16, ">b", 0, False),
    "magic 3": changed(GOOD, 16, ">b", 3, False),
    "a length that is too long": changed(GOOD, 8, ">i", len(GOOD), False),
    "a length that is too short": changed(GOOD, 8, ">i", 20, False),
    "a length below 0": changed(GOOD, 8, ">i", -1, False),
    "half a batch": GOOD[:40],
    "a few bytes": GOOD[:7],
    "a header without records": with_body(GOOD, b""),
    "junk for records": with_body(GOOD, b"\xff" * 40),
    "records and a byte behind them": with_body(GOOD, GOOD[61:] + b"\0"),
    "gzip and bytes behind it": with_body(ZIPPED, ZIPPED[61:] + b"junk"),
    "gzip of records and a byte": with_body(ZIPPED, gzip.compress(
        gzip.decompress(ZIPPED[61:]) + b"\0")),
    "two batches": GOOD + ZIPPED,
    "a batch and half of one": GOOD + GOOD[:50],
    "nothing": b"",
    "null": None,
    "attributes of a delete horizon": changed(GOOD, 21, ">h", 0x40),
    "a producer id": changed(changed(changed(GOOD, 43, ">q", 5), 51, ">h", 0), 53, ">i", 0),
    "a producer id without a sequence": changed(changed(GOOD, 43, ">q", 5), 51, ">h", 0),
    "a producer id of -2": changed(GOOD, 43, ">q", -2),
    "an epoch without a producer id": changed(GOOD, 51, ">h", 3),
    "a sequence without a producer id": changed(GOOD, 53, ">i", 3),
}


def headed_batch():
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 30)
    for index in range(3):
        builder.append(index, EPOCH, b"k", b"v", [("name", b"value"), ("null", None)])
    return bytes(builder.build())


TOPICS = ("plain", "odd", "twice", "zstd", *(f"batch-{number}" for number in range(len(BATCHES))))


HEADERS = headed_batch()


def produce(parts, acks=-1, transaction=None):
    """parts: {topic: [(partition, records)]}"""
    return {"TransactionalId": transaction, "Acks": acks, "TimeoutMs": 10_000,
            "TopicData": [{"Name": topic, "PartitionData": [
                {"Index": index, "Records": records} for index, records in each]}
                for topic, each in parts.items()]}


def fetch(parts, version, **more):
    """parts: {topic: [(partition, offset, bytes)]}"""
    values = {"ReplicaId": -1, "MaxWaitMs": 100, "MinBytes": 1, "MaxBytes": 1 << 20, **more,
              "Topics": [{"Topic": topic, "Partitions": [
                  {"Partition": index, "FetchOffset": offset, "PartitionMaxBytes": most}
                  for index, offset, most in each]} for topic, each in parts.items()]}
    return {name: value for name, value in values.items()
            if not (name in ("SessionId", "SessionEpoch") and version < 7)}


def offsets(parts):
    """parts: {topic: [(partition, time)]}"""
    return {"ReplicaId": -1, "Topics": [{"Name": topic, "Partitions": [
        {"PartitionIndex": index, "Timestamp": at} for index, at in each]}
        for topic, each in parts.items()]}


def metadata(names, version, may_create=False):
    values = {"Topics": None if names is None else [{"Name": name} for name in names]}
    return {**values, "AllowAutoTopicCreation": may_create} if version >= 4 else values


def conversations():
    """Yields (name, api, version, values); each is one request on both sides."""
    for version in VERSIONS["ApiVersions"]:
        yield "versions", "ApiVersions", version, (
            {"ClientSoftwareName": "a-client", "ClientSoftwareVersion": "1.0"}
            if version >= 3 else {})
    yield "versions, software without a name", "ApiVersions", 3, {}
    yield "versions, odd software", "ApiVersions", 3, {
        "ClientSoftwareName": "a b\n", "ClientSoftwareVersion": "-"}

    for version in VERSIONS["Metadata"]:
        yield "metadata of a topic", "Metadata", version, metadata(["plain"], version)
        yield "metadata of a topic twice", "Metadata", version, metadata(["plain"] * 2, version)
        yield "metadata of no topic", "Metadata", version, metadata([], version)
        if version >= 1:
            yield "metadata of all topics", "Metadata", version, metadata(None, version)
    yield "metadata of a missing topic", "Metadata", 4, metadata(["missing", "plain"], 4)
    for name in ("", ".", "..", "a/b", "a b", "ä", "x" * 250, "x" * 249, "a:b", "tab\t"):
        for may_create in (False, True):
            if may_create and len(name) == 249:
                continue
            yield f"metadata of {name[:5]!r} ({len(name)}), {may_create}", "Metadata", 4, (
                metadata([name], 4, may_create))

    for number, (name, data) in enumerate(BATCHES.items()):
        topic = f"batch-{number}"
        for version in VERSIONS["Produce"] if number < 3 else (3, 7):
            yield f"{name}: produce", "Produce", version, produce({topic: [(0, data)]})
        for at in (LATEST, EARLIEST, EPOCH, EPOCH + 1, EPOCH + 400_000):
            yield f"{name}: offset of {at}", "ListOffsets", 1, offsets({topic: [(0, at)]})
        yield f"{name}: fetch", "Fetch", 11, fetch({topic: [(0, 0, 1 << 20)]}, 11)
    yield "zstd: produce", "Produce", 3, produce({"zstd": [(0, ZSTD)]})
    yield "zstd: produce", "Produce", 7, produce({"zstd": [(0, ZSTD)]})
    yield "zstd: fetch", "Fetch", 9, fetch({"zstd": [(0, 0, 1 << 20)]}, 9)
    yield "zstd: fetch", "Fetch", 10, fetch({"zstd": [(0, 0, 1 << 20)]}, 10)
    yield "produce twice to one", "Produce", 7, produce({"twice": [(0, GOOD), (0, ZIPPED)]})
    yield "produce in a transaction", "Produce", 7, produce({"twice": [(1, GOOD)]}, -1, "tx")

    for version in VERSIONS["Produce"]:
        yield "produce to several", "Produce", version, produce(
            {"plain": [(0, GOOD), (1, BATCHES["a bad checksum"]), (7, GOOD), (-1, GOOD)],
             "missing": [(0, GOOD)], "bad/name": [(0, GOOD)], "": [(0, GOOD)]})
        yield "produce with acks 1", "Produce", version, produce({"plain": [(0, GOOD)]}, 1)
        yield "produce with acks 2", "Produce", version, produce({"plain": [(0, GOOD)]}, 2)
        yield "produce with acks -2", "Produce", version, produce({"plain": [(0, GOOD)]}, -2)
        yield "produce nothing", "Produce", version, produce({})
        yield "produce no partition", "Produce", version, produce({"plain": []})

    for version in VERSIONS["Fetch"]:
        for at in (0, 1, 3, 4, 1000, -1, 2**62):
            yield f"fetch from {at}", "Fetch", version, fetch(
                {"plain": [(0, at, 1 << 20)]}, version)
        yield "fetch several", "Fetch", version, fetch(
            {"plain": [(0, 0, 1 << 20), (1, 0, 1 << 20), (9, 0, 100), (-1, 0, 100)],
             "missing": [(0, 0, 100)], "": [(0, 0, 100)]}, version)
        yield "fetch a byte", "Fetch", version, fetch({"plain": [(0, 0, 1)]}, version)
        yield "fetch a byte of all", "Fetch", version, fetch(
            {"plain": [(0, 0, 1 << 20)]}, version, MaxBytes=1)
        yield "fetch no byte", "Fetch", version, fetch({"plain": [(0, 0, 0)]}, version, MaxBytes=0)
        yield "fetch less than nothing", "Fetch", version, fetch(
            {"plain": [(0, 0, -1)]}, version, MaxBytes=-1)
        yield "fetch nothing", "Fetch", version, fetch({}, version)
        yield "fetch committed", "Fetch", version, fetch(
            {"plain": [(0, 0, 1 << 20)]}, version, IsolationLevel=1)
        yield "fetch with isolation 9", "Fetch", version, fetch(
            {"plain": [(0, 0, 1 << 20)]}, version, IsolationLevel=9)
        if version >= 7:
            for session, epoch in ((0, 0), (77, 1), (77, 0), (77, -1), (0, 5), (0, -1)):
                yield f"fetch in session {session} {epoch}", "Fetch", version, fetch(
                    {"plain": [(0, 0, 100)]}, version, SessionId=session, SessionEpoch=epoch)
    yield "fetch as a replica", "Fetch", 11, fetch({"plain": [(0, 0, 100)]}, 11, ReplicaId=5)
    for epoch in (0, 5, -1, -2):
        values = fetch({"plain": [(0, 0, 100)]}, 11)
        values["Topics"][0]["Partitions"][0]["CurrentLeaderEpoch"] = epoch
        yield f"fetch in epoch {epoch}", "Fetch", 11, values
    for version in VERSIONS["ListOffsets"]:
        for at in (EARLIEST, LATEST, -3, -4, -5, -6, -7, 0, EPOCH, EPOCH + 1, EPOCH + 1000,
                   EPOCH + 30_500, EPOCH + 49_000, EPOCH + 49_001, EPOCH + 600_000, 2**62):
            yield f"offset of {at}", "ListOffsets", version, offsets(
                {"plain": [(0, at), (1, at)], "batch-1": [(0, at), (1, at)]})
        yield "offsets of several", "ListOffsets", version, offsets(
            {"plain": [(0, LATEST), (9, LATEST), (-1, LATEST)], "missing": [(0, LATEST)],
             "": [(0, LATEST)]})
        yield "offsets of one twice", "ListOffsets", version, offsets(
            {"plain": [(0, LATEST), (0, EARLIEST)]})
        yield "offsets of nothing", "ListOffsets", version, offsets({})


def whole_batches(data):
    """Records without what Kafka cuts in the middle of a batch, which readers leave alone."""
    at = 0
    while at + 12 <= len(data):
        following = at + 12 + struct.unpack_from(">i", data, at + 8)[0]
        if following > len(data):
            break
        at = following
    return data[:at]


KEYS = ("Name", "Topic", "ApiKey", "PartitionIndex", "Partition", "Index", "NodeId")


def flattened(value, path=""):
    """{path: value} of an answer. Lists of structures are by their key, since their order is
    nobody's business; of equal keys the order is that of the request."""
    if isinstance(value, dict):
        return {key: each for name, inner in value.items()
                for key, each in flattened(inner, f"{path}.{name}" if path else name).items()}
    if isinstance(value, list) and value:
        found = {}
        for index, inner in enumerate(value):
            key = index
            if isinstance(inner, dict):
                key = next((repr(inner[name]) for name in KEYS if name in inner), index)
            at = f"{path}[{key}]"
            while f"{at}: " in found:
                at += "'"
            found[f"{at}: "] = "there"
            found.update(flattened(inner, at))
        return found
    if isinstance(value, bytes):
        value = whole_batches(value)
    return {path: value.hex() if isinstance(value, bytes) else "[]" if value == [] else value}


def differences(kafka, ours):
    kafka, ours = flattened(kafka), flattened(ours)
    for path in sorted(kafka.keys() | ours.keys()):
        if kafka.get(path, "(nothing)") != ours.get(path, "(nothing)"):
            yield path, kafka.get(path, "(nothing)"), ours.get(path, "(nothing)")


def raw_frames():
    """Yields (name, frame, what answers it): what is no request, or not of a version served."""
    def header(key, version, rest=b""):
        return struct.pack(">hhih", key, version, 7, 1) + b"c" + rest
    yield "an unknown API", header(999, 0), None
    yield "a negative API", header(-1, 0), None
    for key in (0, 1, 2, 3, 10):
        for version in (99, -1, -32768):
            yield f"version {version} of {key}", header(key, version, b"\0" * 20), None
    for key, version in ((1, 3), (2, 0)):
        yield f"version {version} of {key}", header(key, version, b"\0" * 20), None
    for version in (9, 99, -1):
        yield f"another version of versions, {version}", header(18, version), ("ApiVersions", 0)
    yield "an empty frame", b"", None
    yield "half a header", header(3, 1)[:5], None
    yield "a header without a body", header(3, 1), None
    yield "no client's name", struct.pack(">hhihi", 3, 1, 7, -1, 0), ("Metadata", 1)
    yield "a client's name of -2", struct.pack(">hhihi", 3, 1, 7, -2, 0), ("Metadata", 1)
    yield "a client's name that isn't UTF-8", (
        header(3, 1)[:10] + b"\xff" + struct.pack(">i", 0)), ("Metadata", 1)
    for name, form, numbers, more in (
            ("a count beyond the frame", ">i", (1000,), b""),
            ("a huge count", ">i", (2**31 - 1,), b""),
            ("a count of -2", ">i", (-2,), b""), ("a length of -2", ">ih", (1, -2), b""),
            ("a length beyond the frame", ">ih", (1, 500), b"a"),
            ("a body and bytes behind it", ">i", (0,), b"more")):
        yield name, header(3, 1, struct.pack(form, *numbers) + more), ("Metadata", 1)


def odd_batch(choose):
    """(batch, whether in its records): a good one with something changed, and a true checksum."""
    base = choose.choice([GOOD, ZIPPED, BATCHES["snappy"], BATCHES["lz4"], ZSTD,
                          BATCHES["a key"], HEADERS])
    kind = choose.randrange(4)
    if kind == 0:  # a byte of the records
        at = choose.randrange(61, len(base))
        return changed(base, at, ">B", choose.choice([0, 1, 0x7F, 0x80, 0xFF, base[at] ^ 1])), True
    if kind == 1:  # another end
        body = base[61:]
        cut = choose.randrange(len(body) + 1)
        return with_body(base, body[:cut] + choose.randbytes(choose.choice([0, 0, 1, 9]))), True
    if kind == 2:  # counts that agree with each other, but not with the records
        count = choose.choice([1, 2, 4, 100, 2**31 - 1])
        return changed(changed(base, 57, ">i", count), 23, ">i", count - 1), False
    at, form = choose.choice([(23, ">i"), (27, ">q"), (35, ">q"), (43, ">q"), (51, ">h"),
                              (53, ">i"), (57, ">i"), (21, ">h")])
    bits = struct.calcsize(form) * 8
    value = choose.choice([0, 1, -1, -2, 2**(bits - 1) - 1, -2**(bits - 1),
                           choose.randrange(-2**(bits - 1), 2**(bits - 1))])
    return changed(base, at, form, value), False


@contextlib.contextmanager
def apache(messages):
    own = [ports.free_port(), ports.free_port()]
    with tempfile.TemporaryDirectory(prefix="kafka-") as folder:
        folder = pathlib.Path(folder)
        line = apache_kafka.command(apache_kafka.JARS, folder, own, NODE, heap="384m",
                                    more="num.partitions=2\nlog.retention.ms=-1\n")
        with (folder / "log").open("wb") as log, subprocess.Popen(
                line, stdout=log, stderr=subprocess.STDOUT, cwd=folder) as process:
            try:
                support.wait_until(lambda: answers(own[0], process, folder),
                                   "Apache Kafka to answer", 120)
                yield Side("Kafka", own[0], messages)
            finally:
                process.send_signal(signal.SIGKILL)


def answers(port, process, folder):
    assert process.poll() is None, (folder / "log").read_text("utf-8", "replace")[-3000:]
    time.sleep(0.2)
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def make(side, *topics):
    """Brings topics into being, and waits until each partition has a leader."""
    def are_there():
        got = side.ask("Metadata", 4, metadata(topics, 4, True))
        return got != CLOSED and all(
            each["ErrorCode"] == 0 and len(each["Partitions"]) == 2 and
            all(part["ErrorCode"] == 0 for part in each["Partitions"]) for each in got["Topics"])

    # A broker of Kafka's hears of its own partitions a little later.
    def are_led():
        got = side.ask("ListOffsets", 1, offsets({topic: [(0, LATEST), (1, LATEST)]
                                                  for topic in topics}))
        return got != CLOSED and all(part["ErrorCode"] == 0 for each in got["Topics"]
                                     for part in each["Partitions"])
    support.wait_until(are_there, f"{topics} at {side.name}")
    support.wait_until(are_led, f"leaders of {topics} at {side.name}")


def allowed(name, path, kafka, ours, used):
    for index, (pattern, theirs, own, _) in enumerate(ALLOWED):
        if re.fullmatch(pattern, f"{name}: {path}") and theirs in (None, kafka) and (
                own in (None, ours)):
            used.add(index)
            return True
    return False


SIDES = []
OPEN = contextlib.ExitStack()


def two_sides():
    """Kafka and us, both new with the first case that asks."""
    support.need()
    apache_kafka.need()
    if not SIDES:
        messages = apache_kafka.Messages()
        kafka = OPEN.enter_context(apache(messages))
        own = OPEN.enter_context(support.Broker("--node-id", NODE, "--partitions", 2))
        SIDES.extend([kafka, Side("weir", own.port, messages)])
        for side in SIDES:
            make(side, *TOPICS)
    return SIDES


def compare(name, both, used):
    """What differs between two answers to one request, but for what is allowed."""
    ports = tuple(side.port for side in SIDES)
    return [f"{name}: {path}: {theirs} | {mine}" for path, theirs, mine in differences(*both)
            if (theirs, mine) != ports and not allowed(name, path, theirs, mine, used)]


def none_of(found):
    assert not found, "Kafka | weir\n" + "\n".join(found)


def test_conversation():
    """what Apache Kafka answers is what we answer, field by field"""
    sides = two_sides()
    found = []
    used = set()
    for name, api, version, values in conversations():
        both = [side.ask(api, version, values) for side in sides]
        found += [f"{api} {version}, {each}" for each in compare(name, both, used)]
    for name, body, answered in raw_frames():
        both = [side.frame(body) for side in sides]
        if answered:
            both = [got if isinstance(got, str) else side.messages.answer(*answered, got)[1]
                    for side, got in zip(sides, both)]
        found += compare(name, both, used)
        for side in sides:
            side.close()
    none_of(found)
    stale = [row[0] for index, row in enumerate(ALLOWED) if index not in used]
    assert not stale, f"rows that nothing needs: {stale}"


def test_odd_batches():
    """batches with random changes are taken or refused as by Apache Kafka"""
    seed = support.number("WEIR_SEED", int.from_bytes(os.urandom(4), "big"))
    count = support.number("WEIR_ODD_BATCHES", 300)
    print(f"WEIR_SEED={seed} WEIR_ODD_BATCHES={count}")
    choose = random.Random(seed)
    found = []
    for number in range(count):
        data, in_records = odd_batch(choose)
        both = [side.ask("Produce", 7, produce({"odd": [(0, data)]})) for side in two_sides()]
        codes = tuple(each if isinstance(each, str) else
                      each["Responses"][0]["PartitionResponses"][0]["ErrorCode"] for each in both)
        if codes[0] != codes[1] and codes not in ALLOWED_CODES and not (
                in_records and codes == ALLOWED_OF_RECORDS):
            found.append(f"batch {number}, {data[:61].hex(' ', 4)}: {codes[0]} | {codes[1]}")
    none_of(found)


if __name__ == "__main__":
    with OPEN:
        script.run(globals())
