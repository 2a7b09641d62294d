// SPDX-License-Identifier: Apache-2.0
// Calls to another shard over real shards: the whole way of on(1, fn) there and back, kernel rings,
// bells and turns included. The floor is what two threads need to pass a word through two cache
// lines, measured in the same run.
#include <weir/core/call.hh>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <bench/harness.hh>
#include <fmt/format.h>

#include <weir/core/coroutine.hh>
#include <weir/core/sleep.hh>
#include <weir/io/run.hh>
#include <weir/io/system_clock.hh>

namespace weir::bench {
namespace {

/// What keeps the called shard from answering at once.
enum class target : std::uint8_t {
    asleep,   ///< in the kernel: calls come too seldom for spinning
    idle,     ///< nothing to do; spins for spin_max before it sleeps
    polling,  ///< nothing to do, and never sleeps; the caller neither
    busy,     ///< coroutines that never stop awaiting what is ready, as far as they are let
    crowded,  ///< coroutines that yield after each step: a long line of short tasks
};

struct scenario {
    std::string name;  // call.idle.16
    target state;
    unsigned in_flight;
};

struct figures {
    double p50_ns = 0;
    double p99_ns = 0;
    double per_second = 0;
    double allocations = 0;  // a call
    double system_calls = 0;
};

constexpr unsigned busy_coroutines = 100;
constexpr unsigned crowd = 1000;
constexpr unsigned timed_one_in = 8;  // reading the clock costs as much as a good call
constexpr duration seldom = std::chrono::milliseconds(1);

class quiet final : public log_sink {
    void write(const log_line&) noexcept override {}
};

/// One run of one scenario: the caller is shard 0, the called one shard 1.
class measurement {
  public:
    measurement(const scenario& what, duration time) : _what(what), _time(time) {
        _latencies.reserve(1 << 20);
    }

    future<figures> run() {
        co_await on(1, [this] { start_work(); });
        // A tenth to fill pools and to settle.
        co_await call_for(_time / 10);
        _latencies.clear();
        _calls = 0;
        const std::uint64_t blocks = allocations().value_or(0);
        const std::uint64_t entered = co_await system_calls();
        const std::int64_t started = now_ns();
        co_await call_for(_time);
        const std::int64_t ended = now_ns();
        const std::uint64_t left = co_await system_calls();
        const std::uint64_t blocks_after = allocations().value_or(0);

        co_await on(1, [this] { return end_work(); });

        const auto calls = static_cast<double>(_calls);
        figures result;
        result.p50_ns = percentile(0.50);
        result.p99_ns = percentile(0.99);
        result.per_second = calls * 1e9 / static_cast<double>(ended - started);
        result.allocations = static_cast<double>(blocks_after - blocks) / calls;
        result.system_calls = static_cast<double>(left - entered) / calls;
        co_return result;
    }

  private:
    // The called shard's.
    void start_work() {
        if (_what.state == target::busy) {
            for (unsigned i = 0; i < busy_coroutines; ++i) {
                _work.push_back(await_ready());
            }
        } else if (_what.state == target::crowded) {
            for (unsigned i = 0; i < crowd; ++i) {
                _work.push_back(keep_yielding());
            }
        }
    }
    future<> await_ready() {
        co_await yield();
        while (!_work_ended) {
            co_await make_ready_future();
        }
    }
    future<> keep_yielding() {
        while (!_work_ended) {
            co_await yield();
        }
    }
    future<> end_work() {
        _work_ended = true;
        for (auto& each : _work) {
            co_await std::move(each);
        }
        _work.clear();
    }

    // The caller's.
    future<> call_for(duration time) {
        const instant until = io::monotonic_now() + time;
        std::vector<future<>> callers;
        for (unsigned i = 0; i < _what.in_flight; ++i) {
            callers.push_back(call_until(until, i));
        }
        for (auto& each : callers) {
            co_await std::move(each);
        }
    }
    future<> call_until(instant until, unsigned phase) {
        const bool rests = _what.state == target::asleep;
        const unsigned stride = rests || _what.in_flight == 1 ? 1 : timed_one_in;
        for (unsigned i = phase; this_shard().now() < until; ++i) {
            if (rests) {
                co_await sleep_until(io::monotonic_now() + seldom);
            }
            const bool timed = i % stride == 0;
            const std::int64_t asked = timed ? now_ns() : 0;
            co_await on(1, [this] { ++_answered; });
            if (timed) {
                _latencies.push_back(static_cast<double>(now_ns() - asked));
            }
            ++_calls;
        }
    }
    double percentile(double part) {
        const auto place = static_cast<std::size_t>(part * static_cast<double>(_latencies.size()));
        const auto at = _latencies.begin() +
                        static_cast<std::ptrdiff_t>(std::min(place, _latencies.size() - 1));
        std::nth_element(_latencies.begin(), at, _latencies.end());
        return *at;
    }
    static std::uint64_t entered_here() {
        return static_cast<io::uring&>(this_shard().outside()).statistics().enters;
    }
    static future<std::uint64_t> system_calls() {
        co_return entered_here() + co_await on(1, [] { return entered_here(); });
    }

    const scenario& _what;
    const duration _time;
    std::vector<double> _latencies;
    std::uint64_t _calls = 0;
    // The called shard's.
    alignas(128) std::uint64_t _answered = 0;
    bool _work_ended = false;
    std::vector<future<>> _work;
};

figures measure(const scenario& what, double seconds, int caller_cpu, int called_cpu) {
    quiet log;
    io::run_options options;
    options.placement.shards = 2;
    options.placement.cpus = {static_cast<unsigned>(caller_cpu), static_cast<unsigned>(called_cpu)};
    options.placement.use_smt = true;
    options.host.log = &log;
    options.host.shard.poll_forever = what.state == target::polling;
    options.handle_signals = false;
    figures result;
    measurement of(what, std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9)));
    const int status = io::run(options, [&](host&) -> future<> { result = co_await of.run(); });
    if (status != 0) {
        throw std::runtime_error("the benchmark's host failed");
    }
    return result;
}

void add_scenario(report& out, const scenario& what, int caller_cpu, int called_cpu) {
    if (!out.wanted(what.name)) {
        return;
    }
    const bool beside_floor =
        what.in_flight == 1 && (what.state == target::idle || what.state == target::polling);
    row& p50 =
        out.add(what.name + ".p50", "ns", better::lower, beside_floor ? "two bare lines" : "");
    row& p99 = out.add(what.name + ".p99", "ns", better::lower);
    row* rate = what.state == target::asleep
                    ? nullptr
                    : &out.add(what.name + ".rate", "per_s", better::higher);
    const auto ours = [&] {
        const figures found = measure(what, out.seconds(), caller_cpu, called_cpu);
        p50.ours(found.p50_ns);
        p99.ours(found.p99_ns);
        if (rate != nullptr) {
            rate->ours(found.per_second);
        }
        row& last = rate != nullptr ? *rate : p99;
        last.allocs_per_op = found.allocations;
        last.syscalls_per_op = found.system_calls;
    };
    if (beside_floor) {
        out.alternate(ours, [&] { p50.peer(two_line_round_trip_ns(caller_cpu, called_cpu)); });
    } else {
        out.alternate(ours);
    }
}

int run(int argc, char** argv) {
    report out("call", "Calls to another shard and back: how long, and how many a second.");
    if (auto status = out.parse(argc, argv)) {
        return *status;
    }
    const std::vector<int> cpus = allowed_cpus();
    if (cpus.size() < 2) {
        fmt::print(stderr, "call: needs two CPUs\n");
        return 1;
    }
    out.bracket(cpus[0], cpus[1]);
    add_scenario(out, {"call.asleep.1", target::asleep, 1}, cpus[0], cpus[1]);
    for (const auto& [name, state] : {std::pair("idle", target::idle),
                                      {"polling", target::polling},
                                      {"busy", target::busy},
                                      {"crowded", target::crowded}}) {
        for (const unsigned in_flight : {1U, 16U, 128U}) {
            add_scenario(out, {fmt::format("call.{}.{}", name, in_flight), state, in_flight},
                         cpus[0], cpus[1]);
        }
    }
    out.note(
        fmt::format("busy: {} coroutines that await ready futures for ever; crowded: {} that "
                    "yield for ever. The peer two bare lines is no call: two threads pass a "
                    "word back and forth.",
                    busy_coroutines, crowd));
    return out.finish();
}

}  // namespace
}  // namespace weir::bench

int main(int argc, char** argv) {
    return weir::bench::run(argc, argv);
}
