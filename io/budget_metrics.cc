// SPDX-License-Identifier: Apache-2.0
#include <weir/io/budget_metrics.hh>

#include <exception>

#include <weir/core/log.hh>

namespace weir::io {

budget_metrics::budget_metrics(shard& of, budget& counted) : _shard(of), _budget(counted) {
    metrics& to = of.metrics();
    const auto& window = counted.window().counted();
    _kept.push_back(to.gauge(
        {"weir_io_window_bytes", "What reads and writes of files may have in flight now, in cost."},
        &counted.limit()));
    _kept.push_back(to.gauge({"weir_io_window_used_bytes", "What they have in flight, in cost."},
                             &counted.in_flight()));
    _kept.push_back(to.counter({"weir_io_window_shrinks_total",
                                "Times that the window shrank for operations that waited in the "
                                "device."},
                               &window.shrinks));
    _kept.push_back(to.counter({"weir_io_window_grows_total",
                                "Times that the window grew for operations that waited for it."},
                               &window.grows));
    _kept.push_back(to.counter({"weir_io_window_probes_total",
                                "Times that the window fell to its minimum to see what "
                                "the device does when it is idle."},
                               &window.probes));
    _kept.push_back(to.gauge({"weir_io_operation_max_bytes",
                              "Reads and writes of files go in pieces of this size at most."},
                             &counted.options().operation_bytes_max));
    _kept.push_back(to.gauge({"weir_io_turn_copied_max_bytes",
                              "What reads and writes that are not direct copy in one turn."},
                             &counted.options().copied_bytes_max));
    _kept.push_back(to.counter({"weir_io_turn_waits_total",
                                "Reads and writes of files that waited for a turn to copy them."},
                               &counted.waited_for_turn()));
    _kept.push_back(to.gauge({"weir_io_direct_operation_max_bytes", "The same of direct ones."},
                             &counted.options().direct_operation_bytes_max));
    counted.on_group([this](scheduling_group group) {
        try {
            add(group);
        } catch (const std::exception& failure) {
            // The group's work does not depend on it.
            _shard.log().write(_shard.log_context(), log_level::warning, "group has no metrics",
                               {{"cause", failure.what()}});
        }
    });
}

void budget_metrics::add(scheduling_group group) {
    metrics& to = _shard.metrics();
    const budget_counters& counted = _budget.of(group);
    const std::vector<metric_label> label = {{"group", _shard.scheduler().name(group)}};
    const auto count = [&](const char* name, const char* help, const std::uint64_t& field,
                           double scale = 1) {
        _kept.push_back(to.counter({name, help, label, scale}, &field));
    };
    const auto gauge = [&](const char* name, const char* help, const std::uint64_t& field) {
        _kept.push_back(to.gauge({name, help, label}, &field));
    };
    gauge("weir_io_group_in_flight", "Reads and writes of files under way.", counted.in_flight);
    gauge("weir_io_group_waiting", "Reads and writes of files that wait for their turn.",
          counted.waiting);
    count("weir_io_group_admitted_total", "Reads and writes of files started.", counted.admitted);
    count("weir_io_group_bytes_total", "Bytes of the reads and writes started.", counted.bytes);
    count("weir_io_group_wait_seconds_total", "Time that they waited for their turn, together.",
          counted.wait_ns, 1e-9);
}

}  // namespace weir::io
