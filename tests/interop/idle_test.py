#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
"""What a broker costs that nobody uses, and that it needs no privilege. WEIR_IDLE_S says for how
long it is watched."""
import os
import pathlib
import pwd
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import broker as support  # noqa: E402
import script  # noqa: E402
from kafka.protocol.fetch import FetchRequest  # noqa: E402

IDLE_S = support.number("WEIR_IDLE_S", 4)
# Processor time, so that a busy machine doesn't count; the start's own work is left out.
CORE_SHARE = 0.01
RESIDENT_BYTES = 64 << 20


def watch(broker, what):
    time.sleep(0.5)
    began, used = time.monotonic(), broker.processor_s()
    time.sleep(IDLE_S)
    share = (broker.processor_s() - used) / (time.monotonic() - began)
    resident = broker.resident_bytes()
    print(f"{what}: {share * 100:.2f} % of a core, {resident / (1 << 20):.1f} MiB resident")
    # One tick of the kernel's clock is 10 ms: a quarter of a percent of four seconds.
    assert share < CORE_SHARE, f"{what} takes {share * 100:.2f} % of a core"
    assert resident < RESIDENT_BYTES, f"{what} holds {resident} bytes"


def test_idle():
    """an idle broker takes under 1 % of a core and under 64 MiB, with nothing and with clients"""
    support.need("kcat")
    with support.Broker("--shards", "2") as broker:
        watch(broker, "a fresh broker")
        broker.kcat("-P", "-t", "t", stdin=b"".join(b"%d\n" % value for value in range(50_000)))
        client = broker.client()
        end = broker.everything("t")
        client.send(FetchRequest[4](-1, 100_000, 1, 1 << 20, 0, [
            ("t", [(partition, sum(at[0] == partition for at in end), 1 << 20)
                   for partition in range(4)])]))
        watch(broker, "a broker with data and a waiting fetch")
        client.close()
        assert broker.stop() == 0


def test_unprivileged():
    """it runs as nobody, without a capability, with 8 MiB of locked memory"""
    if os.geteuid() != 0:
        raise script.Skip("becoming another user needs root")
    support.need("kcat", "setpriv", "prlimit")
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="nobody-", dir="/var/tmp") as directory:
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
        # A copy: the tree may lie where nobody may not go.
        program = pathlib.Path(directory) / "weir-broker"
        program.write_bytes(support.PROGRAM.read_bytes())
        program.chmod(0o755)
        with support.Broker("--shards", "2", directory=directory, program=program, prefix=[
                "prlimit", f"--memlock={8 << 20}:{8 << 20}", "setpriv",
                f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups",
                "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]) as broker:
            status = pathlib.Path(f"/proc/{broker.process.pid}/status").read_text("ascii")
            assert f"Uid:\t{nobody.pw_uid}\t" in status and "CapEff:\t0000000000000000" in status
            values = b"".join(b"%d\n" % value for value in range(10_000))
            broker.kcat("-P", "-t", "t", "-X", "acks=all", stdin=values)
            assert len(broker.everything("t")) == 10_000
            assert broker.stop() == 0
            broker.start()
            assert len(broker.everything("t")) == 10_000
            assert broker.stop() == 0
            assert not broker.lines("level=error"), broker.log()


if __name__ == "__main__":
    script.run(globals())
