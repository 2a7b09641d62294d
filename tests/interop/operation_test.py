#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 180
"""Starting, stopping, and starting otherwise."""
import pathlib
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import broker as support  # noqa: E402
import script  # noqa: E402
from kafka.protocol.fetch import FetchRequest  # noqa: E402
from kafka.protocol.metadata import MetadataRequest
from kafka.protocol.produce import ProduceRequest  # noqa: E402
from producers import Producers, round_seed  # noqa: E402

# Long, so that its end is no accident of a busy machine.
GRACE_S = 40

ASKED = 64  # so many of one connection are read before the first is answered


def test_shards():
    """the number of shards may change between two starts: the data stays"""
    support.need("kcat")
    with support.Broker("--shards", "1") as broker:
        assert broker.stop() == 0
        expected = {}
        for turn, shards in enumerate((1, 2, 1, 2)):
            broker.start("--shards", shards)
            for topic in ("one", "two"):
                found = broker.everything(topic) if turn else {}
                assert found == expected.get(topic, {}), f"{shards} shards: {topic} differs"
                broker.kcat("-P", "-t", topic, "-X", "acks=all",
                            stdin=b"".join(b"%d-%d\n" % (turn, value) for value in range(3_000)))
                expected[topic] = broker.everything(topic)
                assert len(expected[topic]) == 3_000 * (turn + 1)
            assert broker.stop() == 0, broker.log()


def test_stop_under_load():
    """SIGTERM under load: what is under way is answered, what was acknowledged is kept"""
    support.need("kcat")
    seed, random = round_seed()
    with support.Broker("--shards", "2", "--stop-grace", GRACE_S) as broker:
        producers = Producers("t", random)
        for each in range(support.number("WEIR_ROUNDS", 3)):
            producers.start(broker, each)
            producers.let_run(0.2)
            began = time.monotonic()
            assert broker.stop() == 0, broker.log()
            took = time.monotonic() - began
            producers.join()
            # An orderly stop cuts the files to what they hold, so that the start has no work.
            for path in broker.log_files("t"):
                assert support.walk(path)[3] == path.stat().st_size, f"{path} has a tail"
            broker.start()
            lost = producers.check(broker.everything("t"))
            assert not lost, f"seed {seed}, round {each}: {lost}"
            assert took < GRACE_S, f"the stop took {took:.1f} s: its grace ran out"
        assert broker.stop() == 0
        assert not broker.lines("level=error"), broker.log()


def test_stop_answers():
    """a stop answers the requests that it has read, a waiting fetch with what there is"""
    with support.Broker("--shards", "2", "--stop-grace", GRACE_S) as broker:
        Producers("t", None, threads=0).start(broker, 0)
        pipelined = broker.client()
        waiting = [broker.client() for _ in range(8)]
        for client in waiting:  # on both shards, for partitions of both
            for _ in range(ASKED):
                client.send(FetchRequest[4](-1, 200_000, 1, 1 << 20, 0, [
                    ("t", [(partition, 0, 1 << 20) for partition in (0, 2, 3)])]))
        # Answered means read: the ones behind it are on their way.
        for value in range(50):
            pipelined.send(ProduceRequest[7](
                None, -1, 30_000, [("t", [(1, support.batch([b"%d" % value]))])]))
        pipelined.receive()
        time.sleep(0.1)
        broker.process.send_signal(signal.SIGTERM)
        for value in range(1, 50):
            ((_, ((_, error, base, *_),)),) = pipelined.receive().topics
            assert (error, base) == (0, value)
        for client in waiting:
            for _ in range(ASKED):
                ((_, partitions),) = client.receive().topics
                for _, error, high, _, _, records in partitions:
                    assert (error, high, records) == (0, 0, b"")
            assert client.is_closed()
        assert pipelined.is_closed()
        began = time.monotonic()
        assert broker.process.wait(support.PATIENCE_S) == 0
        assert time.monotonic() - began < GRACE_S, "its grace ran out"


def test_one_directory():
    """a second broker on a directory is refused, and leaves the first alone"""
    support.need("kcat")
    with support.Broker() as broker:
        told = support.Broker(directory=broker.directory).refusal()
        assert str(broker.data) in told and "in use by another broker" in told, told
        broker.kcat("-P", "-t", "t", "-X", "acks=all", stdin=b"still here\n")
        broker.kill()
        broker.start()  # a lock doesn't outlive its holder
        assert list(broker.everything("t").values()) == [b"still here"]


def test_foreign_directory():
    """a directory that holds something else is refused, and nothing is written into it"""
    broker = support.Broker()
    broker.data.mkdir()
    (broker.data / "somebody's").write_text("work")
    told = broker.refusal()
    assert str(broker.data) in told and "meta.properties" in told, told
    assert [path.name for path in broker.data.iterdir()] == ["somebody's"]


def test_few_descriptors():
    """more partitions than there are descriptors take records, and give them back"""
    support.need("prlimit")
    partitions = 300
    with support.Broker("--partitions", partitions, "--shards", 2,
                        prefix=("prlimit", "--nofile=256")) as broker:
        with broker.client() as client:
            client.ask(MetadataRequest[4](["t"], True))
            for value in (b"first", b"second"):
                batch = support.batch([value])
                ((_, answers),) = client.ask(ProduceRequest[3](
                    None, -1, 60_000,
                    [("t", [(each, batch) for each in range(partitions)])])).topics
                assert not any(error for _, error, *_ in answers), answers
            for each in range(partitions):
                ((_, ((_, error, end, *_),)),) = client.ask(FetchRequest[4](
                    -1, 0, 0, 1 << 20, 0, [("t", [(each, 0, 1 << 16)])])).topics
                assert (error, end) == (0, 2), (each, error, end)
        assert not broker.lines("Too many open files")
        assert broker.stop() == 0


def test_port():
    """a port in use is told by its number, and the exit status"""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = support.Broker().refusal("--port", port)
        assert f"127.0.0.1:{port}" in told and "in use" in told, told


def test_options():
    """an option that makes no sense is told by its name"""
    for option, value in (("--port", "70000"), ("--shards", "-1"), ("--partitions", "0"),
                          ("--log-level", "loud"), ("--segment-bytes", "7")):
        told = support.Broker().refusal(option, value, status=None)
        assert option.strip("-").replace("-", "_") in told.replace("-", "_"), (option, told)


if __name__ == "__main__":
    script.run(globals())
