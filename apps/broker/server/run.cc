// SPDX-License-Identifier: Apache-2.0
#include <exception>
#include <utility>

#include <broker/server/broker.hh>
#include <broker/storage/data_directory.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>

namespace weir::broker {

namespace {

future<> start_and_wait(host& on, sharded<broker>& shards, const broker_options& options,
                        std::function<void(const broker_addresses&)> started) {
    co_await shards.invoke_on_all([](broker& each) { return each.open(); });
    co_await shards.local().learn_topics();
    co_await shards.local().listen(options.listen);
    const net::address clients = shards.local().where();
    co_await shards.invoke_on_all([clients](broker& each) {
        return this_shard().id() == 0 ? make_ready_future() : each.listen(clients);
    });
    started({clients, options.admin});
    co_await on.until_stop();
}

}  // namespace

future<> run_broker(host& on, broker_options options,
                    std::function<void(const broker_addresses&)> started) {
    data_directory data = co_await data_directory::open(options.data_directory, options.node_id);
    sharded<broker> shards;
    std::exception_ptr failure;
    try {
        co_await shards.start(options, &shards);
        co_await start_and_wait(on, shards, options, std::move(started));
    } catch (...) {
        failure = std::current_exception();
    }
    co_await shards.stop();
    co_await data.close();
    if (failure) {
        std::rethrow_exception(failure);
    }
}

}  // namespace weir::broker
