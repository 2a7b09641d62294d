// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/produce.hh>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include <broker/protocol/record_check.hh>
#include <broker/server/broker.hh>
#include <broker/server/decode.hh>
#include <broker/server/dispatch.hh>
#include <broker/server/route.hh>
#include <broker/storage/off_reactor.hh>

#include <weir/core/await_all.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/probe.hh>

namespace weir::broker {

namespace {

using protocol::error_code;
using protocol::produce_request;
using part = protocol::produce_response::partition;

// What a part takes: decoded, under way and answered.
constexpr std::size_t bytes_per_part = 512;

// Batches that open to less may be compressed as well as their codec can.
constexpr std::size_t any_ratio_bytes = std::size_t{1} << 20;

std::span<std::byte> bytes_of(const produce_request::partition& asked) {
    // The frame is the request's own.
    return {const_cast<std::byte*>(asked.records->bytes.data()), asked.records->bytes.size()};
}

// On the partition's shard: appends a batch from the frame and patches it there. The frame lives
// until all parts of its request are answered.
// next: storage/log.cc append()
future<part> append(broker& owner, std::string_view topic, std::int32_t index,
                    std::span<std::byte> records) {
    probe("append");
    log* const found = owner.find(topic, index);
    if (found == nullptr) {
        co_return part{index, owner.code_of_missing(topic, index)};
    }
    // All memory is there before the log has the batch: from then on its end is waited for.
    const topic_partition at{std::string(topic), index};
    auto appended = found->append_borrowed(records);
    co_await settled(appended);
    if (appended.failed()) {
        co_return part{index, owner.code_of(appended.take_failure())};
    }
    const append_result result = appended.take();
    owner.grown(at);
    co_return part{index, error_code::none, result.base_offset, result.log_append_time,
                   found->start_offset()};
}

/// One produce: checks its batches and sends them to their partitions, in order; waits for all.
class produce_work {
  public:
    produce_work(broker& here, request& asked) : _here(here), _asked(asked) {}

    future<answer> run();

  private:
    future<> send_all();
    error_code refusal() const;
    future<part> send(std::string_view topic, const produce_request::partition& wanted,
                      error_code fault);
    future<error_code> check(const produce_request::partition& wanted);
    future<protocol::record_check> look_at(const protocol::batch_view& batch);
    answer finish();

    broker& _here;
    request& _asked;
    produce_request _body;
    wall_clock_ms _latest = 0;         // that a record may bear
    semaphore_units _own;              // memory for all that is not the records
    std::vector<future<part>> _parts;  // in the order of the request; they read from the frame
};

error_code produce_work::refusal() const {
    const auto& served = protocol::find_api(protocol::api_key::produce)->served;
    if (!served.contains(_asked.header.version)) {
        return error_code::unsupported_version;
    }
    return _body.acks < -1 || _body.acks > 1 ? error_code::invalid_required_acks : error_code::none;
}

future<> produce_work::send_all() {
    const error_code refused = refusal();
    std::size_t count = 0;
    for (const auto& topic : _body.topics) {
        count += topic.partitions.size();
    }
    _own = co_await _here.admit(_asked, count * bytes_per_part);
    _parts.reserve(count);
    for (const auto& topic : _body.topics) {
        for (const auto& wanted : topic.partitions) {
            error_code fault = refused;
            if (fault == error_code::none && !_here.topics().has(topic.name, wanted.index)) {
                fault = error_code::unknown_topic_or_partition;
            }
            if (fault == error_code::none) {
                auto checked = futurize([&] { return check(wanted); });
                co_await settled(checked);
                fault = checked.failed() ? _here.code_of(checked.take_failure()) : checked.take();
            }
            _parts.push_back(futurize([&] { return send(topic.name, wanted, fault); }));
            co_await maybe_yield();
        }
    }
}

// Whatever goes wrong with one partition is told of that one; the others have their own answers.
future<part> produce_work::send(std::string_view topic, const produce_request::partition& wanted,
                                error_code fault) {
    if (fault != error_code::none) {
        return make_ready_future<part>(part{wanted.index, fault});
    }
    return route(_here, topic, wanted.index,
                 [topic, index = wanted.index, records = bytes_of(wanted)](broker& owner) {
                     return append(owner, topic, index, records);
                 });
}

// How large it is, then what is wrong with the header, then with the records, which are opened if
// need be: the cheapest comes first.
future<error_code> produce_work::check(const produce_request::partition& wanted) {
    const auto payload = wanted.records ? wanted.records->bytes : protocol::byte_view{};
    protocol::batch_fault fault{error_code::message_too_large, "above max-batch-bytes"};
    if (payload.size() <= _here.options().storage.log.max_batch_bytes) {
        fault = protocol::check_produced(payload, _asked.header.version);
    }
    if (fault.ok()) {
        const protocol::batch_view batch(payload);
        const protocol::record_check found = co_await look_at(batch);
        fault = found.unfinished
                    ? protocol::batch_fault{error_code::message_too_large, "opens to too much"}
                    : found.fault;
        if (fault.ok() &&
            (found.max_timestamp != batch.max_timestamp() || batch.uses_log_append_time())) {
            _here.count_corrected_batch();
            protocol::patch_times(bytes_of(wanted), found.max_timestamp);
        }
    }
    if (!fault.ok()) {
        _here.count_bad_batch(_asked, fault.reason);
    }
    co_return fault.code;
}

future<protocol::record_check> produce_work::look_at(const protocol::batch_view& batch) {
    const broker_options& options = _here.options();
    const std::size_t by_ratio = batch.records().size() * options.opened_ratio_max;
    const protocol::scan_limits all{
        std::min(options.opened_bytes_max, std::max(by_ratio, any_ratio_bytes)),
        options.opened_bytes_max};
    const protocol::record_check found = protocol::check_records(batch, protocol::at_once, _latest);
    if (!found.unfinished) {
        co_return found;
    }
    _here.count_opened_elsewhere();
    const semaphore_units place = co_await _here.openings().acquire();
    co_return co_await off_reactor([&] { return protocol::check_records(batch, all, _latest); });
}

future<answer> produce_work::run() {
    _latest = this_shard().wall_now() + _here.options().timestamp_ahead_max_ms;
    std::exception_ptr failure;
    {
        // While a batch is looked at elsewhere, those of later requests wait behind it.
        const semaphore_units turn = co_await _asked.from.produces.acquire();
        _body = decode_body<produce_request>(_asked);
        try {
            co_await send_all();
        } catch (...) {
            failure = std::current_exception();
        }
    }
    // All are awaited, come what may: they read from the frame.
    for (future<part>& each : _parts) {
        co_await settled(each);
    }
    if (failure) {
        for (future<part>& each : _parts) {
            std::move(each).ignore();
        }
        std::rethrow_exception(failure);
    }
    co_return finish();
}

answer produce_work::finish() {
    protocol::produce_response response;
    std::size_t number = 0;
    bool failed = false;
    for (const auto& topic : _body.topics) {
        if (topic.partitions.empty()) {
            continue;  // as Kafka does
        }
        auto& to = response.topics.emplace_back();
        to.name = topic.name;
        to.partitions.reserve(topic.partitions.size());
        for (const auto& wanted : topic.partitions) {
            future<part>& each = _parts[number++];
            to.partitions.push_back(each.failed()
                                        ? part{wanted.index, _here.code_of(each.take_failure())}
                                        : each.take());
            failed = failed || to.partitions.back().error != error_code::none;
        }
    }
    answer result = make_answer(_asked, response, std::move(_own));
    if (_body.acks == 0) {
        // No answer was asked for; a failure can only be told by closing.
        result.silent = true;
        result.close = failed;
    }
    return result;
}

}  // namespace

// next: append() above, on the shard of each partition
future<answer> produce(broker& here, request& asked) {
    probe("produce");
    produce_work work(here, asked);
    co_return co_await work.run();
}

}  // namespace weir::broker
