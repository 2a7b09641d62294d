// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>

#include <doctest/doctest.h>
#include <support/pipeline_app.hh>
#include <tests/support/both.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/sleep.hh>
#include <weir/core/when.hh>
#include <weir/io/file.hh>
#include <weir/io/sim/memory.hh>
#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("apps/support");

namespace {

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using apps::run_to_end;
using weir::future;
using weir::host;
using weir::sleep_for;
using weir::test::on_both;

/// Numbers up to `end`, or without an end, to a sink that counts them. Each takes a while.
program counting(int& count, int end = -1) {
    return generate([i = 0, end]() mutable {
               return i == end ? std::optional<int>() : std::optional(i++);
           }) >>
           map_async(2,
                     [](int i) -> future<int> {
                         co_await sleep_for(std::chrono::microseconds(100));
                         co_return i;
                     }) >>
           for_each([&count](int i) {
               CHECK(i == count);
               ++count;
           });
}

std::string file_of(const std::string& name) {
    const char* const folder = std::getenv("TMPDIR");
    return (std::filesystem::path(folder == nullptr ? "/tmp" : folder) / name).string();
}

}  // namespace

TEST_CASE("a program that ends by itself was not ended early, and its host is to stop") {
    on_both(
        [](host& own) -> future<> {
            int count = 0;
            CHECK(co_await run_to_end(counting(count, 50), {}));
            CHECK(count == 50);
            CHECK(own.stop_requested());
        },
        2);
}

TEST_CASE("a host that is asked to stop ends a source early, and what came of it is there") {
    on_both(
        [](host& own) -> future<> {
            int count = 0;
            future<bool> ended = run_to_end(counting(count), {});
            while (count < 20) {
                co_await sleep_for(std::chrono::milliseconds(1));
            }
            CHECK(!ended.available());
            own.request_stop();
            CHECK(!co_await std::move(ended));
            CHECK(count >= 20);
        },
        2);
}

TEST_CASE("a host that was asked to stop before runs nothing that has no end") {
    on_both(
        [](host& own) -> future<> {
            own.request_stop();
            int count = 0;
            CHECK(!co_await run_to_end(counting(count), {}));
        },
        2);
}

TEST_CASE("a program that fails says why, and its host is to stop all the same") {
    on_both([](host& own) -> future<> {
        std::string why;
        try {
            co_await run_to_end(from_list(std::vector<int>{1, 2, 3}) >> map([](int i) {
                                    return i < 3 ? i : throw std::runtime_error("three");
                                }) >>
                                    discard(),
                                {});
        } catch (const std::runtime_error& failure) {
            why = failure.what();
        }
        CHECK(why == "three");
        CHECK(own.stop_requested());
    });
}

TEST_CASE("a program that can't be deployed says why") {
    on_both([](host&) -> future<> {
        apps::pipeline_options options;
        options.deploy.capacity = 0;
        int count = 0;
        std::string why;
        try {
            co_await run_to_end(counting(count), options);
        } catch (const weir::error& failure) {
            why = failure.what();
        }
        CHECK(why.find("capacity 0") != std::string::npos);
    });
}

TEST_CASE("whichever allocation of its end fails, what doesn't stop is aborted in time") {
    for (std::uint64_t first = 0; first < 40; ++first) {
        weir::test::on_simulator(
            [first](host& own) -> future<> {
                using weir::this_shard;
                const auto waits = [](int i, weir::abort_source& stop) -> future<int> {
                    co_await sleep_for(std::chrono::hours(1), stop);
                    co_return i;
                };
                const weir::instant began = this_shard().now();
                future<bool> ended = run_to_end(
                    generate([] { return std::optional(1); }) >> map_async(2, waits) >> discard(),
                    {});
                co_await sleep_for(std::chrono::milliseconds(100));
                CHECK(!ended.available());
                own.request_stop();
                weir::io::sim::memory::fail(first, 1);
                co_await weir::settled(ended);
                weir::io::sim::memory::stop_failing();
                CHECK(ended.failed());
                std::move(ended).ignore();
                CHECK(this_shard().now() < began + std::chrono::minutes(1));
            },
            2, 1);
    }
}

TEST_CASE("what was asked for is recorded of a program that is ended early, too") {
    on_both(
        [](host& own) -> future<> {
            apps::pipeline_options options;
            options.watch.record = file_of("run_to_end.svg");
            options.stop_patience = std::chrono::seconds(10);  // for a full ring, on a slow world
            co_await weir::io::make_directories(
                std::filesystem::path(options.watch.record).parent_path());
            std::filesystem::remove(options.watch.record);  // of an earlier run, unless simulated
            int count = 0;
            future<bool> ended = run_to_end(counting(count), options);
            while (count < 5) {
                co_await sleep_for(std::chrono::milliseconds(1));
            }
            own.request_stop();
            CHECK(!co_await std::move(ended));
            CHECK(co_await weir::io::exists(options.watch.record));
        },
        2);
}
