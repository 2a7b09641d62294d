// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <exception>
#include <span>
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
