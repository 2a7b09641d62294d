// SPDX-License-Identifier: Apache-2.0
#include <bench/harness.hh>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

// Defined by count_allocations.cc where a benchmark links it.
extern "C" [[gnu::weak]] std::uint64_t weir_bench_allocations();

namespace weir::bench {

struct report::command_line {
    CLI::App app;
};

std::int64_t now_ns() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void pin_to_cpu(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    const int status = ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);
    if (status != 0) {
        throw std::system_error(status, std::generic_category(), fmt::format("pin to CPU {}", cpu));
    }
}

std::vector<int> allowed_cpus() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (::sched_getaffinity(0, sizeof set, &set) != 0) {
        throw std::system_error(errno, std::generic_category(), "sched_getaffinity");
    }
    std::vector<int> cpus;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &set)) {
            cpus.push_back(cpu);
        }
    }
    return cpus;
}

double two_line_round_trip_ns(int cpu_a, int cpu_b, int milliseconds) {
    struct alignas(128) line {
        std::atomic<std::int64_t> word{0};
    };
    line there;
    line back;
    double found = 0;
    std::jthread echo([&] {
        pin_to_cpu(cpu_b);
        for (std::int64_t seen = 0; seen >= 0;) {
            // Pairs with the asking thread's release below, and the other way round.
            const std::int64_t asked = there.word.load(std::memory_order_acquire);
            if (asked != seen) {
                seen = asked;
                back.word.store(asked, std::memory_order_release);
            }
        }
    });
    std::jthread ask([&, milliseconds] {
        pin_to_cpu(cpu_a);
        const std::int64_t stop = now_ns() + milliseconds * std::int64_t{1'000'000};
        std::vector<double> rounds;
        std::int64_t turn = 0;
        for (std::int64_t begin = now_ns(); begin < stop;) {
            constexpr int batch = 100;
            for (int i = 0; i < batch; ++i) {
                there.word.store(++turn, std::memory_order_release);
                while (back.word.load(std::memory_order_acquire) != turn) {
                }
            }
            const std::int64_t end = now_ns();
            rounds.push_back(static_cast<double>(end - begin) / batch);
            begin = end;
        }
        there.word.store(-1, std::memory_order_release);
        found = median(std::move(rounds));
    });
    echo.join();
    ask.join();
    return found;
}

std::optional<std::uint64_t> allocations() noexcept {
    if (weir_bench_allocations == nullptr) {
        return std::nullopt;
    }
    return weir_bench_allocations();
}

double median(std::vector<double> values) {
    if (values.empty()) {
        return 0;
    }
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::optional<double> row::ratio() const {
    const double mine = median(_ours);
    const double theirs = median(_peer);
    if (mine <= 0 || theirs <= 0) {
        return std::nullopt;
    }
    return _better == better::higher ? mine / theirs : theirs / mine;
}

report::report(std::string bench, std::string description)
    : _bench(std::move(bench)), _command_line(std::make_unique<command_line>()) {
    _command_line->app.description(std::move(description));
    _command_line->app.name("bench_" + _bench);
}

report::~report() = default;

void report::option(const std::string& name, std::string& value, const std::string& help) {
    _command_line->app.add_option(name, value, help);
}

std::optional<int> report::parse(int argc, char** argv) {
    CLI::App& app = _command_line->app;
    app.add_option("--json", _json_file, "write the rows to this file");
    app.add_option("--pairs", _pairs, "runs of ours and of the peer, in turn")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    app.add_option("--seconds", _seconds, "length of one run of one side")
        ->check(CLI::Range(0.001, 600.0))
        ->capture_default_str();
    app.add_option("--filter", _filter, "only rows whose name has this part");
    for (int i = 0; i < argc; ++i) {
        _command += fmt::format("{}{}", i == 0 ? "" : " ", argv[i]);
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& problem) {
        return app.exit(problem);
    }
    return std::nullopt;
}

bool report::wanted(std::string_view name) const {
    return name.find(_filter) != std::string_view::npos ||
           (!name.empty() && _filter.starts_with(name));
}

row& report::add(std::string name, std::string unit, better direction, std::string peer_name) {
    return _rows.emplace_back(std::move(name), std::move(unit), direction, std::move(peer_name));
}

void report::bracket(int cpu_a, int cpu_b) {
    _cpu_a = cpu_a;
    _cpu_b = cpu_b;
    if (_probes == nullptr) {
        _probes = &add(_bench + ".probe.two_line.rtt", "ns", better::lower);
    }
}

double report::probe() {
    return _cpu_a < 0 ? 1 : two_line_round_trip_ns(_cpu_a, _cpu_b);
}

void report::keep_samples(const std::vector<std::size_t>& ours,
                          const std::vector<std::size_t>& peer) {
    for (std::size_t i = 0; i < ours.size(); ++i) {
        _rows[i]._ours.resize(ours[i]);
        _rows[i]._peer.resize(peer[i]);
    }
}

void report::alternate(const std::function<void()>& ours, const std::function<void()>& peer) {
    // Near and far placements differ by several times; noise within one by much less.
    constexpr double same_place = 1.5;
    double place = 0;
    int kept = 0;
    for (int attempt = 0; kept < _pairs && attempt <= 4 * _pairs; ++attempt) {
        std::vector<std::size_t> ours_before;
        std::vector<std::size_t> peer_before;
        for (const row& each : _rows) {
            ours_before.push_back(each._ours.size());
            peer_before.push_back(each._peer.size());
        }
        const double before = probe();
        ours();
        if (peer) {
            peer();
        }
        const double after = probe();
        const bool warm_up = attempt == 0;
        place = warm_up ? after : place;
        const bool moved =
            std::max({before, after, place}) > same_place * std::min({before, after, place});
        if (warm_up || (moved && attempt <= 2 * _pairs)) {
            keep_samples(ours_before, peer_before);
            _moved += !warm_up;
            continue;
        }
        _mixed += moved;
        ++kept;
        if (_probes != nullptr) {
            _probes->ours((before + after) / 2);
        }
    }
}

void report::note(std::string text) {
    _notes.push_back(std::move(text));
}

}  // namespace weir::bench
