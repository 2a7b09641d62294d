// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include <weir/core/future.hh>
#include <weir/core/log.hh>
#include <weir/core/mesh.hh>
#include <weir/core/poller.hh>
#include <weir/core/shard.hh>

namespace weir {

class probe_sink;

struct host_options {
    std::string name = "weir";
    unsigned shards = 1;
    /// The cpu of each shard, told by who binds their threads; empty where nobody does.
    std::vector<unsigned> cpus{};
    shard_options shard{};
    mesh_options mesh{};
    log_options logging{};
    /// What the process may take, for budgets that nobody has chosen; 0: not known.
    std::uint64_t memory_bytes = 0;
    /// Where log lines go; borrowed. Null: to stderr.
    weir::log_sink* log = nullptr;
    /// Hears the steps that work passes; see probe.hh. Null: nobody.
    probe_sink* probes = nullptr;
    /// Deliberate bugs that tests turn on to see them found; empty in production.
    std::unordered_set<std::string> canaries{};
};

/// What a process has once: the shards and the mesh between them. A simulation has many hosts in
/// one thread. An application is a function of a host and its options.
class host {
  public:
    explicit host(host_options options);
    host(const host&) = delete;
    host& operator=(const host&) = delete;
    ~host();

    /// Makes shard `id` with its end of the mesh.
    /// thread   the one that will run the shard, so that its memory is near
    shard& add_shard(shard_id id, poller& outside);
    /// All shards are there and may call each other: once, after the last add_shard and before
    /// the first turn.
    void connect();
    /// Parts the shards again: after the last turn of all of them, before the first is removed.
    void disconnect() noexcept;
    /// Takes shard `id` apart.
    /// thread   the one that ran the shard
    void remove_shard(shard_id id);

    const host_options& options() const noexcept { return _options; }
    unsigned shard_count() const noexcept { return _options.shards; }
    shard& at(shard_id id) noexcept {
        if (id >= _shards.size()) [[unlikely]] {
            no_such_shard(id, shard_count());
        }
        return *_shards[id];
    }

    /// Makes a scheduling group on every shard. See with_group() in group.hh.
    /// shares     of the processor, in proportion to those of other groups
    /// io_shares  of what files can do, likewise; 0: as `shares`
    /// fails    errc::duplicate for a name that exists; errc::limit_exceeded above
    ///          scheduler::max_groups; EINVAL for no shares; std::bad_alloc or errc::overloaded
    ///          if it didn't reach a shard: the same name may be asked for again
    /// thread   any shard of this host
    future<scheduling_group> create_group(std::string name, unsigned shares,
                                          unsigned io_shares = 0);
    /// Changes the shares of a group on every shard.
    /// fails    EINVAL for no shares
    future<> set_group_shares(scheduling_group group, unsigned shares);
    future<> set_group_io_shares(scheduling_group group, unsigned shares);

    /// thread   any
    weir::log_sink& log_sink() noexcept { return *_log; }

    /// Asks for the end: until_stop() goes on. Idempotent; at any moment of the host's life.
    /// thread   any, but no signal handler
    void request_stop() noexcept;
    /// Ready once a stop has been requested. One waiter at a time.
    /// thread   shard 0
    future<> until_stop();
    /// thread   any
    bool stop_requested() const noexcept { return _stop_requested.load(std::memory_order_relaxed); }

    /// Whether a deliberate bug is on. See host_options::canaries.
    bool canary(std::string_view name) const {
        return !_options.canaries.empty() && _options.canaries.contains(std::string(name));
    }

  private:
    scheduling_group define_next_group(const std::string& name, unsigned shares,
                                       unsigned io_shares);

    /// Tells shard 0. It lies here: a stop is heard when there is no memory, too.
    class stop_notice final : public foreign_work {
      public:
        explicit stop_notice(promise<>& waiting) noexcept : _stop(waiting) {}
        void run() noexcept override;
        void let_go() noexcept override {}

      private:
        promise<>& _stop;
    };

    const host_options _options;
    const std::unique_ptr<weir::log_sink> _own_log;
    weir::log_sink* const _log;
    std::vector<std::unique_ptr<shard>> _shards;
    promise<> _stop;  // shard 0's
    stop_notice _notice{_stop};
    // After what may be in their lines: they let go of it at their end.
    std::vector<std::unique_ptr<mesh_port>> _ports;
    std::atomic<bool> _stop_requested{false};
    // By index: shard 0 knows the name, but some shard may not. Nobody has such a group.
    std::atomic<std::uint64_t> _groups_half_made = 0;
    std::mutex _stop_lock;
    bool _connected = false;  // under the lock: whether shard 0 can be told
};

/// The host of this shard.
inline host& this_host() noexcept {
    return this_shard().owner();
}

}  // namespace weir
