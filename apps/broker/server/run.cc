// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <exception>
#include <optional>
#include <utility>

#include <broker/server/broker.hh>
#include <broker/storage/data_directory.hh>
#include <broker/storage/file_system.hh>
#include <broker/storage/topics_file.hh>

#include <weir/core/abort.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/core/sleep.hh>
#include <weir/net/admin.hh>

namespace weir::broker {

namespace {

// What the admin page tells of a broker, beside the shards.
net::admin_options admin_options_of(const broker_options& options) {
    using unit = net::admin_unit;
    net::admin_options admin;
    admin.at = options.admin;
    admin.title = "weir broker";
    admin.tables.push_back(
        {.title = "Clients",
         .row_header = "",
         .row_labels = {},
         .columns = {{"connections", "weir_broker_connections"},
                     {"requests", "weir_broker_requests_total", unit::count_per_second},
                     {"request memory", "weir_broker_request_bytes", unit::bytes},
                     {"long polls", "weir_broker_fetch_waits_total", unit::count_per_second},
                     {"refused", "weir_broker_refusals_total"}}});
    admin.tables.push_back(
        {.title = "Logs",
         .row_header = "",
         .row_labels = {},
         .columns = {{"partitions", "weir_broker_partitions"},
                     {"appended", "weir_broker_append_bytes", unit::bytes_per_second},
                     {"commits", "weir_broker_commits", unit::count_per_second},
                     {"waiting", "weir_broker_waiting_bytes", unit::bytes},
                     {"stopped now", "weir_broker_logs_stopped"},
                     {"stops", "weir_broker_log_stops"}}});
    return admin;
}

/// Most starts have all logs after a moment: clients then meet none that is not ready yet. The
/// others are served as they become ready.
future<> wait_for_logs(host& on, sharded<broker>& shards, duration wait_max) {
    abort_source stop_waiting;
    stop_waiting.abort_at(this_shard().now() + wait_max);
    try {
        for (;;) {
            std::size_t opening = 0;
            for (const std::size_t here :
                 co_await shards.map([](broker& each) { return each.opening(); })) {
                opening += here;
            }
            if (opening == 0 || on.stop_requested()) {
                co_return;
            }
            co_await sleep_for(std::chrono::milliseconds(2), stop_waiting);
        }
    } catch (const error&) {
        // It was long enough.
    }
}

future<> start_and_wait(host& on, sharded<broker>& shards, net::admin_server* admin,
                        const broker_options& options,
                        std::function<void(const broker_addresses&)> started) {
    // What is there already is believed also where there is too little memory for new ones.
    const std::vector<topic_entry> topics = co_await learn_topics(
        options.data_directory, std::max(options.partitions_max, broker_options().partitions_max));
    co_await shards.invoke_on_all([&topics](broker& each) { return each.open(topics); });
    co_await wait_for_logs(on, shards, options.open_wait_max);
    co_await shards.local().listen(options.listen);
    const net::address clients = shards.local().where();
    co_await shards.invoke_on_all([clients](broker& each) {
        return this_shard().id() == 0 ? make_ready_future() : each.listen(clients);
    });
    if (admin) {
        admin->set_ready();
    }
    started({clients, admin ? admin->where() : options.admin});
    co_await on.until_stop();
}

}  // namespace

net::message_budget_options broker_options::request_budget() const noexcept {
    return {.bytes = request_bytes,
            .finish_bytes = large_request_bytes,
            .whole_bytes = (request_bytes - large_request_bytes) / 8};
}

future<> run_broker(host& on, broker_options options,
                    std::function<void(const broker_addresses&)> started) {
    options.check();
    options.check_addresses();
    // The budget of requests holds producers back. A log must not refuse what that let in: a batch
    // that is refused and sent again comes behind those that followed it.
    options.storage.log.max_waiting_bytes = options.waiting_bytes(on.shard_count());
    // One limit of partitions, the broker's; what is there already is served beyond it.
    options.storage.max_partitions = listed_partitions_max;
    data_directory data = co_await data_directory::open(options.data_directory, options.node_id);
    options.cluster_id = to_text(data.cluster());
    const file_system_abilities has = co_await probe_file_system(options.data_directory);
    options.storage.log.direct = options.storage.log.direct && has.direct;
    options.storage.log.allocate = options.storage.log.allocate && has.allocate;
    sharded<broker> shards;
    std::optional<net::admin_server> admin;
    std::exception_ptr failure;
    try {
        if (options.serve_admin) {
            // First of all: while logs recover it says that the broker is starting.
            admin.emplace(admin_options_of(options));
            co_await admin->start();
        }
        co_await shards.start(options, &shards);
        co_await start_and_wait(on, shards, admin ? &*admin : nullptr, options, std::move(started));
    } catch (...) {
        failure = std::current_exception();
    }
    if (shards.started()) {
        // A request may be under way on two shards: both serve until the last has been answered.
        co_await shards.invoke_on_all([](broker& each) { return each.stop_serving(); });
        co_await shards.invoke_on_all([](broker& each) { return each.end_calls(); });
    }
    co_await shards.stop();
    if (admin) {
        co_await admin->stop();
    }
    co_await data.close();
    if (failure) {
        std::rethrow_exception(failure);
    }
}

}  // namespace weir::broker
