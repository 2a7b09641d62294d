// SPDX-License-Identifier: Apache-2.0
#include <broker/server/fetch_parts.hh>

#include <broker/server/broker.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/probe.hh>

namespace weir::broker {

using protocol::error_code;

namespace {

/// Kafka's word for a client that knows of another leader than this one.
error_code check_epoch(std::int32_t claimed, std::int32_t ours) noexcept {
    if (claimed < 0 || claimed == ours) {
        return error_code::none;
    }
    return claimed < ours ? error_code::fenced_leader_epoch : error_code::unknown_leader_epoch;
}

future<fetch_look> look_at(broker& owner, const fetch_entry& of, std::size_t enough) {
    log* const found = owner.find(of.topic, of.wanted->partition_index);
    if (found == nullptr) {
        co_return fetch_look{owner.code_of_missing(of.topic, of.wanted->partition_index)};
    }
    const std::int32_t epoch = owner.options().storage.log.leader_epoch;
    if (const auto fault = check_epoch(of.wanted->current_leader_epoch, epoch);
        fault != error_code::none) {
        co_return fetch_look{fault};
    }
    const std::int64_t offset = of.wanted->fetch_offset;
    if (offset < found->start_offset() || offset > found->end_offset()) {
        co_return fetch_look{error_code::offset_out_of_range};
    }
    co_await found->prepare_outlook(offset);
    co_return fetch_look{error_code::none, found->end_offset(), found->start_offset(),
                         found->outlook(offset, enough)};
}

}  // namespace

future<std::vector<numbered<fetch_look>>> look_at_all(broker& owner,
                                                      const std::vector<fetch_entry>& entries,
                                                      entry_numbers which, std::size_t enough) {
    std::vector<numbered<fetch_look>> found;
    found.reserve(which.size());
    for (const std::uint32_t number : which) {
        found.push_back({number, co_await look_at(owner, entries[number], enough)});
        co_await maybe_yield();
    }
    co_return found;
}

// next: storage/log.cc read()
future<std::vector<numbered<fetch_read>>> read_all(broker& owner,
                                                   const std::vector<fetch_entry>& entries,
                                                   entry_numbers which) {
    probe("read");
    std::vector<future<read_result>> reads;
    std::vector<numbered<fetch_read>> results;
    reads.reserve(which.size());
    results.reserve(which.size());
    for (const std::uint32_t number : which) {
        const fetch_entry& of = entries[number];
        reads.push_back(futurize([&] {
            log* const found = owner.find(of.topic, of.wanted->partition_index);
            return found == nullptr
                       ? make_ready_future<read_result>(read_result{})
                       : found->read(of.wanted->fetch_offset, of.planned, of.first_max);
        }));
        co_await maybe_yield();
    }
    for (std::size_t i = 0; i < reads.size(); ++i) {
        co_await settled(reads[i]);
        if (reads[i].failed()) {
            results.push_back({which[i], {owner.code_of(reads[i].take_failure())}});
        } else {
            results.push_back({which[i], {error_code::none, reads[i].take()}});
        }
    }
    co_return results;
}

future<std::vector<numbered<bool>>> watch_all(broker& owner,
                                              const std::vector<fetch_entry>& entries,
                                              entry_numbers which, fetch_ticket ticket) {
    std::vector<numbered<bool>> grown;
    for (const std::uint32_t number : which) {
        const fetch_entry& of = entries[number];
        const log* const found = owner.find(of.topic, of.wanted->partition_index);
        // What has been seen already is no news: only more than that is.
        if (found == nullptr ? of.error == error_code::none
                             : found->end_offset() > of.high_watermark && of.high_watermark >= 0) {
            grown.push_back({number, true});
            break;
        }
        owner.progress().leave_ticket(of.topic, of.wanted->partition_index, ticket);
        co_await maybe_yield();
    }
    co_return grown;
}

future<std::vector<numbered<bool>>> unwatch_all(broker& owner,
                                                const std::vector<fetch_entry>& entries,
                                                entry_numbers which, fetch_ticket ticket) {
    for (const std::uint32_t number : which) {
        const fetch_entry& of = entries[number];
        owner.progress().take_ticket(of.topic, of.wanted->partition_index, ticket);
        co_await maybe_yield();
    }
    co_return std::vector<numbered<bool>>();
}

}  // namespace weir::broker
