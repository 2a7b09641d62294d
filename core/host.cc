// SPDX-License-Identifier: Apache-2.0
#include <weir/core/host.hh>

#include <cerrno>

#include <weir/core/assert.hh>
#include <weir/core/sharded.hh>

namespace weir {

host::host(host_options options)
    : _options(std::move(options)),
      _own_log(_options.log ? nullptr : std::make_unique<file_log_sink>()),
      _log(_options.log ? _options.log : _own_log.get()),
      _shards(_options.shards),
      _ports(_options.shards) {
    WEIR_ASSERT(_options.shards > 0);
}

host::~host() {
    disconnect();
}

shard& host::add_shard(shard_id id, poller& outside) {
    WEIR_ASSERT(id < _options.shards && !_shards[id]);
    auto added = std::make_unique<shard>(*this, id, outside, _options.shard);
    auto port = std::make_unique<mesh_port>(*added, _options.shards, _options.mesh);
    added->_port = port.get();
    _shards[id] = std::move(added);
    _ports[id] = std::move(port);
    return *_shards[id];
}

void host::connect() {
    for (const auto& port : _ports) {
        WEIR_ASSERT(port);
    }
    const std::lock_guard hold(_stop_lock);
    _connected = true;
}

void host::disconnect() noexcept {
    {
        const std::lock_guard hold(_stop_lock);
        _connected = false;
    }
    for (auto& port : _ports) {
        if (port) {
            port->part();
        }
    }
}

void host::remove_shard(shard_id id) {
    _ports[id].reset();
    _shards[id].reset();
}

void host::stop_notice::run() noexcept {
    if (_stop.open()) {
        _stop.set_value();
    }
}

void host::request_stop() noexcept {
    const std::lock_guard hold(_stop_lock);
    if (!_stop_requested.exchange(true, std::memory_order_relaxed) && _connected) {
        _ports[0]->post(_notice);
    }
}

future<> host::until_stop() {
    WEIR_ASSERT(this_shard().id() == 0 && "host::until_stop() is for shard 0");
    if (stop_requested()) {
        return make_ready_future();
    }
    WEIR_ASSERT(!_stop.wanted() &&
                "host::until_stop() is waited for already: one waiter at a time");
    _stop = {};
    return _stop.get_future();
}

namespace {

/// A group without shares would never run.
void check_shares(std::string_view operation, std::string_view subject, unsigned shares) {
    if (shares == 0) {
        throw error::from_errno(operation, subject, EINVAL);
    }
}

std::uint64_t bit_of(scheduling_group group) noexcept {
    static_assert(scheduler::max_groups <= 64);
    return std::uint64_t{1} << group.index;
}

}  // namespace

/// Shard 0 gives out the names and numbers, so that two that come at once differ. A group whose
/// making failed half way keeps its number, and is made by who asks for that name next.
scheduling_group host::define_next_group(const std::string& name, unsigned shares,
                                         unsigned io_shares) {
    check_shares("create", "scheduling group " + name, shares);
    scheduler& own = this_shard().scheduler();
    scheduling_group created{0};
    while (created.index < own.group_count() && own.name(created) != name) {
        ++created.index;
    }
    if (created.index == scheduler::max_groups) {
        throw error("create", "scheduling group " + name, errc::limit_exceeded);
    }
    // Relaxed: the failure came here before the question.
    const bool half_made =
        (_groups_half_made.load(std::memory_order_relaxed) & bit_of(created)) != 0;
    if (created.index != own.group_count() && !half_made) {
        throw error("create", "scheduling group " + name, errc::duplicate);
    }
    own.define(created, name, shares, io_shares);
    _groups_half_made.fetch_and(~bit_of(created), std::memory_order_relaxed);
    return created;
}

future<scheduling_group> host::create_group(std::string name, unsigned shares, unsigned io_shares) {
    const auto created = co_await on(
        0, [this, &name, shares, io_shares] { return define_next_group(name, shares, io_shares); });
    try {
        co_await on_all([&name, shares, io_shares, created] {
            this_shard().scheduler().define(created, name, shares, io_shares);
        });
    } catch (...) {
        _groups_half_made.fetch_or(bit_of(created), std::memory_order_relaxed);
        throw;
    }
    co_return created;
}

future<> host::set_group_shares(scheduling_group group, unsigned shares) {
    return futurize([&] {
        check_shares("set shares of", "a scheduling group", shares);
        return on_all([group, shares] { this_shard().scheduler().set_shares(group, shares); });
    });
}

future<> host::set_group_io_shares(scheduling_group group, unsigned shares) {
    return futurize([&] {
        check_shares("set file shares of", "a scheduling group", shares);
        return on_all([group, shares] { this_shard().scheduler().set_io_shares(group, shares); });
    });
}

}  // namespace weir
