#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
"""kcat (librdkafka) writes and reads back with every codec; what lies on disk is Kafka's format,
compressed by the client and never touched. WEIR_RECORDS says how many records a codec gets."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import broker as support  # noqa: E402
import script  # noqa: E402

RECORDS = support.number("WEIR_RECORDS", 200_000)


def round_trip(codec):
    with support.Broker("--shards", "2") as broker:
        broker.kcat("-L")
        support.shell(
            'seq $RECORDS | kcat -P -b $AT -t t -z $CODEC -X acks=all\n'
            'kcat -C -b $AT -t t -e -q -o beginning | sort -n | cmp - <(seq $RECORDS)',
            RECORDS=RECORDS, AT=broker.address, CODEC=codec)
        # While it runs the files end in zeros, after a stop they end with the last batch.
        codecs, ends = support.walk_all(broker, "t")
        # librdkafka leaves a batch as it is when compressing it gains nothing.
        number = support.CODECS[codec]
        assert set(codecs) <= {0, number}, f"codecs {codecs} for {codec}"
        assert codecs[number] > RECORDS * 0.95, f"codecs {codecs} for {codec}"
        assert sum(ends.values()) == RECORDS, ends
        assert broker.stop() == 0
        assert support.walk_all(broker, "t", records=RECORDS <= 200_000) == (codecs, ends)
        for path in broker.log_files("t"):
            assert support.walk(path)[3] == path.stat().st_size, f"{path} has a tail"
        broker.start()
        support.shell("kcat -C -b $AT -t t -e -q -o beginning | sort -n | cmp - <(seq $RECORDS)",
                      RECORDS=RECORDS, AT=broker.address)
        assert not broker.lines("level=error"), broker.log()


def case(codec):
    def test():
        support.need("kcat")
        round_trip(codec)
    test.__doc__ = f"kcat's {codec} comes back whole and lies on disk as it was sent"
    return test


for each in support.CODECS:
    globals()[f"test_{each}"] = case(each)

if __name__ == "__main__":
    script.run(globals())
