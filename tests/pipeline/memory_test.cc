// SPDX-License-Identifier: Apache-2.0
// When there is no memory: whichever allocation of a deployment fails, it ends, with everything or
// with std::bad_alloc, and nothing is left of it. On the simulator, which counts a host's blocks.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <pipeline/seeded.hh>

#include <weir/core/abort.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/core/sleep.hh>
#include <weir/io/sim/memory.hh>
#include <weir/pipeline/files.hh>
#include <weir/pipeline/generator.hh>
#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("pipeline/memory");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using namespace std::chrono_literals;
using weir::abort_source;
using weir::future;
using weir::sleep_for;

namespace {

namespace memory = weir::io::sim::memory;

constexpr unsigned shards = 3;
constexpr int length = 40;

// Long enough to lie in a block of its own.
std::string text_of(int i) {
    return fmt::format("the line of number {}, which has a block of memory of its own", i);
}

/// What is run, after its preparation: the latter finds memory.
struct attempt {
    std::function<future<>()> prepare = [] { return weir::make_ready_future(); };
    std::function<future<>()> run;
    /// returns  whether it has done all that it should; it ended well
    std::function<future<bool>()> complete;
};

struct outcome {
    std::string wrong;    // empty: nothing
    bool failed = false;  // an allocation did
};

/// Blocks of this host that its pools don't keep for the next.
std::int64_t blocks_used() {
    std::uint64_t used = memory::current()->blocks;
    for (weir::shard_id id = 0; id < weir::this_host().shard_count(); ++id) {
        used -= weir::this_host().at(id).pool().counters().blocks_kept;
    }
    return static_cast<std::int64_t>(used);
}

/// Runs it in a world of its own, where the allocations from `first` on to `first + times` fail.
outcome run_without(const attempt& what, std::uint64_t first, std::uint64_t times) {
    outcome result;
    result.wrong = weir::test::in_world(1 + first % 5, shards, [&]() -> future<std::string> {
        co_await what.prepare();
        co_await what.run();  // what grows once has grown
        co_await sleep_for(1ms);
        const std::int64_t before = blocks_used();
        memory::fail(first, times);
        std::string said;
        bool whole = false;
        try {
            co_await what.run();
            whole = true;
        } catch (const std::bad_alloc&) {
        } catch (const std::exception& other) {
            said = other.what();
        }
        result.failed = memory::stop_failing() != 0;
        co_await sleep_for(1ms);
        const std::int64_t left = blocks_used() - before - (said.size() > 15 ? 1 : 0);
        if (said.empty() && left != 0) {
            said = fmt::format("{} blocks are left", left);
        }
        if (said.empty() && !result.failed && !whole) {
            said = "it found no memory where there was some";
        }
        if (said.empty() && whole && !co_await what.complete()) {
            said = "it ended well and lacks something";
        }
        co_return said;
    });
    memory::stop_failing();
    return result;
}

/// Lets each allocation fail in turn, alone and with those that follow it, until none is left.
void ends_without_memory(const attempt& what) {
    for (const std::uint64_t times : {1, 6}) {
        std::uint64_t first = 0;
        for (bool more = true; more; ++first) {
            INFO("allocation ", first, " and ", times - 1, " more fail");
            const outcome result = run_without(what, first, times);
            more = result.failed;
            REQUIRE(result.wrong == "");
        }
        MESSAGE(first, " allocations");
        CHECK(first > 50);
    }
}

future<std::string> path_of(const char* name) {
    co_await weir::io::make_directories("/tmp/pipeline_memory");
    co_return std::string("/tmp/pipeline_memory/") + name;
}

std::vector<std::string> texts() {
    std::vector<std::string> all;
    for (int i = 0; i < length; ++i) {
        all.push_back(text_of(i));
    }
    return all;
}

}  // namespace

TEST_CASE("a file through a fanout, copies and futures: whatever allocation fails, it ends") {
    std::size_t seen = 0;
    attempt what;
    what.prepare = []() -> future<> {
        co_await run(from_list(texts()) >> id() >> lines_to_file(co_await path_of("lines")));
    };
    what.run = [&seen]() -> future<> {
        seen = 0;
        const auto text = map([](const auto& each) { return std::string(each.text()); });
        const auto longer = map([](const std::string& each) { return each + "!"; });
        const auto later = map_async(3, [](const auto& pair) -> future<std::string> {
            co_await sleep_for(3us);
            co_return pair.first + pair.second;
        });
        co_await run(file_lines(co_await path_of("lines"), {.read = {.buffer_bytes = 4096}}) >>
                         text >> fanout(shard<2>(longer), id()) >> later >>
                         for_each([&seen](const std::string& each) {
                             seen += each == text_of(int(seen)) + "!" + text_of(int(seen)) ? 1 : 0;
                         }),
                     {.capacity = 8, .polls = 2});
    };
    what.complete = [&seen]() -> future<bool> { co_return seen == length; };
    ends_without_memory(what);
}

TEST_CASE("a coroutine through keys, ranges and windows to a file: it ends too") {
    attempt what;
    what.run = []() -> future<> {
        const auto numbers = from_generator([](abort_source&) -> generator<int> {
            for (int i = 0; i < length; ++i) {
                if (i % 16 == 5) {
                    co_await sleep_for(5us);
                }
                co_yield i;
            }
        });
        const auto key = [](int i) { return static_cast<unsigned>(i) / 3; };
        co_await run(numbers >> shard_by<2>(key, fold(0, [](int&, int i) { return i; })) >>
                         flat_map([](int i) { return std::vector<std::string>{text_of(i)}; }) >>
                         window(3) >>
                         flat_map([](const std::vector<std::string>& some) { return some; }) >>
                         map_unordered(2,
                                       [](std::string each) -> future<std::string> {
                                           co_await weir::yield();
                                           co_return each;
                                       }) >>
                         lines_to_file(co_await path_of("lines")),
                     {.capacity = 4, .polls = 2});
    };
    what.complete = []() -> future<bool> {
        std::vector<std::string> lines;
        co_await run(file_lines(co_await path_of("lines")) >>
                     map([](const line& each) { return std::string(each.text()); }) >>
                     collect(lines));
        std::ranges::sort(lines);
        auto expected = texts();
        std::ranges::sort(expected);
        co_return lines == expected;
    };
    ends_without_memory(what);
}

TEST_CASE("blocks that are written where they lie: the same") {
    attempt what;
    what.prepare = []() -> future<> {
        co_await run(from_list(texts()) >> id() >> blocks_to_file(co_await path_of("from")));
    };
    what.run = []() -> future<> {
        co_await run(file_blocks(co_await path_of("from"), {.read = {.buffer_bytes = 4096}}) >>
                         map([](const block& each) { return std::string(each.text()); }) >>
                         blocks_to_file(co_await path_of("to")),
                     {.capacity = 2, .polls = 2});
    };
    what.complete = []() -> future<bool> {
        std::vector<std::string> blocks;
        co_await run(file_blocks(co_await path_of("to")) >>
                     map([](const block& each) { return std::string(each.text()); }) >>
                     collect(blocks));
        std::string whole;
        for (const std::string& each : texts()) {
            whole += each;
        }
        co_return blocks == std::vector<std::string>{whole};
    };
    ends_without_memory(what);
}

TEST_CASE("a program whose rings are too large fails, and leaves nothing, however far it came") {
    const std::string said = weir::test::in_world(1, shards, []() -> future<std::string> {
        struct page {
            std::byte bytes[4096];
        };
        const auto large = map([](int) { return page(); });
        const auto small = map([](const page&) { return 1; });
        std::string wrong = "it was deployed";
        try {
            co_await run(from_list(std::vector{1, 2, 3}) >> map([](int i) { return i; }) >> large >>
                             small >> discard(),
                         {.capacity = std::size_t(1) << 19});
        } catch (const std::bad_alloc&) {
            wrong = "";
        }
        co_return wrong;
    });
    CHECK(said == "");
}
