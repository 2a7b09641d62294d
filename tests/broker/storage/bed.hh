// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <broker/protocol/record.hh>
#include <broker/storage/log.hh>
#include <doctest/doctest.h>

#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/io/sim/memory.hh>
#include <weir/io/sim/world.hh>

namespace weir::broker::storage_test {

using io::sim::memory::outside;

/// Limits small enough that a few kilobytes roll a segment.
inline log_options small_options() {
    log_options options;
    options.segment_bytes = 64 << 10;
    options.zero_ahead_min_bytes = 8 << 10;
    options.zero_ahead_max_bytes = 32 << 10;
    options.max_batch_bytes = 16 << 10;
    options.max_commit_bytes = 16 << 10;
    options.max_waiting_bytes = 64 << 10;
    options.index_interval_bytes = 512;
    options.max_index_entries = 8;
    return options;
}

/// A batch of `count` records whose values are the numbers from `first` on, each in `value_bytes`.
inline std::vector<std::byte> batch_of(std::uint64_t first, int count, std::size_t value_bytes = 8,
                                       std::int64_t timestamp = 1000) {
    protocol::batch_builder builder;
    for (int i = 0; i < count; ++i) {
        std::vector<std::byte> value(std::max<std::size_t>(value_bytes, 8), std::byte{0x5a});
        protocol::store_big(value.data(), first + static_cast<std::uint64_t>(i));
        builder.add(timestamp + i, std::nullopt, value);
    }
    return std::move(builder).build();
}

/// The numbers in batches, by offset.
inline std::vector<std::pair<std::int64_t, std::uint64_t>> records_in(
    std::span<const std::byte> batches) {
    std::vector<std::pair<std::int64_t, std::uint64_t>> found;
    protocol::batch_walk walk(batches);
    while (const auto batch = walk.next()) {
        REQUIRE(batch->crc_matches());
        protocol::record_walk records(*batch);
        while (const auto record = records.next()) {
            found.emplace_back(record->offset,
                               protocol::load_big<std::uint64_t>(record->value->data()));
        }
        REQUIRE(!records.failed());
    }
    return found;
}

/// All numbers from an offset to the end, read as a consumer does.
inline future<std::vector<std::uint64_t>> read_all(log& from, std::int64_t offset,
                                                   std::size_t max_bytes = 5000) {
    std::vector<std::uint64_t> values;
    while (offset < from.end_offset()) {
        const read_result result = co_await from.read(offset, max_bytes);
        REQUIRE(result.how == read_result::outcome::ok);
        REQUIRE(!result.chunks.empty());
        for (const chunk& part : result.chunks) {
            for (const auto& [at, value] : records_in(part.bytes)) {
                if (at >= offset) {
                    REQUIRE(at == offset);
                    values.push_back(value);
                    ++offset;
                }
            }
        }
    }
    co_return values;
}

inline std::vector<std::uint64_t> numbers(std::uint64_t first, std::uint64_t count) {
    std::vector<std::uint64_t> all(count);
    for (std::uint64_t i = 0; i < count; ++i) {
        all[i] = first + i;
    }
    return all;
}

/// A simulated host of one shard, its disk, and code that runs on it.
struct bed {
    explicit bed(std::uint64_t seed, io::sim::world_options options = {},
                 std::unordered_set<std::string> canaries = {})
        : world(seed, options), host(world.add_host([&] {
              host_options made;
              made.name = "broker";
              made.shards = 1;
              made.canaries = std::move(canaries);
              made.log = &lines;
              return made;
          }())) {}

    /// Runs `body` to its end; fails the test if it fails.
    void run(std::function<future<>()> body) {
        INFO("seed ", world.seed());
        start(std::move(body));
        REQUIRE(world.run_until([&] { return !host.running(); }, std::chrono::hours(1)));
        REQUIRE(host.failure() == "");
    }
    /// Begins `body`, for a test that cuts it short.
    void start(std::function<future<>()> body) {
        host.start([body = std::move(body)](weir::host&) -> future<> {
            co_await body();
            REQUIRE(this_shard().counters().failures_ignored == 0);
        });
    }

    /// Takes a program's rights to a file or directory away, or gives them back; likewise.
    void forbid(const std::string& path, bool forbidden = true) {
        const outside memory;
        REQUIRE(host.disk().forbid(path, forbidden));
    }

    struct sink final : log_sink {
        void write(const log_line&) noexcept override { ++count; }
        unsigned count = 0;
    };
    /// Changes bytes of a file on the device; callable from code of the host.
    void corrupt(const std::string& path, std::uint64_t at, std::span<const std::byte> bytes) {
        const outside memory;
        REQUIRE(host.disk().corrupt(path, at, bytes));
    }

    sink lines;
    io::sim::world world;
    io::sim::sim_host& host;
};

/// A stretch of a host's work in which some allocations in a row fail.
struct scarcity {
    void begin() const { io::sim::memory::fail(first, times); }
    void end() { met = io::sim::memory::stop_failing() > 0; }

    std::uint64_t first;  ///< that fails, counted from begin()
    std::uint64_t times;  ///< how many
    bool met = false;     ///< whether one was asked for
};

/// Calls `body` with each allocation of its stretch as the first that fails: alone, and with those
/// behind it, `times` in all.
inline void whichever_allocation_fails(std::uint64_t times,
                                       const std::function<void(scarcity&)>& body) {
    for (const std::uint64_t in_a_row : {std::uint64_t{1}, times}) {
        scarcity here{0, in_a_row};
        do {
            CAPTURE(here.first);
            CAPTURE(here.times);
            here.met = false;
            body(here);
            ++here.first;
        } while (here.met);
        CHECK(here.first > 10);
    }
}

/// Opens the log of a directory, which it makes, calls `body` and closes the log.
inline future<> with_log(std::string directory, log_options options,
                         std::function<future<>(log&)> body) {
    co_await io::make_directories(directory);
    recent_memory recent(256 << 10);
    auto opened = co_await log::open(directory, options, recent);
    std::exception_ptr failure;
    try {
        co_await body(*opened);
    } catch (...) {
        failure = std::current_exception();
    }
    co_await opened->close();
    if (failure) {
        std::rethrow_exception(failure);
    }
}

/// What `awaited` failed with.
template <typename T>
future<error> failure_of(future<T> awaited) {
    try {
        co_await std::move(awaited);
    } catch (const error& e) {
        co_return e;
    }
    throw std::runtime_error("it did not fail");
}

}  // namespace weir::broker::storage_test
