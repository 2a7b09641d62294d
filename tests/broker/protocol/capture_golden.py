#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes golden.hh: what real clients send, and answers as python3-kafka encodes them.

    cd tests/broker/protocol && /usr/bin/python3 capture_golden.py >golden.hh

A small server answers kcat and python3-kafka just well enough that they go on, and notes each
request frame; the fuzzers' corpus gets them too. It shares no code with weir: the answers are
python3-kafka's own.
"""
import pathlib
import socket
import struct
import subprocess
import sys
import threading

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.protocol.admin import ApiVersionResponse
from kafka.protocol.commit import GroupCoordinatorRequest, GroupCoordinatorResponse
from kafka.protocol.fetch import FetchRequest, FetchResponse
from kafka.protocol.metadata import MetadataRequest, MetadataResponse
from kafka.protocol.offset import OffsetRequest, OffsetResponse
from kafka.protocol.produce import ProduceRequest, ProduceResponse

RANGES = [(0, 0, 7), (1, 4, 11), (2, 1, 2), (3, 0, 4), (10, 0, 0), (18, 0, 3)]
TOPIC = "golden"


def encoded(message):
    """Keeps the message alive: encode() holds it only weakly."""
    return message.encode()


def answer_api_versions(version, _):
    if version < 3:
        return encoded(ApiVersionResponse[version](*([0, RANGES] + [0] * (version > 0))))
    rows = b"".join(struct.pack(">hhhB", *row, 0) for row in RANGES)  # each with no tags
    return struct.pack(">hB", 0, len(RANGES) + 1) + rows + struct.pack(">iB", 0, 0)


def answer_metadata(version, port):
    partitions = [(0, 0, 1, [1], [1])]
    if version == 0:
        return encoded(MetadataResponse[0]([(1, "127.0.0.1", port)], [(0, TOPIC, partitions)]))
    body = [[(1, "127.0.0.1", port, None)], 1, [(0, TOPIC, False, partitions)]]
    if version >= 2:
        body.insert(1, "cluster")
    if version >= 3:
        body.insert(0, 0)
    return encoded(MetadataResponse[version](*body))


def answer_produce(version, _):
    tail = {0: (), 1: (), 2: (-1,), 3: (-1,), 4: (-1,)}.get(version, (-1, 0))
    body = [[(TOPIC, [(0, 0, 42) + tail])]] + [0] * (version > 0)
    return encoded(ProduceResponse[version](*body))


def answer_fetch(version, _, records=b""):
    partition = (0, 0, 0, 0) + ((0,) if version >= 5 else ()) + (None,)
    partition += ((-1,) if version >= 11 else ()) + (records,)
    body = [0] + ([0, 0] if version >= 7 else []) + [[(TOPIC, [partition])]]
    return encoded(FetchResponse[version](*body))


def answer_list_offsets(version, _):
    body = [0] * (version >= 2) + [[(TOPIC, [(0, 0, -1, 0)])]]
    return encoded(OffsetResponse[version](*body))


def answer_find_coordinator(_, port):
    return encoded(GroupCoordinatorResponse[0](0, 1, "127.0.0.1", port))


ANSWERS = {0: answer_produce, 1: answer_fetch, 2: answer_list_offsets, 3: answer_metadata,
           10: answer_find_coordinator, 18: answer_api_versions}


def request_body(key, version, batch):
    """A request as python3-kafka encodes it, each number a different one."""
    if key == 0:
        body = [None] * (version >= 3) + [-1, 1500, [(TOPIC, [(3, batch)])]]
        return encoded(ProduceRequest[version](*body))
    if key == 1:
        partition = (3,) + ((9,) if version >= 9 else ()) + (77,)
        partition += ((5,) if version >= 5 else ()) + (4096,)
        body = [-1, 500, 1, 65536, 1] + ([11, 12] if version >= 7 else [])
        body += [[(TOPIC, [partition])]] + ([[]] if version >= 7 else [])
        return encoded(FetchRequest[version](*(body + (["rack"] if version >= 11 else []))))
    if key == 2:
        return encoded(OffsetRequest[version](*([-1] + [1] * (version >= 2)
                                                + [[(TOPIC, [(3, -2)])]])))
    if key == 3:
        return encoded(MetadataRequest[version](*([[TOPIC, "other"]] + [False] * (version >= 4))))
    if key == 10:
        return encoded(GroupCoordinatorRequest[0]("group"))
    return b""


class Server:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.seen = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            threading.Thread(target=self.serve, args=self.listener.accept()[:1],
                             daemon=True).start()

    def serve(self, connection):
        stream = connection.makefile("rb")
        while size := stream.read(4):
            frame = stream.read(struct.unpack(">i", size)[0])
            key, version, correlation = struct.unpack(">hhi", frame[:8])
            self.seen.append((key, version, frame))
            body = struct.pack(">i", correlation) + ANSWERS[key](version, self.port)
            connection.sendall(struct.pack(">i", len(body)) + body)


def capture(client, act):
    """The requests that `act(port)` causes, without repetitions."""
    server = Server()
    act(server.port)
    found = {}
    for key, version, frame in server.seen:
        found.setdefault((key, version, frame[8:]), frame)
    return [(client, key, version, frame) for (key, version, _), frame in sorted(found.items())]


def kcat(arguments, text=""):
    def act(port):
        subprocess.run(["kcat", "-b", f"127.0.0.1:{port}"] + arguments.split(), text=True,
                       input=text, timeout=20, check=True, stdout=subprocess.DEVNULL)
    return capture(f"kcat {arguments}", act)


def python_produce(port):
    producer = KafkaProducer(bootstrap_servers=f"127.0.0.1:{port}")
    producer.send(TOPIC, key=b"key", value=b"hello").get(10)
    producer.close()


def python_consume(port):
    consumer = KafkaConsumer(bootstrap_servers=f"127.0.0.1:{port}", consumer_timeout_ms=500)
    consumer.assign([TopicPartition(TOPIC, 0)])
    consumer.seek_to_beginning()
    list(consumer)
    consumer.close()


def print_rows(kind, rows):
    print(f"inline constexpr golden golden_{kind}[] = {{")
    for client, key, version, frame in rows:
        print(f'    {{"{client}", {key}, {version},')
        text = frame.hex()
        for at in range(0, len(text), 80):
            print(f'     "{text[at:at + 80]}"' + ("}," if at + 80 >= len(text) else ""))
        if not text:
            print('     ""},')
    print("};\n")


def write_corpus(requests):
    """Frames as they are, and the batches at the end of Produce requests."""
    corpus = pathlib.Path(__file__).resolve().parents[2] / "fuzz" / "corpus"
    for folder in ("frame", "batch"):
        (corpus / folder).mkdir(parents=True, exist_ok=True)
    for _, key, version, frame in requests:
        (corpus / "frame" / f"{key}-{version}-{len(frame)}").write_bytes(frame)
        if key == 0:  # behind the topic's name: two counts, an index and a length
            batch = frame[frame.index(TOPIC.encode()) + len(TOPIC) + 12:]
            (corpus / "batch" / f"codec-{batch[22] & 7}").write_bytes(batch)


def main():
    requests = (
        kcat("-L") + kcat(f"-P -t {TOPIC} -X acks=all", "hello") +
        [row for z in ("gzip", "snappy", "lz4", "zstd")
         for row in kcat(f"-P -t {TOPIC} -z {z}", "hello " * 200) if row[1] in (0, 10)] +
        kcat(f"-C -t {TOPIC} -e -q -o beginning") + kcat(f"-Q -t {TOPIC}:0:-1") +
        capture("python3-kafka KafkaProducer", python_produce) +
        capture("python3-kafka KafkaConsumer", python_consume))
    write_corpus(requests)
    batch = next(frame for client, key, _, frame in requests if key == 0)[-80:]
    versions = [(key, version) for key, first, last in RANGES
                for version in range(first, last + 1) if (key, version) != (18, 3)]
    bodies = [("python3-kafka", *each, request_body(*each, batch)) for each in versions]
    responses = [("python3-kafka", key, version,
                  answer_fetch(version, 0, batch) if key == 1 else ANSWERS[key](version, 9092))
                 for key, version in versions]
    print("// SPDX-License-Identifier: Apache-2.0\n#pragma once\n")
    print("// Written by capture_golden.py, with:")
    print("//", subprocess.getoutput("dpkg-query -W kcat librdkafka1 | tr '\\t\\n' ' '").strip())
    print("//", subprocess.getoutput("dpkg-query -W python3-kafka | tr '\\t' ' '"))
    print("\nnamespace weir::broker::protocol {\n")
    print("struct golden {\n    const char* source;\n    short key;\n    short version;\n"
          "    const char* hex;\n};\n")
    print("// clang-format off")
    print("/// Whole frames, without their length.")
    print_rows("requests", requests)
    print("/// Bodies, without a header.")
    print_rows("request_bodies", bodies)
    print_rows("response_bodies", responses)
    print("// clang-format on\n\n}  // namespace weir::broker::protocol")


if __name__ == "__main__":
    sys.exit(main())
