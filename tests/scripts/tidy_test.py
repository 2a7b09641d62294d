#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each rule of scripts/tidy.py fails on what it forbids and lets pass what is near to it."""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
import script  # noqa: E402
import tidy  # noqa: E402

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
HEADER = SPDX + "#pragma once\n"


def broken(files, allowed=None):
    return {(rule, path) for path, _, rule, _ in tidy.check(files, allowed or {})}


def rejects(rule, path, *snippets, prefix=None):
    prefix = (HEADER if path.endswith(".hh") else SPDX) if prefix is None else prefix
    for snippet in snippets:
        found = broken({path: prefix + snippet + "\n"})
        assert found == {(rule, path)}, f"{snippet!r} in {path}: {found}"


def accepts(path, *snippets, prefix=None):
    prefix = (HEADER if path.endswith(".hh") else SPDX) if prefix is None else prefix
    for snippet in snippets:
        found = broken({path: prefix + snippet + "\n"})
        assert not found, f"{snippet!r} in {path}: {found}"


def test_tree():
    """the tree is tidy"""
    problems = tidy.check(tidy.tree(ROOT))
    assert not problems, "\n".join(f"{p}:{n}: {rule}: {text}" for p, n, rule, text in problems)


def test_layers():
    """no layer includes one above it"""
    rejects("layers", "core/a.cc", "#include <weir/io/op.hh>")
    rejects("layers", "io/a.hh", "#include <weir/net/frame.hh>")
    rejects("layers", "net/a.cc", "#include <weir/pipeline/stage.hh>")
    rejects("layers", "apps/broker/protocol/a.cc", "#include <weir/io/file.hh>",
            "#include <apps/broker/server/dispatch.hh>")
    rejects("layers", "apps/broker/storage/a.cc", "#include <broker/server/dispatch.hh>")
    accepts("io/a.cc", "#include <weir/core/ring.hh>\n#include <weir/io/op.hh>\n#include <vector>")
    accepts("apps/kv/main.cc", "#include <weir/pipeline/machine.hh>")
    accepts("apps/broker/server/a.cc", "#include <broker/storage/log.hh>")
    accepts("apps/broker/main.cc", "#include <broker/server/dispatch.hh>")


def test_bans():
    """hidden state, clocks and chance are found, but not in comments and strings"""
    rejects("bans", "core/a.cc", "thread_local int x = 0;", "int s = std::random_device()();",
            "void f() {\n    auto t = std::chrono::steady_clock::now();\n}",
            "    std::uniform_int_distribution<int> d;", "int r = std::rand();",
            "int r = clock_gettime(CLOCK_REALTIME, &t);")
    accepts("core/a.cc", "// thread_local would hide this", "/* steady_clock::now() */",
            'const char* text = "thread_local";', "void known() { shard.clock().now(); }",
            'const char* text = R"(std::rand())";')


def test_mutable_static():
    """a variable that outlives its shard is found, constants and functions are not"""
    rejects("mutable_static", "core/a.cc", "static int count = 0;", "static std::vector<int> all;",
            "    static std::atomic<std::uint64_t> next{0};", "inline int count = 0;",
            "std::atomic<int> total{0};", "int total;", "static std::map<int, std::string> names;")
    accepts("core/a.cc", "static int count();", "static const int limit = 3;",
            "    static constexpr std::size_t line = 64;", "inline constexpr int depth = 16;",
            "    static error from_errno(std::string_view operation);", "struct a;",
            "static std::vector<int> all(const graph& g) {\n    return {};\n}", "using a = int;",
            "inline namespace v1 {", "int main() {\n    int local = 0;\n}", "static_assert(true);",
            "const std::error_category& category() noexcept;", "extern template class ring<int>;")


def test_pointer_order():
    """containers ordered or hashed by pointer are found"""
    rejects("pointer_order", "core/a.cc", "void f() {\n    std::map<task*, int> m;\n}",
            "void f(std::unordered_set<const task *>& s);",
            "void f(std::set<std::pair<int, int>*>& s);")
    accepts("core/a.cc", "void f(std::map<int, task*>& m);",
            "void f(std::unordered_map<std::pair<int, int>, task*>& m);")


def test_license():
    """the licence line comes first, after an interpreter line at most"""
    rejects("license", "core/a.cc", "int f();", prefix="")
    rejects("license", "scripts/a", "echo", prefix="#!/bin/bash\n")
    accepts("scripts/a", "# SPDX-License-Identifier: Apache-2.0", prefix="#!/bin/bash\n")


def test_headers():
    """headers say #pragma once, includes are in angles and the own header comes first"""
    rejects("headers", "core/a.hh", "int f();", prefix=SPDX)
    rejects("headers", "core/a.hh", "#include <hwloc.h>", "#include <boost/beast/http.hpp>")
    rejects("headers", "core/a.cc", '#include "ring.hh"')
    header = {"core/a.hh": HEADER}
    assert broken(header | {"core/a.cc": SPDX + "#include <vector>\n#include <weir/core/a.hh>\n"})
    assert not broken(header | {"core/a.cc": SPDX + "#include <weir/core/a.hh>\n"})
    accepts("core/a.cc", "#include <hwloc.h>")
    helper = {"tests/io/helper.hh": HEADER}
    assert not broken(helper | {"tests/io/a_test.cc": SPDX + '#include "helper.hh"\n'})


def test_namespace():
    """a library folder has its own namespace"""
    rejects("namespace", "io/a.cc", "namespace weir::net {", "namespace weir {")
    accepts("io/a.cc", "namespace weir::io::detail {", "namespace weir::io {", "namespace {")
    accepts("core/a.cc", "namespace weir {", "namespace weir::detail {")


def test_memory_order():
    """a memory order without a comment is found, relaxed needs none"""
    rejects("memory_order", "core/a.cc", "int f() {\n    a.load(std::memory_order_acquire);\n}")
    accepts("core/a.cc", "// Pairs with publish().\nint b = f(std::memory_order_acquire);",
            "void f() {\n    a.load(std::memory_order_relaxed);\n}")


def test_length():
    """files and lines have limits, longer ones in tests"""
    rejects("length", "core/a.cc", "// " + "x" * 100, "\n" * 500)
    accepts("core/a.cc", "// " + "x" * 97, "\n" * 498)
    accepts("tests/core/a_test.cc", "\n" * 700)
    rejects("length", "tests/core/a_test.cc", "\n" * 800)


def test_places():
    """paths of one machine and hosts that are not public are found"""
    rejects("places", "README.md", "cd /ho" + "me/me/weir", "see https:" + "//ci.internal/1",
            prefix="")
    accepts("README.md", "curl http://127.0.0.1:9644/metrics", "https://github.com/a/b",
            "ls net/work/flow ./work/x", prefix="")


def test_snippets():
    """a quoted snippet equals its code"""
    code = SPDX + "int f() {\n    // [run]\n    if (a) {\n        b();\n    }\n    // [/run]\n}\n"
    good = "<!-- snippet: apps/a/main.cc#run -->\n```cpp\nif (a) {\n    b();\n}\n```\n"
    assert not broken({"apps/a/main.cc": code, "README.md": good})
    for bad in (good.replace("b()", "c()"), good.replace("#run", "#walk"),
                good.replace("```cpp", "text")):
        assert broken({"apps/a/main.cc": code, "README.md": bad}) == {("snippets", "README.md")}


def test_way():
    """the files and functions on the way of a record exist"""
    source = {"net/socket.cc": SPDX + "void socket::accept() {\n}\n"}
    text = "## The way of a record\n1. `net/socket.cc` `accept()` takes the connection\n"
    assert not broken(source | {"README.md": text})
    for bad in (text.replace("accept()", "listen()"), text.replace("socket.cc", "plug.cc")):
        assert broken(source | {"README.md": bad}) == {("way", "README.md")}


def test_allowed():
    """an exception excuses one rule in one file, and a stale one is an error"""
    files = {"core/a.cc": SPDX + "thread_local int x = 0;\n"}
    assert not broken(files, {("bans", "core/a.cc"): "the one pointer"})
    assert broken(files, {("layers", "core/a.cc"): "?"}) == {
        ("bans", "core/a.cc"), ("allowed", "scripts/tidy.py")}


def test_covered():
    """every rule has a case here"""
    cases = {name.removeprefix("test_") for name in globals()}
    assert set(tidy.rules()) <= cases, set(tidy.rules()) - cases


script.run(dict(globals()))
