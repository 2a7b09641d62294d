#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
"""Each number on a command line of ours is taken for what it is, or refused by name."""
import concurrent.futures
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import broker as support  # noqa: E402
import script  # noqa: E402

SERVERS = {"broker": ["--dir", None, "--port", "0", "--admin", "off", "--shards", "1"],
          "hello": ["--port", "0", "--shards", "1"]}
SMALL = {"copying": ["--elements", "100"], "sleep": ["--elements", "2"]}
NO_NUMBERS = ("x", "1e3x", "nan", "inf", "", "0x10")
NO_WHOLE_NUMBERS = ("1.5", "99999999999999999999")
PLAIN_CLI11 = {"hello": NO_NUMBERS[:-2]}  # it shows what a program needs, and no more
AT_ONCE = 8  # a server that works is waited for, and costs nothing
EXTREMES = ("-1", "0", "18446744073709551615")


def apps():
    found = sorted(path for path in (support.BUILD / "apps").glob("*/weir-*") if path.is_file())
    if not found:
        raise script.Skip("no application is built")
    return found


def numbers(app):
    """The options of an application that take a number, as its help tells them."""
    said = subprocess.run([app, "--help"], capture_output=True, text=True, check=True,
                          timeout=60).stdout
    return re.findall(r"(?m)^ +(?:-\w,)?(--[a-z-]+) (UINT|INT|FLOAT)", said)


def run(app, option, value, wait_s):
    """What became of an application with one option: (status, stderr); None: it works on."""
    with tempfile.TemporaryDirectory() as folder:
        base = [folder if word is None else word for word in
                {**SERVERS, **SMALL}.get(app.parent.name, [])]
        if option in base:
            del base[base.index(option):base.index(option) + 2]
        with subprocess.Popen([app, *base, option, value], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True) as started:
            status = None
            try:
                said, _ = started.communicate(timeout=wait_s)
                status = started.returncode
            except subprocess.TimeoutExpired:
                started.terminate()
                try:
                    said, _ = started.communicate(timeout=30)
                except subprocess.TimeoutExpired:
                    started.kill()
                    raise AssertionError(f"{app.name} {option} {value} does not stop") from None
                assert started.returncode in (0, 1), (app.name, option, value, started.returncode)
            return status, said


def run_all(tries):
    """What became of each (app, option, value, wait_s), in their order; several at a time."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as threads:
        return list(zip(tries, threads.map(lambda each: run(*each), tries)))


def test_no_numbers():
    """what is no number is refused with the option's name, for each option of each application"""
    tries = [(app, option, value, 30) for app in apps() for option, kind in numbers(app)
             for value in (*PLAIN_CLI11.get(app.parent.name, NO_NUMBERS),
                           *(() if kind == "FLOAT" else NO_WHOLE_NUMBERS))]
    wrong = [f"{app.name} {option} '{value}': {status} {said[-200:]}"
             for (app, option, value, _), (status, said) in run_all(tries)
             if status is None or status <= 0 or option.lstrip("-") not in said]
    assert not wrong, "\n".join(wrong)
    assert len(tries) > 20, tries


def test_extremes():
    """negative numbers, 0 and the largest are refused by name or work, and never end in a crash"""
    tries = [(app, option, value, 1 if app.parent.name in SERVERS else 30)
             for app in apps() for option, _ in numbers(app) for value in EXTREMES]
    unsigned = {(app, option) for app in apps() for option, kind in numbers(app) if kind == "UINT"}
    wrong = []
    for (app, option, value, _), (status, said) in run_all(tries):
        name = option.removeprefix("--")
        named = name.replace("-", "_") in said or name.split("-")[0] in said
        refused = status is not None and 0 < status < 128 and named
        works = status == 0 or (status is None and app.parent.name in SERVERS)
        if not refused and (not works or (value == "-1" and (app, option) in unsigned)):
            wrong.append(f"{app.name} {option} {value}: {status} {said[-200:]}")
    assert not wrong, "\n".join(wrong)


def test_senseless():
    """what can never work, or is no option, is refused by name at the start"""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("typo", "prot = 1\n"), ("table", "[Limits]\nframe-bytes-max = 5\n")):
            (pathlib.Path(folder) / name).write_text(text, encoding="ascii")
        for named, *given in (("advertise", "--advertise", "a" * 32768 + ":1"),
                              ("advertise", "--advertise", "a b:1"),
                              ("admin", "--port", "31771", "--admin", "127.0.0.1:31771"),
                              ("node-id", "--node-id", "-1"),
                              ("connections-max", "--connections-max", "0"),
                              ("prot", "--config", f"{folder}/typo"),
                              ("Limits", "--config", f"{folder}/table")):
            said = support.Broker(directory=folder).refusal(*given, status=None)
            assert named in said, (given, said)


if __name__ == "__main__":
    script.run(globals())
