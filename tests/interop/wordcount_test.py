#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
"""weir-wordcount prints what wc -lwm prints in a UTF-8 locale, weir-uppercase what tr a-z A-Z does.
WEIR_WORDCOUNT_MB says how large the largest file is."""
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from xml.etree import ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import broker as support  # noqa: E402
import script  # noqa: E402

MEGABYTES = support.number("WEIR_WORDCOUNT_MB", 50)
SEED = support.number("WEIR_SEED", 1)
APPS = support.BUILD / "apps"


def program(name):
    path = APPS / name / f"weir-{name}"
    if not path.exists():
        raise script.Skip(f"{path.name} is not built")
    return str(path)


def wc(path):
    return subprocess.run(["wc", "-lwm", path], check=True, capture_output=True,
                          env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout


def agrees(content, name, *options):
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "text"
        path.write_bytes(content)
        said = subprocess.run([program("wordcount"), *options, str(path)], check=True,
                              capture_output=True).stdout
        assert said == wc(path), f"{name}, {options}: {said} and not {wc(path)}"


def small_blocks(content, name):
    for shards, block in ((1, 4), (2, 256), (3, 4)):
        agrees(content, name, "--shards", str(shards), "--block-kib", str(block))


def test_plain():
    """it agrees with wc on texts that are empty, end without a newline, or have only spaces"""
    for content in (b"", b"\n", b"x", b"no newline", b"two words\n", b" \t\v\f\r\n ",
                    b"a\x01b \x7f \x00 c\n", b"x" * 4096 + b" y", b"x" * 4095 + b" y"):
        small_blocks(content, content[:20])


def test_unicode():
    """characters, and spaces of several bytes, count the same wherever a block ends"""
    spaces = "\u00a0\u1680\u2003\u2007\u2028\u202f\u205f\u2060\u3000\u180e\u0085"
    text = "grün " + "".join(f"{space}x{space}{space}" for space in spaces)
    text += "日本語 🙂\U0010fffd e\u0301\ue000\u0378 "
    content = text.encode() * 100
    for shift in range(5):
        small_blocks(b"-" * (4090 + shift) + content, f"shifted by {shift}")


def test_invalid():
    """bytes that are not UTF-8 count as wc counts them"""
    for content in (b"\xff", b"a\xffb \xff c", b"\xc0\x80 \xe0\x80\x80 \xf0\x80\x80\x80",
                    b"\xed\xa0\x80 \xed\x9f\xbf", b"\xf4\x90\x80\x80 \xf7\xbf\xbf\xbf",
                    b"\xf8\x88\x80\x80\x80 \xfc\x84\x80\x80\x80\x80 \xfe\x80\x80\x80\x80\x80",
                    b"\xe2\x82", b"a \xf0\x90a", b"\xc3\xc3\xa9", b"\xf0\x9f\xe2\x82\xac"):
        for shift in (0, 4091, 4093, 4095):
            small_blocks(b"." * shift + content, (content, shift))


def test_random():
    """it agrees with wc on random bytes and on random pieces of text"""
    chosen = random.Random(SEED)
    print(f"seed {SEED}")
    pieces = [b" ", b"\n", b"word", b"\xc3\xa9", b"\xe2\x82\xac", b"\xf0\x9f\x99\x82",
              b"\xe2\x80\xa8", b"\xc2\xa0", b"\xe3\x80\x80", b"\xff", b"\x01", b"\xe2",
              b"\xf0\x9f", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80",
              b"plain text that is long enough to be taken in strides "]
    for _ in range(6):
        small_blocks(chosen.randbytes(chosen.randrange(60_000)), "random bytes")
        small_blocks(b"".join(chosen.choices(pieces, k=chosen.randrange(8_000))), "random pieces")


def test_large():
    """it agrees with wc on a large file, and from the standard input"""
    chosen = random.Random(SEED)
    block = "".join(chosen.choices(
        ["so ", "it ", "flows\n", "grüße ", "日本 ", "0123456789", "\t"], k=100_000)).encode()
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "large"
        with path.open("wb") as file:
            while file.tell() < MEGABYTES * 1_000_000:
                file.write(block)
        said = subprocess.run([program("wordcount"), str(path)], check=True,
                              capture_output=True).stdout
        assert said == wc(path), f"{said} and not {wc(path)}"
        numbers = said.split()[:3]
        support.shell(f'cat "{path}" | "{program("wordcount")}" >"{directory}/piped"')
        piped = (pathlib.Path(directory) / "piped").read_text().split()
        assert [each.encode() for each in piped] == numbers, f"{piped} and not {numbers}"
        with path.open() as file:
            given = subprocess.run([program("wordcount")], stdin=file, check=True,
                                   capture_output=True).stdout
        assert given.split() == numbers, f"{given} and not {numbers}"


def both(arguments, **how):
    """What wc and weir-wordcount make of the same command line."""
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    theirs = subprocess.run(["wc", "-lwm", *arguments], capture_output=True, env=env, **how)
    ours = subprocess.run([program("wordcount"), *arguments], capture_output=True, timeout=60,
                          **how)
    assert ours.stdout == theirs.stdout, f"{arguments}: {ours.stdout} and not {theirs.stdout}"
    assert ours.returncode == theirs.returncode, f"{arguments}: {ours} and {theirs}"
    said = theirs.stderr.replace(b"wc: ", b"weir-wordcount: ")
    assert ours.stderr == said, f"{arguments}: {ours.stderr} and not {said}"


def test_files():
    """several files, what is no file, and what can't be read are told as wc tells them"""
    with tempfile.TemporaryDirectory() as directory:
        folder = pathlib.Path(directory)
        (folder / "one").write_bytes(b"one two\nthree\n")
        (folder / "two").write_bytes("grün\n".encode() * 5000)
        (folder / "empty").write_bytes(b"")
        names = [str(folder / name) for name in ("one", "two", "empty")]
        both(names)
        both(names[:1])
        both([names[0], "-", names[1]], input=b"from a pipe\n")
        both(["-"], input=b"from a pipe\n")
        both([names[0], str(folder), names[1]])
        both([str(folder)])
        both([names[0], "/nowhere/file", names[1]])
        both(["/nowhere/file"])
        both([""])
        both([names[0], "", "-"], input=b"from a pipe\n")
        both(["/proc/cpuinfo", "/proc/filesystems"])
        if os.geteuid() != 0:
            (folder / "two").chmod(0)
            both(names)


def test_names():
    """names that are odd are told as wc tells them, in a line of counts and in an error"""
    names = ["a b", "it's", "it's \"so\"", "new\nline", "\nline", "line\n\n", "a'b\n\nc", "tab\tq",
             "#x", "x#", "~", "a~", "{", "{}", "a=b", "back\\slash", "@+,.]_%", "c:d", "$HOME", "*",
             "?", "[a]", "[a,b]", "[", "\x01[a]", "grün", "\x01\x7f", b"\xff\xc3", "\u0085", "!",
             "a;b&c|d<e>f", "`x`", "a^b", "(x)", "''", "it's: #1", "#it's", "it's {", "~'"]
    with tempfile.TemporaryDirectory() as directory:
        for name in names:
            path = os.path.join(os.fsencode(directory), os.fsencode(name))
            pathlib.Path(os.fsdecode(path)).write_bytes(b"one two\n")
            both([name], cwd=directory)
            os.unlink(path)
            both([name], cwd=directory)


def test_pipes_by_path():
    """a pipe that is opened by its path is read in order, whole"""
    numbers = b"".join(b"%d\n" % number for number in range(200_000))
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "fifo"
        os.mkfifo(path)
        writer = subprocess.Popen(["sh", "-c", f"seq 0 199999 >'{path}'"])
        said = subprocess.run([program("wordcount"), str(path)], capture_output=True, check=True,
                              timeout=60)
        assert writer.wait() == 0
        expected = [200_000, 200_000, len(numbers)]
        assert [int(each) for each in said.stdout.split()[:3]] == expected, said


def stopped(command, **how):
    """The status of a program that is asked to end while it waits."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, **how) as running:
        time.sleep(1)  # it waits for ever, so it is enough that it has begun
        assert running.poll() is None, running.stderr.read()
        running.terminate()
        try:
            return running.wait(timeout=30)
        finally:
            running.kill()


def test_signals():
    """SIGTERM ends what waits for a writer or a reader, and the status says so"""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "fifo"
        os.mkfifo(path)
        assert stopped([program("wordcount"), str(path)]) == 1, "nobody writes"
        silent = os.open(path, os.O_RDWR)
        assert stopped([program("wordcount"), str(path)]) == 1, "the writer is silent"
        os.close(silent)
    with open("/dev/zero", "rb") as endless:
        assert stopped([program("wordcount")], stdin=endless) == 1, "no end"
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless:
        assert stopped([program("uppercase")], stdin=endless.stdout,
                       stdout=subprocess.PIPE) == 1, "the reader is blocked"
        assert stopped([program("uppercase")], stdin=endless.stdout,
                       stdout=subprocess.DEVNULL) == 1, "no end"
        endless.kill()


def test_missing():
    """a file that is not there is named, and the exit status says so"""
    ended = subprocess.run([program("wordcount"), "/nowhere/file"], capture_output=True)
    assert ended.returncode == 1 and not ended.stdout
    assert ended.stderr == b"weir-wordcount: /nowhere/file: No such file or directory\n", ended


def test_full():
    """what a limit or a full device cuts off is told, and what was written is what came in"""
    numbers = b"".join(b"line %d\n" % number for number in range(30_000))
    with tempfile.TemporaryDirectory() as directory:
        (pathlib.Path(directory) / "in").write_bytes(numbers)
        limited = (f"trap '' XFSZ; ulimit -f 64; cd '{directory}'; "
                   f"exec '{program('uppercase')}' <in >out")
        ended = subprocess.run(["bash", "-c", limited], capture_output=True, timeout=60)
        written = (pathlib.Path(directory) / "out").read_bytes()
        assert ended.returncode == 1 and b"File too large" in ended.stderr, ended
        assert len(written) == 65536 and numbers.upper().startswith(written), len(written)
    for name in ("uppercase", "wordcount"):
        with open("/dev/full", "wb") as full:
            ended = subprocess.run([program(name)], input=b"a\n", stdout=full,
                                   stderr=subprocess.PIPE, timeout=60)
        assert ended.returncode == 1 and b"No space left on device" in ended.stderr, ended


def test_closed():
    """descriptors that are closed are told, as by wc and tr"""
    for command in (f"'{program('wordcount')}' <&-", f"'{program('uppercase')}' <&-",
                    f"echo a | '{program('uppercase')}' >&-", f"'{program('uppercase')}' <&- >&-"):
        ended = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)
        assert ended.returncode == 1 and b"Bad file descriptor" in ended.stderr, (command, ended)


def test_long_line():
    """a line may be as long as the option says, and a longer one is told"""
    line = b"x" * 3_000_000 + b"\n"
    ended = subprocess.run([program("uppercase")], input=line, capture_output=True, check=True)
    assert ended.stdout == line.upper()
    ended = subprocess.run([program("uppercase"), "--line-bytes-max", "1000000"], input=line,
                           capture_output=True)
    assert ended.returncode == 1 and b"longer than 1000000 bytes" in ended.stderr, ended


def test_uppercase():
    """uppercase keeps lines and their order"""
    lines = b"".join(b"line %d: gr\xc3\xbcn\n" % number for number in range(100_000))
    for shards in ("1", "2", "3"):
        ended = subprocess.run([program("uppercase"), "--shards", shards], input=lines, check=True,
                               capture_output=True)
        assert ended.stdout == lines.translate(
            bytes.maketrans(bytes(range(97, 123)), bytes(range(65, 91)))), f"{shards} shards"


def test_slow_blocks():
    """a block that takes long is nobody's concern: nothing is said of it"""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "zeros"
        with path.open("wb") as file:
            file.truncate(64 << 20)
        said = subprocess.run([program("wordcount"), "--block-kib", "16384", str(path)], check=True,
                              capture_output=True)
        assert said.stdout == wc(path) and not said.stderr, said


def test_broken_pipe():
    """a filter whose reader has gone ends by SIGPIPE, and says so where that is ignored, as tr"""
    for command in (["tr", "a-z", "A-Z"], [program("uppercase")]):
        for ignored in (False, True):
            with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless, subprocess.Popen(
                    ["sh", "-c", ("trap '' PIPE; " if ignored else "") + 'exec "$@"', "sh",
                     *command], stdin=endless.stdout, stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE) as running:
                assert running.stdout.readline() == b"Y\n"
                running.stdout.close()
                said = running.stderr.read()
                running.wait(timeout=60)
                endless.kill()
            assert running.returncode == (1 if ignored else -signal.SIGPIPE), (command, running)
            assert (b"Broken pipe" in said) == ignored, (command, said)


def test_posix():
    """with POSIXLY_CORRECT only what POSIX calls a space parts words"""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "text"
        path.write_text("a\u00a0b\u2007c\u202fd\u2060e f\u3000g\n", encoding="utf-8")
        for value in ("", "1"):
            environment = {**os.environ, "POSIXLY_CORRECT": value, "LC_ALL": "C.UTF-8"}
            theirs, ours = (subprocess.run([*command, str(path)], check=True, capture_output=True,
                                           env=environment).stdout
                            for command in (["wc", "-lwm"], [program("wordcount")]))
            assert ours == theirs, f"{ours} and not {theirs}"


def test_record():
    """what ran is recorded as one SVG file, with the names of the stages"""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "run.svg"
        subprocess.run([program("wordcount"), "--record", str(path), __file__], check=True,
                       capture_output=True)
        names = {each.text for each in ElementTree.parse(path).iter() if each.text}
        for stage in ("file", "lines", "words", "characters"):
            assert any(stage in name for name in names), f"no {stage} in {path.name}"
        nowhere = f"{directory}/none/run.svg"
        done = subprocess.run([program("wordcount"), "--record", nowhere, __file__], check=False,
                              capture_output=True)
        assert done.returncode == 1 and done.stdout == wc(__file__), done
        said = f"weir-wordcount: {nowhere}: No such file or directory\n"
        assert done.stderr.decode() == said, done.stderr


if __name__ == "__main__":
    script.run(globals())
