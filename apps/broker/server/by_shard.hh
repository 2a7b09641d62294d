// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <exception>
#include <map>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <broker/server/broker.hh>
#include <broker/server/errand.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/core/when.hh>

namespace weir::broker {

/// Which entries of a request belong to which shard, by their numbers in the request.
using entries_by_shard = std::vector<std::vector<std::uint32_t>>;
using entry_numbers = std::span<const std::uint32_t>;

/// What one entry came to, on its way back.
template <typename Result>
struct numbered {
    std::uint32_t number;
    Result result;
};

/// Goes through the partitions that a request names, in its order.
/// topics   of the request, in its frame
/// added    called with topic and partition where one is named first; gets the numbers from 0 on
/// again    called with its number and what is said of it, where one is named again
template <typename Topics, typename Added, typename Again>
future<> each_once(const Topics& topics, Added added, Again again) {
    if (topics.size() == 1 && topics.front().partitions.size() == 1) {
        added(topics.front().name, topics.front().partitions.front());
        co_return;
    }
    std::map<std::pair<std::string_view, std::int32_t>, std::uint32_t> known;
    std::uint32_t count = 0;
    for (const auto& topic : topics) {
        for (const auto& wanted : topic.partitions) {
            const auto [at, is_new] =
                known.try_emplace({topic.name, wanted.partition_index}, count);
            if (is_new) {
                ++count;
                added(topic.name, wanted);
            } else {
                again(at->second, wanted);
            }
            co_await maybe_yield();
        }
    }
}

/// returns  where an answer has the partitions of a topic, for those that follow one another
template <typename Topics>
auto& partitions_in(Topics& topics, std::string_view name) {
    if (topics.empty() || topics.back().name != name) {
        topics.emplace_back().name = name;
    }
    return topics.back().partitions;
}

/// Calls `fn(broker&, numbers)` on each shard that has entries, one errand a shard, and waits for
/// all, however they end: what they read from lies with the caller.
/// fn       returns a future of a vector of numbered results
/// take     called here with each of these
/// fails    as the first that failed
template <typename Fn, typename Take>
future<> on_shards_of(broker& here, const entries_by_shard& entries, Fn fn, Take take) {
    using results = std::invoke_result_t<Fn&, broker&, entry_numbers>;
    std::vector<results> calls;
    calls.reserve(entries.size());
    std::exception_ptr failure;
    try {
        for (shard_id each = 0; each < entries.size(); ++each) {
            const entry_numbers numbers = entries[each];
            if (numbers.empty()) {
                continue;
            }
            const auto work = [&fn, numbers](broker& owner) { return fn(owner, numbers); };
            calls.push_back(each == this_shard().id() ? futurize(work, here)
                                                      : run_errand(here.all(), each, work));
        }
    } catch (...) {
        failure = std::current_exception();
    }
    for (results& each : calls) {
        co_await settled(each);
    }
    for (results& each : calls) {
        if (each.failed()) {
            failure = failure ? failure : each.take_failure();
        } else {
            for (auto& one : each.take()) {
                take(one.number, std::move(one.result));
            }
        }
        if (each.valid()) {
            std::move(each).ignore();
        }
        co_await maybe_yield();
    }
    if (failure) {
        std::rethrow_exception(failure);
    }
}

}  // namespace weir::broker
