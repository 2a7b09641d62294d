// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weir::bench {

/// Nanoseconds of the system's monotonic clock.
std::int64_t now_ns() noexcept;

/// Binds the calling thread to one CPU.
/// fails    std::system_error, as when the CPU isn't in our cpuset
void pin_to_cpu(int cpu);

/// returns  the CPUs that this process may use, ascending
std::vector<int> allowed_cpus();

/// The physical floor of every message between two CPUs: two threads answer each other through
/// two cache lines of one atomic word each. Virtual CPUs are moved between near and far places
/// while we measure, so this brackets whatever crosses CPUs.
/// returns  the median round trip in nanoseconds over `milliseconds`
double two_line_round_trip_ns(int cpu_a, int cpu_b, int milliseconds = 20);

/// Calls of operator new since the process started, in all threads.
/// returns  nothing unless the benchmark links count_allocations.cc
std::optional<std::uint64_t> allocations() noexcept;

/// The middle value; the mean of the two middle ones of an even number.
double median(std::vector<double> values);

enum class better { higher, lower };

/// One figure of ours, and of a peer where there is one, over several runs.
class row {
  public:
    row(std::string name, std::string unit, better direction, std::string peer_name)
        : _name(std::move(name)),
          _unit(std::move(unit)),
          _better(direction),
          _peer_name(std::move(peer_name)) {}

    /// Adds the figure of one run.
    void ours(double value) { _ours.push_back(value); }
    void peer(double value) { _peer.push_back(value); }

    std::optional<double> allocs_per_op;
    std::optional<double> syscalls_per_op;
    /// Rows that are too many for people go into the JSON file alone.
    bool in_table = true;

    const std::string& name() const { return _name; }
    /// returns  how many times better ours is than the peer, by the medians
    std::optional<double> ratio() const;

  private:
    friend class report;

    std::string _name;
    std::string _unit;
    better _better;
    std::string _peer_name;
    std::vector<double> _ours;
    std::vector<double> _peer;
};

/// A benchmark's options, its rows, and what becomes of them. The three beats of a main():
///
///     report out("call", "Calls to another shard");
///     if (auto status = out.parse(argc, argv)) return *status;
///     if (out.wanted("call.idle.1")) {
///         row& p50 = out.add("call.idle.1.p50", "ns", better::lower, "bare lines");
///         out.alternate([&] { p50.ours(measure()); }, [&] { p50.peer(bare()); });
///     }
///     return out.finish();
class report {
  public:
    report(std::string bench, std::string description);
    ~report();

    /// Adds an option of this benchmark's own; before parse().
    /// name     as "--lmax"
    void option(const std::string& name, std::string& value, const std::string& help);

    /// Reads --json, --pairs, --seconds, --filter, --help.
    /// returns  the exit status when there is nothing to run
    std::optional<int> parse(int argc, char** argv);

    int pairs() const { return _pairs; }
    /// returns  how long one run of one side should take
    double seconds() const { return _seconds; }
    /// returns  whether the filter, a part of a name, lets this row or group of rows through
    bool wanted(std::string_view name) const;

    /// name       bench.case.variant.figure
    /// unit       ns, us, ms, per_s, MB_per_s or bytes
    /// peer_name  empty where ours stands alone
    /// returns    the row, where it is until the report goes
    row& add(std::string name, std::string unit, better direction, std::string peer_name = "");

    /// From now on each pair of alternate() is bracketed by two_line_round_trip_ns() of these
    /// CPUs; a pair during which the CPUs moved apart or together is measured again, at most
    /// twice as often as asked. The probes become the row bench.probe.two_line.rtt.
    void bracket(int cpu_a, int cpu_b);

    /// Runs both sides once to warm up, then in turn, pairs() times: ours, peer, ours, peer.
    /// What they add to rows in the warm-up, or in a pair that is measured again, is dropped.
    /// peer     empty where ours stands alone
    void alternate(const std::function<void()>& ours, const std::function<void()>& peer = {});

    /// Adds a line below the table: what a reader has to know.
    void note(std::string text);

    /// Prints the table, and writes the file that --json named.
    /// returns  the exit status
    int finish();

  private:
    struct command_line;

    std::string table() const;
    std::string json() const;
    void keep_samples(const std::vector<std::size_t>& ours, const std::vector<std::size_t>& peer);
    double probe();

    std::string _bench;
    std::unique_ptr<command_line> _command_line;
    std::string _command;
    std::string _json_file;
    std::string _filter;
    int _pairs = 7;
    double _seconds = 0.2;
    std::deque<row> _rows;
    std::vector<std::string> _notes;
    int _cpu_a = -1;
    int _cpu_b = -1;
    row* _probes = nullptr;
    std::size_t _moved = 0;  // pairs measured again
    std::size_t _mixed = 0;  // pairs kept although the CPUs had moved
};

}  // namespace weir::bench
