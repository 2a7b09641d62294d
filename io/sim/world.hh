// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <weir/core/future.hh>
#include <weir/core/host.hh>
#include <weir/core/log.hh>
#include <weir/io/sim/machine.hh>

namespace weir::io::sim {

/// What runs on a host, begun on its shard 0: the same function that runs on a real machine.
/// The process ends when the future is settled.
using application = std::function<future<>(weir::host&)>;

class world;

/// What a simulated process logs: kept, the last lines of it, and part of the trace.
class host_log final : public log_sink {
  public:
    static constexpr std::size_t lines_kept = 1000;

    host_log(engine& shared, std::uint32_t host, log_sink* also) noexcept
        : _engine(shared), _host(host), _also(also) {}
    void write(const log_line& line) noexcept override;
    const std::deque<std::string>& lines() const noexcept { return _lines; }

  private:
    engine& _engine;
    std::uint32_t _host;
    log_sink* _also;
    std::deque<std::string> _lines;
};

/// A host of a world: its machine, and the program that it runs.
class sim_host {
  public:
    sim_host(const sim_host&) = delete;
    sim_host& operator=(const sim_host&) = delete;

    /// Starts a process. It is started again by restart().
    void start(application program);
    bool running() const noexcept { return _machine.running(); }
    /// Whether the last process came to its end by itself, and how.
    bool exited() const noexcept { return _exited; }
    /// What the application failed with, if it did.
    const std::string& failure() const noexcept { return _failure; }
    unsigned starts() const noexcept { return _machine.incarnation(); }

    const std::string& name() const noexcept { return _machine.name(); }
    std::uint32_t id() const noexcept { return _machine.id(); }
    /// Where others reach it, as connect takes it.
    sockaddr_storage at(std::uint16_t port) const noexcept { return _machine.at(port); }
    class disk& disk() noexcept { return _machine.disk(); }
    class machine& machine() noexcept { return _machine; }
    /// What its processes logged last.
    const std::deque<std::string>& log() const noexcept { return _log.lines(); }
    /// The running process; null if there is none.
    weir::host* process() noexcept { return _process; }

  private:
    friend class world;
    sim_host(world& owner, engine& shared, network& net, std::uint32_t id, host_options options,
             const disk_options& storage);

    void boot();
    instant turn(unsigned shard);
    void ended(future<>& done);

    world& _world;
    host_log _log;
    const host_options _options;
    class machine _machine;
    application _program;
    weir::host* _process = nullptr;
    future<>* _done = nullptr;  // the host's own memory
    bool _exited = false;
    bool _exit_due = false;
    std::string _failure;
};

/// Several hosts with several shards each, their disks and the network between them, in one
/// thread and in virtual time. Real rings, futures and timers run in it. Its seed decides which
/// shard turns next and when, what the network and the disks do, and what fails: a run can be
/// repeated exactly.
///     sim::world world(seed);
///     auto& server = world.add_host("server", 2);
///     server.start([](host& h) { return serve(h, {}); });
///     world.run_for(10s);
///     world.power_cut(server);
///     world.restart(server);
/// thread   one; a thread has one world at a time
class world {
  public:
    explicit world(std::uint64_t seed, world_options options = {});
    ~world();
    world(const world&) = delete;
    world& operator=(const world&) = delete;

    sim_host& add_host(std::string_view name, unsigned shards);
    sim_host& add_host(host_options options);
    sim_host& add_host(host_options options, const disk_options& storage);
    std::vector<std::unique_ptr<sim_host>>& hosts() noexcept { return _hosts; }

    std::uint64_t seed() const noexcept { return _seed; }
    instant now() const noexcept { return _engine.now(); }
    void run_for(duration time);
    /// Runs until `condition()`, looked at after each event, or for `limit`.
    /// returns  the condition
    bool run_until(const std::function<bool()>& condition, duration limit);
    /// Calls `what` from outside all hosts, once the time comes.
    void after(duration delay, std::function<void()> what);

    /// Off at once; what was not synced may be lost or torn. The memory of the process is freed
    /// without destructors.
    void power_cut(sim_host& victim);
    /// As kill -9: the process is gone, what it wrote is in the kernel's cache.
    void kill(sim_host& victim);
    /// Starts the host's program again, on the same disk.
    void restart(sim_host& stopped);
    /// Asks the process to end: see host::request_stop().
    void stop(sim_host& running);

    /// Nothing passes between the two, in either direction, until heal().
    void partition(sim_host& a, sim_host& b);
    /// Nothing passes from one to the other.
    void partition_one_way(sim_host& from, sim_host& to);
    void isolate(sim_host& lonely);
    void clog(sim_host& from, sim_host& to, duration time);
    void heal();
    /// The second phase of a run: no more random faults, all partitions heal, and the hosts that
    /// a random fault took down come back. Now whatever is promised must come true.
    void stop_faults();

    fault_injector& faults() noexcept { return _engine.faults; }
    network& net() noexcept { return _network; }
    /// Random numbers for the test itself.
    random_stream& random() noexcept { return _engine.workload; }
    /// A mark of the test's own in the trace, such as a value that it observed.
    void note(std::uint64_t value);

    /// The identity of the run so far.
    std::uint64_t hash() const noexcept { return _engine.log.hash(); }
    trace& log() noexcept { return _engine.log; }
    /// Seed, time, events and faults, for people.
    std::string report() const;
    /// The last lines that each host logged.
    std::string logs(std::size_t lines_each = 20) const;

  private:
    friend class sim_host;

    void step();
    void plan_nemesis();
    void strike();
    void strike_network();
    void strike_host(sim_host& victim);
    void bring_back(sim_host& stopped, duration after);

    const std::uint64_t _seed;
    engine _engine;
    network _network;
    std::vector<std::unique_ptr<sim_host>> _hosts;
    std::uint64_t _healings = 0;
};

}  // namespace weir::io::sim
