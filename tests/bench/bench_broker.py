#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# targets: apps/broker/weir-broker tests/bench/bench_broker_driver
"""The broker under a client on librdkafka: produce with acks=all, consume, ack latency at a fixed
rate, cold start, memory and idle. With --kafka, Apache Kafka does the same in turn with ours."""
import contextlib
import json
import os
import pathlib
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
import peers  # noqa: E402

DRIVER = peers.BUILD / "tests" / "bench" / "bench_broker_driver"
PATIENCE_S = 90
SIZES = (100, 1000)
CODECS = ("lz4", "zstd")  # of records of 1,000 bytes
RATES = (1000, 5000)
WARM_BYTES = 50_000_000
WARM_ACK_S = 1


def weir_command(options, folder, port):
    command = [peers.BUILD / "apps" / "broker" / "weir-broker", "--dir", folder / "data",
               "--port", port, "--admin", f"127.0.0.1:{peers.free_port()}", "--partitions", 1]
    return [str(word) for word in [*command, *(options.broker_options or "").split()]]


def kafka_command(options, folder, port):
    flush = "log.flush.interval.messages=1\n" if options.kafka_flush else ""
    return apache_kafka.command(options.kafka, folder, (port, peers.free_port()), more=flush)


def metadata_answered(port):
    """Asks for Metadata 4 of no topic; returns whether a broker was named in the answer."""
    body = struct.pack(">hhih5si?", 3, 4, 7, 5, b"bench", 0, False)
    with contextlib.suppress(OSError, struct.error):
        with socket.create_connection(("127.0.0.1", port), 1) as client:
            client.settimeout(PATIENCE_S)
            client.sendall(struct.pack(">i", len(body)) + body)
            got = b""
            while len(got) < 16:
                more = client.recv(4096)
                if not more:
                    return False
                got += more
            _, correlation, _, brokers = struct.unpack(">iiii", got[:16])
            return correlation == 7 and brokers > 0
    return False


class Broker:
    """A broker in a folder of its own, until the end of a with block."""

    def __init__(self, options, command_of, cpus):
        self._folder = tempfile.TemporaryDirectory(prefix="bench-broker-", dir=options.dir)
        folder = pathlib.Path(self._folder.name)
        self.port = peers.free_port()
        command = command_of(options, folder, self.port)
        self._log = open(folder / "log", "wb+")  # pylint: disable=consider-using-with
        self._client_cpus = options.client_cpus
        began = time.monotonic()
        self._process = subprocess.Popen(  # pylint: disable=consider-using-with
            peers.pinned(cpus, command) if cpus else command,
            stdout=self._log, stderr=subprocess.STDOUT)
        self.pid = self._process.pid
        while not metadata_answered(self.port):
            if self._process.poll() is not None or time.monotonic() > began + PATIENCE_S:
                log = self.log()
                self.__exit__()
                raise RuntimeError(f"{command} does not answer:\n{log}")
            time.sleep(0.001)
        self.cold_start_s = time.monotonic() - began

    def log(self):
        return (pathlib.Path(self._folder.name) / "log").read_text("utf-8", "replace")[-4000:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def cpu_s(self):
        """CPU time of the whole process, threads that are gone too; a tick is 10 ms."""
        text = pathlib.Path(f"/proc/{self.pid}/stat").read_text("ascii")
        user, system = text.rpartition(") ")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text("ascii")
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) * 1024

    def drive(self, verb, topic, *words):
        """Runs the driver; returns what it measured, and the broker's CPU seconds meanwhile."""
        command = [DRIVER, verb, f"127.0.0.1:{self.port}", topic, *words]
        command = [str(word) for word in command]
        if self._client_cpus:
            command = peers.pinned(self._client_cpus, command)
        before = self.cpu_s()
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S,
                              check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{command}: {done.stderr}\nthe broker's log:\n{self.log()}")
        return json.loads(done.stdout), self.cpu_s() - before


class Rows:
    """The figures of one broker's life, which are one run of each row."""

    def __init__(self, report, options, peer_name):
        self._report, self._options, self._peer_name = report, options, peer_name
        self._rows = {}

    def put(self, side, name, unit, better, value):
        name = f"broker.{name}"
        if name not in self._rows:
            self._rows[name] = self._report.add(name, unit, better, self._peer_name)
        getattr(self._rows[name], side).append(value)

    def stream(self, side, broker, size, codec=None):
        """Produces, then consumes what was produced. Figures are of records before compression."""
        records = self._options.megabytes * 1_000_000 // size
        topic = f"bench{size}{codec or ''}"
        for verb in ("produce", "consume"):
            more = [codec] if codec and verb == "produce" else []
            told, cpu_s = broker.drive(verb, topic, records, size, *more)
            case = f"{verb}.{size}.{codec}" if codec else f"{verb}.{size}"
            self.put(side, f"{case}.rate", "per_s", "higher", records / told["seconds"])
            self.put(side, f"{case}.throughput", "MB_per_s", "higher",
                     self._options.megabytes / told["seconds"])
            self.put(side, f"{case}.cpu_per_GB", "ms", "lower",
                     cpu_s * 1e3 / (self._options.megabytes / 1e3))
            self.put(side, f"{case}.cpu_per_M_records", "ms", "lower",
                     cpu_s * 1e3 / (records / 1e6))

    def warm(self, broker):
        """What is measured is a broker that has run a while: a JVM has compiled what is hot."""
        end = time.monotonic() + self._options.warm_seconds
        turn = 0
        while time.monotonic() < end:
            size = SIZES[turn % len(SIZES)]
            records = WARM_BYTES // size
            topic = f"warm{turn}"  # a new one, so that reading begins where writing began
            broker.drive("produce", topic, records, size)
            broker.drive("consume", topic, records, size)
            broker.drive("latency", topic, max(RATES), 1000, WARM_ACK_S, 0)
            turn += 1

    def latency(self, side, broker, rate):
        seconds = self._report.seconds
        told, cpu_s = broker.drive("latency", "latency", rate, 1000, seconds, seconds / 4)
        for figure in ("p50", "p99", "p999"):
            self.put(side, f"ack.{rate}.{figure}", "us", "lower", told[f"{figure}_us"])
        self.put(side, f"ack.{rate}.cpu_per_request", "us", "lower",
                 cpu_s * 1e6 / (rate * seconds))

    def life(self, side, command_of):
        wanted = self._report.wanted
        with Broker(self._options, command_of, self._options.broker_cpus) as broker:
            if wanted("broker.start"):
                self.put(side, "start.cold", "ms", "lower", broker.cold_start_s * 1e3)
                self.put(side, "start.rss", "bytes", "lower", broker.resident_bytes())
            if wanted("broker.idle"):
                time.sleep(1)  # what a start leaves behind is not idling
                # By the nanosecond: no thread ends here.
                before, began = peers.cpu_seconds(broker.pid), time.monotonic()
                time.sleep(2 * self._report.seconds)
                self.put(side, "idle.cpu_per_s", "ms", "lower",
                         (peers.cpu_seconds(broker.pid) - before) * 1e3
                         / (time.monotonic() - began))
            if any(wanted(f"broker.{each}") for each in ("produce", "consume", "ack")):
                self.warm(broker)
            for size in SIZES:
                if wanted(f"broker.produce.{size}") or wanted(f"broker.consume.{size}"):
                    self.stream(side, broker, size)
            for codec in CODECS:
                if any(wanted(f"broker.{verb}.1000.{codec}") for verb in ("produce", "consume")):
                    self.stream(side, broker, 1000, codec)
            for rate in RATES:
                if wanted(f"broker.ack.{rate}"):
                    self.latency(side, broker, rate)
            if wanted("broker.loaded"):
                self.put(side, "loaded.rss", "bytes", "lower", broker.resident_bytes())


def add_options(report):
    report.option("--megabytes", type=int, default=300, help="produced and consumed in a run")
    report.option("--warm-seconds", type=float, default=20,
                  help="load on a new broker before its first figure under load")
    report.option("--broker-cpus", metavar="LIST", help="CPUs of the broker, as taskset has them")
    report.option("--client-cpus", metavar="LIST", help="CPUs of the client")
    report.option("--broker-options", metavar="TEXT", help="more options for weir-broker")
    report.option("--dir", help="where the data goes; default: the system's temporary folder")
    report.option("--kafka", metavar="DIR", help="the peer is Apache Kafka, whose jars are in "
                  "DIR; scripts/bench fetches them if they are not")
    report.option("--kafka-flush", action="store_true",
                  help="Apache Kafka syncs before it acknowledges, as ours always does")


def main():
    report = peers.Report("broker", __doc__, seconds=2)
    add_options(report)
    options = report.parse()
    if options.kafka and not apache_kafka.is_there(options.kafka):
        sys.exit(f"broker: no java, or no jars of Apache Kafka in {options.kafka}")
    rows = Rows(report, options, "Apache Kafka" if options.kafka else "")
    report.alternate(lambda: rows.life("ours", weir_command),
                     (lambda: rows.life("peer", kafka_command)) if options.kafka else None)
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    report.note("Each run is a broker's whole life in an empty folder. acks=all, one partition,")
    report.note(f"after {options.warm_seconds:g} s of other load.")
    report.note("Ack latency of 1,000 B counts from when a record was due. CPU is the broker's.")
    report.note("idle.cpu_per_s: 10 ms are 1 % of a core."
                + (" Kafka syncs each append." if options.kafka_flush else
                   " Kafka acknowledges before it syncs." if options.kafka else ""))
    report.note(f"load of the machine at the end: {load}")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
