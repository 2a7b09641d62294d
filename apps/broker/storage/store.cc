// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/store.hh>

#include <algorithm>
#include <utility>

#include <weir/core/coroutine.hh>
#include <weir/core/loop.hh>

namespace weir::broker {

namespace {

constexpr std::string_view lock_name = ".lock";

}  // namespace

future<data_directory> data_directory::open(std::string path) {
    co_await io::make_directories(path);
    data_directory opened;
    opened._path = path;
    opened._lock =
        co_await io::file::open(path + "/" + std::string(lock_name),
                                {.mode = io::op::access::read_write, .create = true, .lock = true});
    for (const std::string& name : co_await io::list_directory(path)) {
        if (const auto found = partition_of_directory(name)) {
            opened._partitions.push_back(*found);
        } else if (!name.starts_with('.') && name != "lost+found") {
            throw error("open data directory",
                        path + " (holds " + name + ", which is no partition of a broker)",
                        errc::malformed);
        }
    }
    std::sort(opened._partitions.begin(), opened._partitions.end());
    co_return opened;
}

store::store(std::string directory, store_options options)
    : _directory(std::move(directory)), _options(options), _recent(options.recent_bytes) {}

store::~store() = default;

future<std::unique_ptr<store>> store::open(std::string directory, store_options options,
                                           std::vector<topic_partition> partitions) {
    options.log.check();
    std::unique_ptr<store> opened(new store(std::move(directory), options));
    std::exception_ptr failure;
    try {
        co_await max_concurrent_for_each(
            partitions, options.open_together,
            [&opened](const topic_partition& each) { return opened->open_log(each); });
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) {
        co_await opened->close();
        std::rethrow_exception(failure);
    }
    co_return opened;
}

future<> store::open_log(const topic_partition& of) {
    auto opened = co_await log::open(_directory + "/" + directory_name(of), _options.log, _recent);
    _logs.emplace(of, std::move(opened));
}

log* store::find(std::string_view topic, std::int32_t partition) const {
    const auto found = _logs.find(topic_partition{std::string(topic), partition});
    return found == _logs.end() ? nullptr : found->second.get();
}

future<> store::create(const topic_partition& added) {
    if (_logs.contains(added)) {
        co_return;
    }
    const topic_partition own = added;
    co_await io::make_directory(_directory + "/" + directory_name(own));
    co_await io::sync_directory(_directory);
    co_await open_log(own);
}

future<> store::close() {
    std::exception_ptr failure;
    for (auto& [name, each] : _logs) {
        try {
            co_await each->close();
        } catch (...) {
            failure = failure ? failure : std::current_exception();
        }
    }
    _logs.clear();
    if (failure) {
        std::rethrow_exception(failure);
    }
}

log_metrics store::metrics() const {
    log_metrics sum;
    for (const auto& [name, each] : _logs) {
        sum += each->metrics();
    }
    return sum;
}

}  // namespace weir::broker
