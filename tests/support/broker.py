# SPDX-License-Identifier: Apache-2.0
"""A broker of its own for a test, and clients that are not ours to hold it against.

The raw client speaks through python3-kafka's message classes, so that requests and answers are
encoded by other people's code; where a test must send nonsense it writes the bytes itself.
"""
import collections
import os
import pathlib
import re
import select
import signal
import socket
import struct
import subprocess
import tempfile
import time

import script

try:
    from kafka.protocol.api import RequestHeader
    from kafka.record import MemoryRecords
    from kafka.record.default_records import DefaultRecordBatchBuilder
except ImportError:
    MemoryRecords = None

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("WEIR_BUILD", ROOT / "build"))
PROGRAM = BUILD / "apps" / "broker" / "weir-broker"
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
# Generous: it must hold on a machine where everything else runs at the same time.
PATIENCE_S = 60


def number(name, default):
    """A count that the environment may raise, as WEIR_ROUNDS=100 does."""
    return int(os.environ.get(name, default))


def need(*commands):
    for command in commands:
        found = subprocess.run(["bash", "-c", f"PATH=$PATH:/usr/sbin:/sbin; command -v {command}"],
                               capture_output=True, check=False)
        if found.returncode != 0:
            raise script.Skip(f"{command} is not installed")
    if MemoryRecords is None:
        raise script.Skip("python3-kafka is not installed")
    if not PROGRAM.exists():
        raise AssertionError(f"{PROGRAM} is not built")


def run(*command, stdin=None, timeout=PATIENCE_S * 5, **options):
    """Runs a command that must succeed; returns what it printed."""
    done = subprocess.run([str(part) for part in command], input=stdin, capture_output=True,
                          timeout=timeout, check=False, **options)
    assert done.returncode == 0, (
        f"{command}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def shell(text, timeout=PATIENCE_S * 5, **variables):
    """Runs a pipeline of bash in which each part must succeed."""
    return run("bash", "-c", "set -euo pipefail\n" + text, timeout=timeout,
               env={**os.environ, **{name: str(value) for name, value in variables.items()}})


def wait_until(condition, what, timeout_s=PATIENCE_S):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"waited {timeout_s} s for {what}"
        time.sleep(0.01)


class Broker:
    """One directory and the brokers that run on it, one after the other."""

    def __init__(self, *options, directory=None, prefix=(), program=PROGRAM):
        self._own = tempfile.TemporaryDirectory(prefix="broker-") if directory is None else None
        self.directory = pathlib.Path(self._own.name if self._own else directory)
        self.data = self.directory / "data"
        self.options = [str(option) for option in options]
        self.prefix = [*prefix, str(program)]
        self.process = None
        self.port = 0
        self.start_s = 0.0
        self._log_path = pathlib.Path(tempfile.mkstemp(suffix=".log")[1])

    def __enter__(self):
        return self.start()

    def __exit__(self, _, failure, *__):
        self.kill()
        if failure is not None and getattr(failure, "code", 1) != 0:
            print(f"the broker's log:\n{self.log()[-6000:]}")
        self._log_path.unlink(missing_ok=True)
        if self._own:
            self._own.cleanup()

    def command(self, *options):
        # Each has a value and may be given once only: the last one counts.
        pairs = ["--dir", self.data, "--admin", "off", "--port", "0", *self.options, *options]
        given = dict(zip(pairs[::2], pairs[1::2]))
        return [*self.prefix, "--no-pin", *[str(part) for pair in given.items() for part in pair]]

    def start(self, *options):
        """Starts it and waits until it says where it listens."""
        assert self.process is None
        began = time.monotonic()
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                self.command(*options), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=log)
        told = b""
        while not (found := re.search(rb"clients +[^ ]*:(\d+)\n", told)):
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
            more = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            if not more:
                status = self.process.poll()
                self.kill()
                raise AssertionError(f"no broker: status {status}, told {told!r}\n{self.log()}")
            told += more
        self.port = int(found[1])
        self.start_s = time.monotonic() - began
        return self

    def refusal(self, *options, status=1):
        """Starts it where it must not start: returns what it says as it ends."""
        done = subprocess.run(self.command(*options), capture_output=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=PATIENCE_S)
        is_right = done.returncode == status or (status is None and done.returncode > 0)
        assert is_right, f"exit {done.returncode}: {done.stdout!r} {done.stderr!r}"
        assert b"clients" not in done.stdout, done.stdout
        return done.stderr.decode()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def log(self):
        return self._log_path.read_text("utf-8", "replace")

    def lines(self, text):
        return [line for line in self.log().splitlines() if text in line]

    def kill(self):
        """kill -9, if it still runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def stop(self, timeout_s=PATIENCE_S):
        """Asks it to stop; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout_s)
        self.process.stdout.close()
        self.process = None
        return status

    def restart(self, *options):
        self.kill()
        return self.start(*options)

    def client(self, timeout_s=PATIENCE_S):
        return Client(self.port, timeout_s)

    def resident_bytes(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) * 1024

    def peak_resident_bytes(self):
        """The most since it started, or since clear_refs was told 5; 0 once it has ended."""
        path = pathlib.Path(f"/proc/{self.process.pid}/status")
        found = re.search(r"VmHWM:\s+(\d+) kB", path.read_text("ascii"))
        return int(found[1]) * 1024 if found else 0

    def processor_s(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text("ascii").split(") ")[1]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def kcat(self, *arguments, stdin=None):
        return run("kcat", "-b", self.address, "-q", *arguments, stdin=stdin)

    def everything(self, topic):
        """{(partition, offset): value} as kcat reads it, each once and in order."""
        found = {}
        last = {}
        for line in self.kcat("-C", "-t", topic, "-e", "-o", "beginning", "-f",
                              "%p %o %s\n").splitlines():
            partition, offset, value = line.split(b" ", 2)
            at = (int(partition), int(offset))
            assert at[1] == last.get(at[0], -1) + 1, f"{topic} {at} follows {last.get(at[0])}"
            last[at[0]] = at[1]
            found[at] = value
        return found

    def log_files(self, topic):
        return sorted(self.data.glob(f"{topic}-[0-9]*/*.log"))


class Client:
    """One connection. Requests may be pipelined: send() several, then receive() each."""

    def __init__(self, port, timeout_s=PATIENCE_S):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = 0
        self._asked = []
        self._bytes = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, request):
        self._number += 1
        # Named, because encode() holds its object by a weak reference only.
        header = RequestHeader(request, self._number, "weir-test")
        body = header.encode() + request.encode()
        self.socket.sendall(struct.pack(">i", len(body)) + body)
        if not (request.API_KEY == 0 and request.required_acks == 0):
            self._asked.append((self._number, request))

    def send_bytes(self, data):
        self.socket.sendall(data)

    def _take(self, count):
        while len(self._bytes) < count:
            more = self.socket.recv(1 << 20)
            if not more:
                raise ConnectionError("closed")
            self._bytes += more
        taken, self._bytes = self._bytes[:count], self._bytes[count:]
        return taken

    def receive_frame(self):
        return self._take(struct.unpack(">i", self._take(4))[0])

    def receive(self):
        frame = self.receive_frame()
        number_asked, request = self._asked.pop(0)
        got = struct.unpack(">i", frame[:4])[0]
        assert got == number_asked, f"answer {got} to request {number_asked}"
        return request.RESPONSE_TYPE.decode(frame[4:])

    def ask(self, request):
        self.send(request)
        return self.receive()

    def is_closed(self):
        """Waits for the end of the connection."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        return True


def batch(values, codec=0):
    """One record batch as python3-kafka builds it."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 30)
    now = int(time.time() * 1000)
    for index, value in enumerate(values):
        builder.append(index, now, None, value, [])
    return bytes(builder.build())


def batch_headers(data):
    """(base offset, bytes, attributes, last offset) of each batch, up to the end or to zeros."""
    at = 0
    while at + 61 <= len(data):
        base, length, _, magic, _, attributes, delta = struct.unpack_from(">qiibIhi", data, at)
        if length == 0:
            break
        assert magic == 2, f"magic {magic} at {at}"
        assert length > 0 and at + 12 + length <= len(data), f"length {length} at {at}"
        yield base, data[at:at + 12 + length], attributes, base + delta
        at += 12 + length
    assert not any(data[at:]), f"not zeros from {at} to {len(data)}"


def walk(path, records=False):
    """Holds a .log file against python3-kafka's reader: every CRC, offsets without a gap, and
    zeros behind the last batch. Returns (batches, records by codec, next offset, bytes)."""
    data = path.read_bytes()
    expected = int(path.stem)
    size = 0
    codecs = collections.Counter()
    for base, whole, attributes, last in batch_headers(data):
        assert base == expected, f"{path}: offset {base} where {expected} was due"
        expected = last + 1
        size += len(whole)
        codecs[attributes & 7] += last - base + 1
    count = 0
    reader = MemoryRecords(data[:size])
    while reader.has_next():
        each = reader.next_batch()
        assert each.validate_crc(), f"{path}: bad CRC in the batch at {each.base_offset}"
        if records and each.compression_type == 0:
            offsets = [record.offset for record in each]
            assert offsets == list(range(each.base_offset, each.base_offset + len(offsets)))
        count += 1
    return count, codecs, expected, size


def walk_all(broker, topic, records=False):
    """Walks every file of a topic; returns {codec: records} and {partition: next offset}."""
    codecs = collections.Counter()
    ends = {}
    for path in broker.log_files(topic):
        partition = int(path.parent.name.rpartition("-")[2])
        assert int(path.stem) == ends.get(partition, 0), f"{path} begins elsewhere"
        _, found, ends[partition], _ = walk(path, records)
        codecs += found
    assert ends, f"{topic} has no files"
    return codecs, ends
