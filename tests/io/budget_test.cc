// SPDX-License-Identifier: Apache-2.0
// The rules of the budget, on a backend whose operations the test completes by hand.
#include <atomic>
#include <cerrno>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include <doctest/doctest.h>
#include <tests/support/bare_host.hh>

#include <weir/core/error.hh>
#include <weir/io/budget.hh>

using namespace weir;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t operation_cost = 16 << 10;

/// Keeps what was started, in order.
class held_backend final : public io::backend {
  public:
    explicit held_backend(const io::budget_options& options) : backend(options) {}
    void start(io::operation& work) noexcept override { started.push_back(&work); }
    void cancel(io::operation&) noexcept override {}
    void close_now(int) noexcept override {}
    void release(const io::lent_buffer&) noexcept override {}
    instant now() noexcept override { return {}; }
    wall_clock_ms wall_now() noexcept override { return 0; }
    unsigned poll() override { return 0; }
    void submit() override {}
    void park(instant) override {}
    void wake(poller&) override {}
    void interrupt() noexcept override {}
    void begin_slice() noexcept override {}
    bool preempt(bool) noexcept override { return false; }
    const std::atomic<std::uint32_t>* completions_word() const noexcept override { return &_word; }
    std::uint32_t completions_mask() const noexcept override { return 0; }
    void run_blocking(blocking_work&) noexcept override {}
    std::uint64_t random() noexcept override { return 0; }

    std::deque<io::operation*> started;

  private:
    std::atomic<std::uint32_t> _word{0};
};

class test_read final : public io::data_operation {
  public:
    test_read(io::budget& from, unsigned group, std::uint64_t number, std::size_t bytes,
              bool direct)
        : data_operation(io::op::read{}), group(group), number(number), _from(from) {
        _part.iov_len = bytes;
        what = io::op::read{3, 0, &_part, 1, direct};
    }
    void complete(const io::completion& outcome) noexcept override {
        _from.finished(*this);
        result = outcome.result;
        ++completions;
    }
    std::uint64_t cost() const noexcept { return _part.iov_len + operation_cost; }

    const unsigned group;
    const std::uint64_t number;
    int completions = 0;
    int result = 0;

  private:
    io::budget& _from;
    iovec _part{};
};

io::budget_options small_window() {
    io::budget_options options;
    options.operation_cost = operation_cost;
    options.window_min = options.window_max = 128 << 10;  // four operations of 16 KiB
    options.copied_bytes_max = 1 << 30;
    return options;
}

/// A shard with groups 0 to 3, of 1000, 1000, 2000 and 3000 I/O shares, and a backend.
struct bed {
    explicit bed(const io::budget_options& options = small_window()) : backend(options) {
        scheduler& groups = this_shard().scheduler();
        groups.define({1}, "one", 1000);
        groups.define({2}, "two", 500, 2000);
        groups.define({3}, "three", 3000);
    }
    test_read& start(unsigned group, std::size_t bytes = 16 << 10, bool direct = false) {
        operations.push_back(
            std::make_unique<test_read>(backend.budget(), group, operations.size(), bytes, direct));
        this_shard().set_context({{static_cast<std::uint8_t>(group)}, 0});
        backend.budget().start(*operations.back());
        this_shard().set_context({});
        return *operations.back();
    }
    /// The one of those in flight that was started first, or that of a place.
    test_read& complete(std::size_t place = 0) {
        auto* const done = static_cast<test_read*>(backend.started.at(place));
        backend.started.erase(backend.started.begin() + static_cast<std::ptrdiff_t>(place));
        done->complete({.result = 1});
        return *done;
    }
    const io::budget_counters& of(unsigned group) {
        return backend.budget().of({static_cast<std::uint8_t>(group)});
    }

    test::bare_shard own;
    held_backend backend;
    std::vector<std::unique_ptr<test_read>> operations;
};

io::budget_window::sample sample(duration latency, instant admitted, bool idle = false) {
    return {.kind = 0, .latency = latency, .admitted = admitted, .idle = idle};
}

/// A round of a window in force, each of whose operations took `latency`.
void round(io::budget_window& window, instant& now, duration latency, bool idle = false) {
    const instant admitted = now;
    now += latency;
    for (int i = 0; i < 16; ++i) {
        window.tune(sample(latency, admitted, idle), now, true);
    }
}

}  // namespace

TEST_SUITE("io/budget") {
    TEST_CASE("one turn starts only so much as it may copy, and the next ones the rest, in order") {
        io::budget_options options = small_window();
        options.window_max = 16 << 20;
        options.copied_bytes_max = 64 << 10;
        bed bed(options);
        for (int i = 0; i < 10; ++i) {
            bed.start(1);
        }
        bed.start(2);
        CHECK(bed.backend.started.size() == 4);
        CHECK(bed.of(1).waiting == 6);
        CHECK(bed.of(2).waiting == 1);
        CHECK(bed.backend.budget().waited_for_turn() == 2);  // and those behind them
        // What nobody copies has its turn at once.
        bed.start(3, 1 << 20, true);
        CHECK(bed.backend.started.size() == 5);
        std::vector<std::uint64_t> order;
        for (int turns = 0; !bed.backend.started.empty(); ++turns) {
            REQUIRE(turns < 10);
            bed.own.settle();
            const std::size_t in_flight = bed.backend.started.size();
            CHECK(in_flight <= 5);
            for (std::size_t i = 0; i < in_flight; ++i) {
                order.push_back(bed.complete().number);
            }
        }
        CHECK(order.size() == 12);
        std::erase_if(order, [](std::uint64_t number) { return number >= 10; });
        CHECK(std::ranges::is_sorted(order));
        // One that is larger than a turn may copy goes alone.
        bed.own.settle();
        bed.start(1, 1 << 20);
        bed.start(1);
        CHECK(bed.backend.started.size() == 1);
        bed.own.settle();
        bed.complete();
        CHECK(bed.backend.started.size() == 1);
        bed.complete();
    }

    TEST_CASE("who waits for the next turn to be copied holds up no group that doesn't") {
        for (const std::size_t bytes : {16UL << 10, 1UL << 20}) {  // more than a round's share
            io::budget_options options = small_window();
            options.copied_bytes_max = 32 << 10;
            bed bed(options);
            for (int i = 0; i < 3; ++i) {
                bed.start(1);
            }
            CHECK(bed.of(1).waiting == 1);  // for a turn
            bed.start(3, 16 << 10, true);
            bed.start(3, 16 << 10, true);
            test_read& direct = bed.start(3, bytes, true);
            CHECK(bed.of(3).waiting == 1);  // for room
            bed.complete(2);
            CHECK(bed.of(3).waiting == 0);
            CHECK(bed.of(1).waiting == 1);
            CHECK(bed.backend.started.back() == &direct);
            bed.own.settle();
            while (!bed.backend.started.empty()) {
                bed.complete();
            }
            CHECK(bed.of(1).admitted == 3);
        }
    }

    TEST_CASE("the window doesn't grow for what waits for the next turn only") {
        io::budget_options options = small_window();
        options.window_max = 16 << 20;
        options.copied_bytes_max = 32 << 10;
        bed bed(options);
        bed.start(2);
        bed.complete();
        for (int i = 0; i < 200; ++i) {
            bed.start(1);
        }
        const std::uint64_t before = bed.backend.budget().window().size();
        CHECK(bed.backend.budget().contended());
        CHECK(bed.of(1).waiting > 190);
        while (!bed.backend.started.empty()) {
            bed.own.settle();
            for (std::size_t in_flight = bed.backend.started.size(); in_flight > 0; --in_flight) {
                bed.complete();
            }
        }
        CHECK(bed.of(1).admitted == 200);
        CHECK(bed.backend.budget().window().size() == before);
    }

    TEST_CASE("a group alone has all that the largest window allows, and waits for no more") {
        io::budget_options options = small_window();
        options.window_min = 32 << 10;
        bed bed(options);
        for (int i = 0; i < 4; ++i) {
            bed.start(1);
        }
        CHECK(bed.backend.started.size() == 4);
        CHECK_FALSE(bed.backend.budget().contended());
        bed.start(1);
        CHECK(bed.backend.started.size() == 4);
        CHECK(bed.of(1).waiting == 1);
        bed.own.pass(1ms);
        bed.complete();
        CHECK(bed.backend.started.size() == 4);
        CHECK(bed.of(1).waiting == 0);
        CHECK(bed.of(1).admitted == 5);
        CHECK(bed.of(1).bytes == 5 * (16 << 10));
        CHECK(bed.of(1).wait_ns == 1'000'000);
    }

    TEST_CASE("the window is in force while several groups use the device, and for a while after") {
        io::budget_options options = small_window();
        options.window_min = 32 << 10;
        bed bed(options);
        bed.start(1);
        bed.complete();
        bed.start(0);
        CHECK(bed.backend.budget().contended());
        CHECK(bed.backend.budget().limit() == 32 << 10);
        bed.own.pass(options.contention_memory + 1ns);
        bed.complete();
        CHECK_FALSE(bed.backend.budget().contended());
        CHECK(bed.backend.budget().limit() == options.window_max);
    }

    TEST_CASE("while several groups wait, room goes to them in proportion to their I/O shares") {
        bed bed;
        for (int i = 0; i < 1200; ++i) {
            bed.start(1);
            bed.start(2);
            bed.start(3);
        }
        const auto before = [&](unsigned group) { return bed.of(group).admitted; };
        const std::uint64_t one = before(1), two = before(2), three = before(3);
        for (int i = 0; i < 1800; ++i) {
            bed.complete();
        }
        CHECK(bed.of(1).admitted - one == doctest::Approx(300).epsilon(0.03));
        CHECK(bed.of(2).admitted - two == doctest::Approx(600).epsilon(0.03));
        CHECK(bed.of(3).admitted - three == doctest::Approx(900).epsilon(0.03));
    }

    TEST_CASE("shares weigh bytes, not operations: large ones and shares of one don't stall it") {
        bed bed;
        this_shard().scheduler().set_io_shares({1}, 1);
        this_shard().scheduler().set_io_shares({3}, 1);
        for (int i = 0; i < 1700; ++i) {
            bed.start(1);
        }
        for (int i = 0; i < 64; ++i) {
            bed.start(3, 1 << 20);
        }
        std::uint64_t cost[4] = {};
        while (bed.of(1).waiting > 0 && bed.of(3).waiting > 0) {
            const test_read& done = bed.complete();
            cost[done.group] += done.cost();
        }
        CHECK(static_cast<double>(cost[1]) / static_cast<double>(cost[3]) ==
              doctest::Approx(1).epsilon(0.1));
    }

    TEST_CASE("an operation larger than the window goes as soon as there is any room") {
        bed bed;
        bed.start(0);
        bed.start(1);
        test_read& large = bed.start(1, 8 << 20);
        test_read& behind = bed.start(1);
        CHECK(bed.of(1).in_flight == 2);
        CHECK(bed.of(1).waiting == 1);
        bed.complete();
        bed.complete();
        bed.complete();
        CHECK(large.completions == 1);
        CHECK(bed.complete().number == behind.number);
    }

    TEST_CASE("a group with nothing in flight is let in beyond the window, up to an eighth") {
        bed bed;
        for (int i = 0; i < 20; ++i) {
            bed.start(1);
        }
        CHECK(bed.of(1).in_flight == 4);
        test_read& rare = bed.start(2, 0);
        CHECK(bed.of(2).in_flight == 1);
        bed.start(2, 0);
        CHECK(bed.of(2).waiting == 1);
        bed.start(3, 0);  // the eighth is used up
        CHECK(bed.of(3).waiting == 1);
        bed.complete(4);
        CHECK(rare.completions == 1);
    }

    TEST_CASE("what is withdrawn never starts, and what is in flight can't be") {
        bed bed;
        for (int i = 0; i < 4; ++i) {
            bed.start(1);
        }
        test_read& first = bed.start(1);
        test_read& gone = bed.start(1);
        test_read& last = bed.start(1);
        CHECK_FALSE(bed.backend.budget().withdraw(*bed.operations[0]));
        CHECK(bed.backend.budget().withdraw(gone));
        CHECK_FALSE(bed.backend.budget().withdraw(gone));
        CHECK(bed.of(1).waiting == 2);
        while (!bed.backend.started.empty()) {
            bed.complete();
        }
        CHECK(first.completions == 1);
        CHECK(gone.completions == 0);
        CHECK(last.completions == 1);
        CHECK(bed.backend.budget().in_flight() == 0);
    }

    TEST_CASE("what waits at the end is cancelled, and does not start") {
        bed bed;
        for (int i = 0; i < 10; ++i) {
            bed.start(1 + i % 2);
        }
        bed.backend.budget().cancel_waiting();
        CHECK(bed.backend.budget().waiting() == 0);
        CHECK(bed.operations.back()->result == -ECANCELED);
        const std::size_t in_flight = bed.backend.started.size();
        while (!bed.backend.started.empty()) {
            bed.complete();
        }
        CHECK(bed.of(1).admitted + bed.of(2).admitted == in_flight);
        CHECK(bed.backend.budget().in_flight() == 0);
    }

    TEST_CASE("whatever groups start, complete and withdraw, all start once and in their order") {
        for (std::uint64_t seed = 1; seed <= 60; ++seed) {
            INFO("seed ", seed);
            std::mt19937_64 random(seed);
            io::budget_options options = small_window();
            options.window_min = (16 << 10) << random() % 4;
            options.window_max = options.window_min << random() % 5;
            options.quantum = 1 + random() % (128 << 10);
            options.contention_memory = std::chrono::microseconds(random() % 5000);
            bed bed(options);
            io::budget& tested = bed.backend.budget();
            const std::uint64_t most = 4096 << random() % 10;
            std::vector<std::deque<test_read*>> lines(4);
            std::vector<std::uint64_t> started(4, 0);
            std::size_t seen = 0, withdrawn = 0, completed = 0;
            bool in_order = true;
            for (int step = 0; step < 3000 || !bed.backend.started.empty(); ++step) {
                const std::size_t in_flight = bed.backend.started.size();
                std::size_t added = in_flight;
                if (step < 3000 && random() % 2 == 0) {
                    test_read& made = bed.start(random() % 4, random() % most);
                    lines[made.group].push_back(&made);
                } else if (random() % 8 == 0 && !bed.operations.empty()) {
                    test_read& one = *bed.operations[random() % bed.operations.size()];
                    if (tested.withdraw(one)) {
                        ++withdrawn;
                        std::erase(lines[one.group], &one);
                    }
                } else if (in_flight > 0) {
                    bed.complete(random() % in_flight);
                    ++completed;
                    --added;
                }
                // What was started now is, of its group, what waited longest.
                for (; added < bed.backend.started.size(); ++added) {
                    auto* const now = static_cast<test_read*>(bed.backend.started[added]);
                    in_order &= !lines[now->group].empty() && lines[now->group].front() == now;
                    lines[now->group].pop_front();
                    ++seen;
                }
                std::uint64_t waiting = 0;
                for (const auto& line : lines) {
                    waiting += line.size();
                }
                REQUIRE(tested.waiting() == waiting);
                REQUIRE((waiting == 0 || tested.in_flight() >= tested.limit()));
                bed.own.outside.time += std::chrono::microseconds(random() % 300);
                bed.own.settle();
            }
            CHECK(in_order);
            CHECK(seen == completed);
            CHECK(seen + withdrawn == bed.operations.size());
            CHECK(tested.in_flight() == 0);
        }
    }

    TEST_CASE("limits that contradict each other are refused, by name") {
        io::budget_options options;
        options.window_min = options.window_max + 1;
        CHECK_THROWS_WITH_AS(options.check(), doctest::Contains("window_min"), error);
        options = {};
        options.quantum = 0;
        CHECK_THROWS_WITH_AS(options.check(), doctest::Contains("quantum"), error);
    }
}

TEST_SUITE("io/budget_window") {
    TEST_CASE("it doubles until operations wait in the device, then shrinks in proportion") {
        io::budget_options options;
        options.slack = 1ms;
        io::budget_window window(options);
        instant now{1h};
        window.begin(now);
        round(window, now, 100us, true);
        CHECK(window.idle_latency(0) == 100us);
        CHECK(window.size() == 2 * options.window_min);
        for (int i = 0; i < 3; ++i) {
            round(window, now, 1000us);  // within the slack
        }
        CHECK(window.size() == 16 * options.window_min);
        round(window, now, 1650us);  // 1.5 times the 100 us and 1 ms that it may take
        CHECK(window.size() == doctest::Approx(16 * options.window_min / 1.5).epsilon(0.01));
        const std::uint64_t shrunk = window.size();
        round(window, now, 500us);
        CHECK(window.size() > shrunk);
        CHECK(window.size() < shrunk * 5 / 4);
    }

    TEST_CASE("it stays within its limits, and does not grow if nothing waits") {
        io::budget_options options;
        io::budget_window window(options);
        instant now{1h};
        window.begin(now);
        for (int i = 0; i < 16; ++i) {
            window.tune(sample(100us, now, true), now, false);
        }
        CHECK(window.size() == options.window_min);
        for (int i = 0; i < 1000; ++i) {
            round(window, now, 100us);
        }
        CHECK(window.size() == options.window_max);
        for (int i = 0; i < 100; ++i) {
            round(window, now, 50ms);
        }
        CHECK(window.size() == options.window_min);
        CHECK(window.counted().shrinks > 5);
    }

    TEST_CASE("operations that were admitted under another size don't count") {
        io::budget_options options;
        io::budget_window window(options);
        instant now{1h};
        window.begin(now);
        round(window, now, 100us, true);
        const std::uint64_t before = window.size();
        for (int i = 0; i < 100; ++i) {
            window.tune(sample(1s, now - 1us), now, true);
        }
        CHECK(window.size() == before);
    }

    TEST_CASE("always in use, it goes to its minimum for a round and learns what idle means") {
        io::budget_options options;
        io::budget_window window(options);
        instant now{1h};
        window.begin(now);
        round(window, now, 100us, true);
        for (int i = 0; i < 4; ++i) {
            round(window, now, 200us);
        }
        const std::uint64_t before = window.size();
        now += options.probe_period;
        round(window, now, 200us);
        CHECK(window.size() == options.window_min);
        CHECK(window.counted().probes == 1);
        round(window, now, 400us, true);
        CHECK(window.size() >= before);
        CHECK(window.idle_latency(0) > 200us);
    }
}
