// SPDX-License-Identifier: Apache-2.0
#include <broker/server/request_times.hh>

#include <algorithm>
#include <cstdint>
#include <string>

#include <weir/core/shard.hh>

namespace weir::broker {

void request_times::record(protocol::api_key key, duration took) noexcept {
    if (const protocol::api* known = protocol::find_api(key)) {
        const auto row = static_cast<std::size_t>(known - protocol::apis);
        _by_api[row].record(static_cast<std::uint64_t>(std::max(took.count(), duration::rep{0})));
    }
}

void request_times::register_metrics(std::vector<metrics::registration>& into) const {
    for (const protocol::api& known : protocol::apis) {
        into.push_back(this_shard().metrics().histogram(
            {.name = "weir_broker_request_seconds",
             .help = "Time from a request's last byte to its answer.",
             .labels = {{"api", std::string(protocol::kafka_name(known.key))}},
             .scale = 1e-9},
            of(known.key)));
    }
}

const histogram* request_times::of(protocol::api_key key) const noexcept {
    const protocol::api* known = protocol::find_api(key);
    return known ? &_by_api[static_cast<std::size_t>(known - protocol::apis)] : nullptr;
}

}  // namespace weir::broker
