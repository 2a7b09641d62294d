// SPDX-License-Identifier: Apache-2.0
#include <weir/core/host.hh>

#include <weir/core/assert.hh>

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
    for (auto& reader : _ports) {
        for (auto& writer : _ports) {
            if (reader != writer) {
                reader->join(*writer);
            }
        }
    }
}

void host::disconnect() noexcept {
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

void host::request_stop() {
    struct notice final : foreign_work {
        explicit notice(promise<>& waiting) : stop(waiting) {}
        void run() noexcept override {
            if (stop.open()) {
                stop.set_value();
            }
        }
        promise<>& stop;
    };
    if (!_stop_requested.exchange(true, std::memory_order_relaxed)) {
        _ports[0]->post(std::make_unique<notice>(_stop));
    }
}

future<> host::until_stop() {
    WEIR_ASSERT(this_shard().id() == 0);
    return stop_requested() ? make_ready_future() : _stop.get_future();
}

}  // namespace weir
