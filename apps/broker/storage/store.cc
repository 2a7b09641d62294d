// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/store.hh>

#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>

namespace weir::broker {

future<std::unique_ptr<store>> store::open(std::string directory, store_options options,
                                           owner_test owns) {
    options.log.check();
    options.reopen.check();
    if (options.recoveries_at_once == 0) {
        throw error("check store options", "recoveries_at_once: above 0", errc::malformed);
    }
    std::unique_ptr<store> opened(new store(std::move(directory), options));
    std::exception_ptr failure;
    try {
        co_await opened->open_all(std::move(owns));
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) {
        co_await opened->close();
        std::rethrow_exception(failure);
    }
    co_return opened;
}

future<> store::open_all(owner_test owns) {
    // Whoever made a partition's directory may have died before it was synced.
    co_await io::sync_directory(_directory);
    semaphore places(_options.recoveries_at_once);
    std::vector<future<>> opening;
    std::exception_ptr failure;
    for (const std::string& name : co_await io::list_directory(_directory)) {
        const auto which = partition_of_directory(name);
        if (which && owns(*which)) {
            opening.push_back(open_one(*which, co_await places.acquire()));
        }
    }
    // All are awaited, come what may.
    for (future<>& each : opening) {
        try {
            co_await std::move(each);
        } catch (...) {
            failure = failure ? failure : std::current_exception();
        }
    }
    if (failure) {
        std::rethrow_exception(failure);
    }
}

// The place is free again for the next when this log is open.
future<> store::open_one(topic_partition which, semaphore_units) {
    const std::string path = _directory + "/" + directory_name(which);
    keep(which, co_await log::open(path, _options.log, _recent, &_ahead));
}

log* store::find(const topic_partition& which) noexcept {
    const auto found = _logs.find(which);
    return found == _logs.end() ? nullptr : found->second.get();
}

future<log*> store::create(topic_partition which) {
    if (_closed) {
        throw error("create", directory_name(which), errc::closed);
    }
    const gate::holder inside = _creations.hold();
    // Two who ask for one partition at once: the second waits for the first, and looks again.
    while (true) {
        if (log* there = find(which)) {
            co_return there;
        }
        const auto [being, first] = _being_made.try_emplace(which);
        if (first) {
            break;
        }
        being->second.emplace_back();
        co_await being->second.back().get_future();
    }
    std::exception_ptr failure;
    try {
        co_await make(which);
    } catch (...) {
        failure = std::current_exception();
    }
    auto made = _being_made.extract(which);
    for (promise<>& waiting : made.mapped()) {
        waiting.set_value();
    }
    if (failure) {
        std::rethrow_exception(failure);
    }
    co_return find(which);
}

future<log*> store::make(topic_partition which) {
    if (!is_topic_name(which.topic) || which.partition < 0) {
        throw error("create", directory_name(which), errc::malformed);
    }
    if (_logs.size() >= _options.max_partitions) {
        throw error("create", directory_name(which) + " (max_partitions)", errc::limit_exceeded);
    }
    const std::string path = _directory + "/" + directory_name(which);
    co_await io::make_directory(path);
    if (!this_host().canary("missing-directory-sync")) {
        co_await io::sync_directory(_directory);
    }
    co_return &keep(which, co_await log::open(path, _options.log, _recent, &_ahead));
}

log& store::keep(const topic_partition& which, std::unique_ptr<log> opened) {
    log& kept = *(_logs[which] = std::move(opened));
    _keeper.watch(kept);
    return kept;
}

std::vector<topic_partition> store::partitions() const {
    std::vector<topic_partition> all;
    all.reserve(_logs.size());
    for (const auto& each : _logs) {
        all.push_back(each.first);
    }
    return all;
}

future<> store::close() {
    WEIR_ASSERT(!_closed);
    _closed = true;
    co_await _creations.close();
    co_await _keeper.close();
    for (auto& each : _logs) {
        co_await each.second->close();
    }
}

log_metrics store::metrics() const noexcept {
    log_metrics sum;
    for (const auto& each : _logs) {
        sum += each.second->metrics();
    }
    return sum;
}

}  // namespace weir::broker
