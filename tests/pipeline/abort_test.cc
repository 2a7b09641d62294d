// SPDX-License-Identifier: Apache-2.0
// Whatever a pipeline waits for, it can be stopped.
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <tests/pipeline/failure.hh>
#include <tests/support/both.hh>

#include <weir/core/call.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>
#include <weir/core/sleep.hh>
#include <weir/core/when.hh>
#include <weir/pipeline/bytes.hh>
#include <weir/pipeline/generator.hh>
#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("pipeline/abort");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using std::chrono::hours;
using std::chrono::milliseconds;
using weir::abort_source;
using weir::future;
using weir::sleep_for;
using weir::test::on_both;

namespace {

auto endless() {
    return generate([i = 0]() mutable { return std::optional(i++); });
}

std::exception_ptr enough() {
    return std::make_exception_ptr(weir::error("run", "test", weir::errc::overloaded));
}

/// Aborts after a while.
/// returns  what join() ended with
future<std::string> aborted(deployment& run) {
    co_await sleep_for(milliseconds(2));
    co_await run.abort(enough());
    try {
        co_await run.join();
    } catch (const std::exception& why) {
        co_return why.what();
    }
    co_return "nothing";
}

const std::string reason = weir::error("run", "test", weir::errc::overloaded).what();

std::uint64_t disowned_of(const std::vector<stage_sample>& all) {
    std::uint64_t sum = 0;
    for (const stage_sample& each : all) {
        sum += each.counted.disowned;
    }
    return sum;
}

/// Takes nothing until it is stopped.
class deaf_writer final : public byte_writer {
  public:
    future<> write(std::span<const iovec>) override {
        _waits = {};
        return _waits.get_future();
    }
    void stop() noexcept override {
        if (_waits.open()) {
            _waits.set_failure(enough());
        }
    }
    future<> close() override { return weir::make_ready_future(); }

  private:
    weir::promise<> _waits;
};

}  // namespace

TEST_CASE("an abort ends a pipeline with its reason, wherever its stages are") {
    on_both(
        [](weir::host&) -> future<> {
            for (const auto how : {placement::policy::spread, placement::policy::pack}) {
                for (const bool fuse : {false, true}) {
                    const auto run = co_await deploy(
                        endless() >> fanout(map([](int i) { return i; }), id()) >>
                            flat_map([](const auto& p) { return std::vector<int>(3, p.first); }) >>
                            discard(),
                        {.where = {.how = how}, .capacity = 16, .fuse = fuse});
                    CHECK(co_await aborted(*run) == reason);
                    const auto loop =
                        co_await deploy(endless() >> map([](int i) { return i; }) >> discard(),
                                        {.where = {.how = how}, .fuse = fuse});
                    CHECK(co_await aborted(*loop) == reason);
                }
            }
        },
        2);
}

TEST_CASE("futures that take an abort source are told of an abort, and waited for") {
    on_both(
        [](weir::host&) -> future<> {
            int ended = 0;
            const auto run = co_await deploy(
                endless() >> map_async(4,
                                       [&ended](int i, abort_source& stop) -> future<int> {
                                           future<> waited = sleep_for(hours(1), stop);
                                           co_await weir::settled(waited);
                                           std::move(waited).ignore();
                                           ++ended;
                                           co_return i;
                                       }) >>
                discard());
            CHECK(co_await aborted(*run) == reason);
            CHECK(ended == 4);
            CHECK(disowned_of(co_await run->sample()) == 0);
        },
        2);
}

TEST_CASE("what is tried again or skipped is told of an abort, too, and then tried no more") {
    on_both(
        [](weir::host&) -> future<> {
            int begun = 0;
            int letters = 0;
            const auto waits = [&begun](int i, abort_source& stop) -> future<int> {
                ++begun;
                co_await sleep_for(hours(1), stop);
                co_return i;
            };
            const auto letter = [&letters](int, const std::exception_ptr&) { ++letters; };
            const auto ends = [&](auto what) -> future<> {
                const auto run = co_await deploy(endless() >> what >> discard());
                CHECK(co_await aborted(*run) == reason);
                CHECK(disowned_of(co_await run->sample()) == 0);
            };
            co_await ends(retry(1'000'000, map_async(4, waits)));
            co_await ends(skip(map_async(4, waits), letter));
            co_await ends(skip(retry(3, map_unordered(4, waits)), letter));
            CHECK(begun == 12);
            CHECK(letters == 0);
        },
        2);
}

TEST_CASE("what an abort ends is no dead letter, on many shards and wherever it meets the stages") {
    on_both(
        [](weir::host&) -> future<> {
            std::atomic<int> letters = 0;
            const auto waits = [](int i, abort_source& stop) -> future<int> {
                if (i >= 100) {
                    co_await sleep_for(hours(1), stop);
                }
                co_return i;
            };
            const auto letter = [&letters](int, const std::exception_ptr&) { ++letters; };
            for (int round = 0; round < 100; ++round) {
                std::atomic<int> seen = 0;
                const auto run = co_await deploy(endless() >> skip(map_async(8, waits), letter) >>
                                                 for_each([&seen](int) { ++seen; }));
                while (seen < 100) {
                    co_await sleep_for(std::chrono::microseconds(200));
                }
                CHECK(co_await aborted(*run) == reason);
            }
            CHECK(letters == 0);
        },
        4);
}

TEST_CASE("a future that fails for ever is not tried again after an abort") {
    on_both([](weir::host&) -> future<> {
        int calls = 0;
        const auto fails = [&calls](int) -> future<int> {
            ++calls;
            co_await sleep_for(milliseconds(1));
            throw std::runtime_error("never");
        };
        const auto run =
            co_await deploy(endless() >> retry(1'000'000'000, map_async(1, fails)) >> discard(),
                            {.abort_grace = std::chrono::seconds(10)});
        while (calls < 3) {
            co_await sleep_for(milliseconds(1));
        }
        CHECK(co_await aborted(*run) == reason);
        CHECK(disowned_of(co_await run->sample()) == 0);
    });
}

TEST_CASE("a future that takes no abort source is disowned after a grace, its element stays") {
    on_both(
        [](weir::host&) -> future<> {
            struct looks {  // of another shard, which goes on beside us
                std::atomic<std::size_t> count{0};
                std::atomic<std::size_t> right{0};
            };
            auto looked = std::make_shared<looks>();
            const std::string text(60, 'x');
            for (const bool ordered : {true, false}) {
                looked->count = looked->right = 0;
                const auto late = [looked, text](const std::string& each) -> future<std::string> {
                    co_await sleep_for(milliseconds(60));
                    looked->right += each == text ? 1 : 0;  // it has to be there
                    ++looked->count;
                    co_return each;
                };
                const deploy_options options{.capacity = 4, .abort_grace = milliseconds(5)};
                const auto texts = generate([text] { return std::optional(text); });
                auto run =
                    ordered
                        ? co_await deploy(texts >> map_async(3, late) >> discard(), options)
                        : co_await deploy(texts >> map_unordered(3, late) >> discard(), options);
                CHECK(co_await aborted(*run) == reason);
                CHECK(looked->count == 0);
                CHECK(disowned_of(co_await run->sample()) == 3);
                run.reset();
                while (looked->count < 3) {
                    co_await sleep_for(milliseconds(5));
                }
                CHECK(looked->right == 3);
            }
            co_await sleep_for(milliseconds(20));  // what was disowned goes
        },
        2);
}

TEST_CASE("sources and sinks that wait are told of an abort") {
    on_both(
        [](weir::host&) -> future<> {
            const auto silent = from_generator([](abort_source& stop) -> generator<int> {
                co_yield 1;
                co_await sleep_for(hours(1), stop);
            });
            const auto run = co_await deploy(silent >> map([](int i) { return i; }) >> discard());
            CHECK(co_await aborted(*run) == reason);
            const auto texts = generate([] { return std::optional(std::string("text")); });
            const auto deaf = [] { return std::make_unique<deaf_writer>(); };
            const auto lines = co_await deploy(texts >> lines_to("deaf", deaf));
            CHECK(co_await aborted(*lines) == reason);
            const auto blocks = co_await deploy(texts >> blocks_to("deaf", deaf));
            CHECK(co_await aborted(*blocks) == reason);
        },
        2);
}

TEST_CASE("an abort after the end, or a second one, changes nothing; join() says the same again") {
    on_both(
        [](weir::host&) -> future<> {
            const auto run = co_await deploy(from_list(std::vector<int>{1}) >> discard());
            co_await run->join();
            co_await run->abort(enough());
            co_await run->join();
            const auto endless_run = co_await deploy(endless() >> discard());
            co_await endless_run->abort();
            co_await endless_run->abort(enough());
            for (int i = 0; i < 2; ++i) {
                try {
                    co_await endless_run->join();
                    CHECK(false);
                } catch (const weir::error& why) {
                    CHECK(why.is(weir::errc::aborted));
                }
            }
        },
        2);
}

TEST_SUITE_END();
