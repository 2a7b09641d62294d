// SPDX-License-Identifier: Apache-2.0
// How long a shard makes others wait, and who pays: a sleep of 1 ms beside steps that yield as they
// should, and calls of a group with one share beside the work of one with a thousand.
#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include <bench/harness.hh>
#include <fmt/format.h>

#include <weir/core/call.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/group.hh>
#include <weir/core/sleep.hh>
#include <weir/core/when.hh>
#include <weir/io/run.hh>
#include <weir/io/system_clock.hh>

namespace weir::bench {
namespace {

using namespace std::chrono_literals;

class quiet final : public log_sink {
    void write(const log_line&) noexcept override {}
};

void compute(duration time) {
    for (const instant end = io::monotonic_now() + time; io::monotonic_now() < end;) {
    }
}

future<> step_until(instant end, duration step, unsigned* count = nullptr) {
    while (io::monotonic_now() < end) {
        compute(step);
        if (count != nullptr) {
            ++*count;
        }
        co_await yield();
    }
}

void run_shards(unsigned shards, const io::application& program) {
    quiet log;
    io::run_options options;
    options.placement.shards = shards;
    options.placement.use_smt = true;
    options.host.log = &log;
    options.handle_signals = false;
    options.stall.threshold = {};
    if (io::run(options, program) != 0) {
        throw std::runtime_error("the benchmark's host failed");
    }
}

/// Sleeps of 1 ms, beside one coroutine of `step`s: how long each took, and how many steps there
/// were meanwhile, which doesn't depend on who else wants the processor.
struct sleeps {
    std::vector<double> microseconds;
    std::vector<double> steps;
};

sleeps sleeps_beside(duration step, double seconds) {
    sleeps seen;
    run_shards(1, [&](host&) -> future<> {
        const auto time = std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
        const instant end = io::monotonic_now() + time;
        unsigned count = 0;
        future<> steps = step_until(end, step, &count);
        while (io::monotonic_now() < end) {
            const instant started = io::monotonic_now();
            const unsigned before = count;
            co_await sleep_for(1ms);
            seen.microseconds.push_back(
                std::chrono::duration<double, std::micro>(io::monotonic_now() - started).count());
            seen.steps.push_back(count - before);
        }
        co_await std::move(steps);
    });
    std::sort(seen.microseconds.begin(), seen.microseconds.end());
    std::sort(seen.steps.begin(), seen.steps.end());
    return seen;
}

void add_sleeps(report& out, const std::string& name, duration step) {
    if (!out.wanted(name)) {
        return;
    }
    row& p50 = out.add(name + ".p50", "us", better::lower);
    row& p99 = out.add(name + ".p99", "us", better::lower);
    row& steps = out.add(name + ".steps_p99", "steps", better::lower);
    out.alternate([&] {
        const sleeps seen = sleeps_beside(step, out.seconds());
        const std::size_t count = seen.steps.size();
        p50.ours(seen.microseconds[count / 2]);
        p99.ours(seen.microseconds[count * 99 / 100]);
        steps.ours(seen.steps[count * 99 / 100]);
    });
}

/// Percent of the called shard's processor that a group with one share takes by its calls.
double share_of_calls(double seconds) {
    double percent = 0;
    run_shards(2, [&](host& own) -> future<> {
        const auto few = co_await own.create_group("few", 1);
        const auto many = co_await own.create_group("many", 1000);
        const auto time = std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
        const instant end = io::monotonic_now() + time;
        future<> busy = on(
            1, [many, end] { return with_group(many, [end] { return step_until(end, 50us); }); });
        duration taken{};
        co_await with_group(few, [end, &taken]() -> future<> {
            std::vector<future<>> callers;
            for (int i = 0; i < 64; ++i) {
                callers.push_back([](instant until, duration& sum) -> future<> {
                    while (io::monotonic_now() < until) {
                        co_await on(1, [] { compute(50us); });
                        sum += 50us;
                    }
                }(end, taken));
            }
            co_await when_all_succeed(std::move(callers));
        });
        co_await std::move(busy);
        percent = 100.0 * static_cast<double>(taken.count()) / static_cast<double>(time.count());
    });
    return percent;
}

int run(int argc, char** argv) {
    report out("wait", "How long a shard makes others wait, and who pays for calls.");
    if (auto status = out.parse(argc, argv)) {
        return *status;
    }
    add_sleeps(out, "wait.sleep.steps_10us", 10us);
    add_sleeps(out, "wait.sleep.steps_100us", 100us);
    add_sleeps(out, "wait.sleep.steps_1ms", 1ms);
    if (out.wanted("wait.share.calls") && allowed_cpus().size() > 1) {
        row& share = out.add("wait.share.calls", "percent", better::lower);
        out.alternate([&] { share.ours(share_of_calls(out.seconds())); });
    }
    out.note(
        "sleep: of 1 ms, beside one coroutine that computes so long and yields. share: of a "
        "core, that calls of a group with 1 share take beside steps of one with 1000.");
    return out.finish();
}

}  // namespace
}  // namespace weir::bench

int main(int argc, char** argv) {
    return weir::bench::run(argc, argv);
}
