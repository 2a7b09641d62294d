# SPDX-License-Identifier: Apache-2.0
"""Producers that remember what was acknowledged, and the check of what is left after a crash.

Every value is unique and is sent once, never again, so that a value that comes twice was doubled
by the broker. What was sent and not acknowledged may be there or not.
"""
import os
import random
import threading
import time

from broker import batch

from kafka.protocol.metadata import MetadataRequest
from kafka.protocol.produce import ProduceRequest

PARTITIONS = 4
PIPELINED = 4
MEMORY = 64  # wrong values that a message shows at most


def round_seed():
    seed = int(os.environ.get("WEIR_SEED", time.time_ns() % 1_000_000_007))
    print(f"seed {seed}", flush=True)
    return seed, random.Random(seed)


class Producers:
    def __init__(self, topic, chance, threads=3):
        self.topic = topic
        self.acknowledged = {}  # (partition, offset): value
        self.failures = 0       # connections that ended
        self.errors = 0         # answers that refused a batch
        self._seen = {}         # what the last check read
        self._threads = []
        self._count = threads
        self._chance = chance
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def start(self, broker, number):
        self._stopping.clear()
        with broker.client() as client:
            self._create(client)
        self._threads = [
            threading.Thread(target=self._run, daemon=True,
                             args=(broker.client(), f"{number}-{index}",
                                   random.Random(self._chance.random())))
            for index in range(self._count)]
        for thread in self._threads:
            thread.start()

    def _create(self, client):
        end = time.monotonic() + 30
        while True:
            answer = client.ask(MetadataRequest[4]([self.topic], True))
            topic = answer.topics[0]
            if topic[0] == 0 and len(topic[3]) == PARTITIONS:
                return
            assert time.monotonic() < end, f"no topic: {answer}"

    def let_run(self, seconds):
        """Runs so long, and until something was acknowledged."""
        before = len(self.acknowledged)
        time.sleep(seconds)
        end = time.monotonic() + 30
        while len(self.acknowledged) == before and time.monotonic() < end:
            time.sleep(0.01)

    def stop(self):
        self._stopping.set()
        self.join()

    def join(self):
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a producer hangs: its request was never answered"
        self._threads = []

    def _run(self, client, name, chance):
        waiting = []
        sent = 0
        try:
            while not self._stopping.is_set():
                while len(waiting) < PIPELINED:
                    values = []
                    for _ in range(chance.choice([1, 1, 3, 20, 200])):
                        values.append(b"%s-%d" % (name.encode(), sent)
                                      + b"x" * chance.choice([0, 10, 100, 900]))
                        sent += 1
                    partition = chance.randrange(PARTITIONS)
                    client.send(ProduceRequest[7](
                        None, -1, 30_000, [(self.topic, [(partition, batch(values))])]))
                    waiting.append(values)
                self._take(client, waiting.pop(0))
            while waiting:
                self._take(client, waiting.pop(0))
        except OSError:
            with self._lock:
                self.failures += 1
        finally:
            client.close()

    def _take(self, client, values):
        ((_, ((partition, error, base, *_),)),) = client.receive().topics
        with self._lock:
            if error != 0:
                self.errors += 1
                return
            for index, value in enumerate(values):
                known = self.acknowledged.setdefault((partition, base + index), value)
                assert known == value, f"offset {partition}/{base + index} was given twice"

    def check(self, found):
        """What is wrong with `found`, the records of all partitions: "" if nothing."""
        lost = [at for at, value in self.acknowledged.items() if found.get(at) != value]
        if lost:
            return f"{len(lost)} acknowledged records lost or changed: {sorted(lost)[:MEMORY]}"
        if len(set(found.values())) != len(found):
            return f"{len(found) - len(set(found.values()))} records doubled"
        # A consumer saw these after an earlier crash: they must stay, acknowledged or not.
        moved = [at for at, value in self._seen.items() if found.get(at) != value]
        if moved:
            return f"{len(moved)} records changed since they were read: {sorted(moved)[:MEMORY]}"
        self._seen = found
        return ""
