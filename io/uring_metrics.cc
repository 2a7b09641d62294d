// SPDX-License-Identifier: Apache-2.0
#include <weir/io/uring_metrics.hh>

#include <utility>

namespace weir::io {

std::vector<metrics::registration> register_metrics(metrics& registry, const uring& backend) {
    const uring_statistics& counted = backend.statistics();
    std::vector<metrics::registration> kept;
    const auto count = [&](const char* name, const char* help, const std::uint64_t& field) {
        kept.push_back(registry.counter({name, help}, &field));
    };
    const auto gauge = [&](const char* name, const char* help, const std::uint64_t& field,
                           std::vector<metric_label> labels = {}) {
        kept.push_back(registry.gauge({name, help, std::move(labels)}, &field));
    };
    count("weir_io_operations_total", "Operations started.", counted.started);
    count("weir_io_completed_total", "Operations completed.", counted.completed);
    const char* in_flight = "Operations in the kernel now.";
    gauge("weir_io_in_flight", in_flight, counted.files_in_flight, {{"kind", "file"}});
    gauge("weir_io_in_flight", in_flight, counted.sockets_in_flight, {{"kind", "socket"}});
    gauge("weir_io_waiting", "Operations in line for a limit now.", counted.waiting);
    count("weir_io_waited_total", "Operations that stood in line for a limit.", counted.waited);
    count("weir_io_enters_total", "System calls that entered the ring.", counted.enters);
    count("weir_io_overflows_total", "Enters with more completions than the queue holds.",
          counted.overflows);
    gauge("weir_io_buffers_lent", "Receive buffers lent now.", counted.buffers_lent);
    count("weir_io_out_of_buffers_total", "Receives that ended for lack of a buffer.",
          counted.out_of_buffers);
    count("weir_io_zero_copy_sends_total", "Sends without a copy.", counted.zero_copy_sends);
    const char* wakes = "Sleeping peers woken.";
    kept.push_back(
        registry.counter({"weir_io_wakes_total", wakes, {{"by", "ring"}}}, &counted.wakes_by_ring));
    kept.push_back(registry.counter({"weir_io_wakes_total", wakes, {{"by", "event"}}},
                                    &counted.wakes_by_event));
    return kept;
}

}  // namespace weir::io
