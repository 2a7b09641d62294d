// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/fetch.hh>

#include <algorithm>
#include <utility>
#include <vector>

#include <broker/server/broker.hh>
#include <broker/server/decode.hh>
#include <broker/server/dispatch.hh>
#include <broker/server/route.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/probe.hh>

namespace weir::broker {

namespace {

using protocol::error_code;
using protocol::fetch_request;
using protocol::fetch_response;

// For memory, of a client that would wait less.
constexpr duration least_patience = std::chrono::milliseconds(100);

// What one partition gave: on its shard filled in, on the fetch's shard sent.
struct part {
    error_code error = error_code::none;
    std::int64_t high_watermark = -1;
    std::int64_t log_start = -1;
    std::vector<chunk> chunks;
    std::size_t bytes = 0;
};

// On the partition's shard: whole batches from `offset` on, up to what is durable.
// next: storage/log.cc read()
future<part> read(broker& owner, std::string_view topic, std::int32_t index, std::int64_t offset,
                  std::size_t max_bytes) {
    probe("read");
    log* const found = owner.find(topic, index);
    if (found == nullptr) {
        return make_ready_future<part>(part{owner.code_of_missing(topic, index)});
    }
    part result{error_code::none, found->end_offset(), found->start_offset()};
    if (offset < result.log_start || offset > result.high_watermark) {
        result.error = error_code::offset_out_of_range;
        return make_ready_future<part>(std::move(result));
    }
    if (offset == result.high_watermark || max_bytes == 0) {
        return make_ready_future<part>(std::move(result));
    }
    return found->read(offset, max_bytes)
        .then_wrapped([&owner, result = std::move(result)](auto got) mutable {
            if (got.failed()) {
                result.error = owner.code_of(got.take_failure());
                return std::move(result);
            }
            read_result read = got.take();
            result.chunks = std::move(read.chunks);
            result.bytes = read.bytes;
            return std::move(result);
        });
}

// On the partition's shard: leaves a ticket there.
// returns  whether there is something beyond `offset` already, so that waiting would be wrong
future<bool> watch(broker& owner, std::string_view topic, std::int32_t index, std::int64_t offset,
                   fetch_ticket ticket) {
    const log* const found = owner.find(topic, index);
    const bool grown = found == nullptr || found->end_offset() > offset;
    if (!grown) {
        owner.progress().leave_ticket({std::string(topic), index}, ticket);
    }
    return make_ready_future<bool>(grown);
}

future<> unwatch(broker& owner, std::string_view topic, std::int32_t index, fetch_ticket ticket) {
    owner.progress().take_ticket({std::string(topic), index}, ticket);
    return make_ready_future();
}

// fails    if the units are not there at the deadline, nor soon
future<semaphore_units> acquire(semaphore& from, std::size_t units, instant deadline) {
    abort_source late;
    late.abort_at(std::max(deadline, this_shard().now() + least_patience));
    co_return co_await from.acquire(units, late);
}

/// One fetch: reads, and if there is too little waits for more and reads again.
class fetch_work {
  public:
    fetch_work(broker& here, request& asked)
        : _here(here), _asked(asked), _body(decode_body<fetch_request>(asked)) {}

    future<answer> run();

  private:
    // Calls `fn(topic, partition)` for each partition of the request, in order.
    template <typename Fn>
    void each_partition(Fn fn) const {
        for (const auto& topic : _body.topics) {
            for (const auto& partition : topic.partitions) {
                fn(topic.name, partition);
            }
        }
    }
    std::size_t limit() const noexcept;
    future<> take_turn();
    future<> take_memory(instant deadline);
    future<> read_all();
    future<bool> watch_all(fetch_ticket ticket);
    future<> unwatch_all(fetch_ticket ticket);
    bool enough() const;
    answer finish();

    broker& _here;
    request& _asked;
    const fetch_request _body;
    std::vector<part> _parts;  // in the order of the request
    semaphore_units _turn;
    semaphore_units _share;   // likewise, of the connection's
    semaphore_units _memory;  // for what _parts hold; without it they are read without records
};

std::size_t fetch_work::limit() const noexcept {
    return std::min<std::size_t>(
        static_cast<std::size_t>(std::max(_body.max_bytes, 1)),
        std::min({_here.options().fetch_bytes_max, _here.options().answer_bytes_each,
                  _here.options().answer_bytes}));
}

// Its turn among the connection's: what earlier ones hold has been sent.
future<> fetch_work::take_turn() {
    try {
        _turn = co_await _asked.fetches.acquire(1, _asked.ended);
    } catch (const error&) {
        // The connection ends: it gets no records any more.
    }
}

// Memory for as much as the parts may hold, until they are sent: first of what the connection may
// hold, so that one who reads slowly waits for himself. While many such hold all of it, others wait
// a while and then get an answer without records.
future<> fetch_work::take_memory(instant deadline) {
    if (!_turn) {
        co_return;
    }
    std::size_t most = 0;
    each_partition([&](std::string_view, const fetch_request::partition& wanted) {
        most += std::min(static_cast<std::size_t>(std::max(wanted.partition_max_bytes, 0)),
                         _here.options().storage.log.max_read_bytes);
    });
    most = std::min(most, limit());
    _memory.give_back();
    _share.give_back();
    try {
        _share = _asked.answers.try_acquire(most);
        if (!_share) {
            _here.count_share_wait();
            // Who has waited for records may now wait for an answer that has to wait for his.
            _share = _parts.empty() ? co_await _asked.answers.acquire(most, _asked.ended)
                                    : co_await acquire(_asked.answers, most, deadline);
        }
        _memory = _here.answer_budget().try_acquire(most);
        if (!_memory) {
            _memory = co_await acquire(_here.answer_budget(), most, deadline);
        }
    } catch (const error&) {
        // Later, then: the client asks again.
    }
}

future<> fetch_work::read_all() {
    // Each partition may fill the answer; what is too much is cut below.
    const std::size_t limit = _memory ? this->limit() : 0;
    std::vector<future<part>> reads;
    each_partition([&](std::string_view topic, const fetch_request::partition& wanted) {
        const std::size_t max_bytes = std::min<std::size_t>(
            static_cast<std::size_t>(std::max(wanted.partition_max_bytes, 0)), limit);
        reads.push_back(route(
            _here, topic, wanted.partition_index,
            [topic, index = wanted.partition_index, offset = wanted.fetch_offset,
             max_bytes](broker& owner) { return read(owner, topic, index, offset, max_bytes); }));
    });
    _parts.clear();
    std::size_t sum = 0;
    for (future<part>& each : reads) {
        try {
            _parts.push_back(co_await std::move(each));
        } catch (...) {
            _parts.push_back({_here.code_of(std::current_exception())});
        }
        part& got = _parts.back();
        if (sum > 0 && sum + got.bytes > limit) {
            got.chunks.clear();  // the client asks again; the first part is always sent whole
            got.bytes = 0;
        }
        sum += got.bytes;
    }
    _memory.give_back(_memory.count() - std::min(_memory.count(), sum));
    _share.give_back(_share.count() - std::min(_share.count(), sum));
}

bool fetch_work::enough() const {
    std::size_t sum = 0;
    for (const part& each : _parts) {
        if (each.error != error_code::none) {
            return true;
        }
        sum += each.bytes;
    }
    return _parts.empty() || sum >= static_cast<std::size_t>(std::max(_body.min_bytes, 0));
}

future<bool> fetch_work::watch_all(fetch_ticket ticket) {
    std::vector<future<bool>> watches;
    std::size_t number = 0;
    each_partition([&](std::string_view topic, const fetch_request::partition& wanted) {
        // What has been read already is no news: only more than that is.
        const std::int64_t seen = _parts[number++].high_watermark;
        watches.push_back(
            route(_here, topic, wanted.partition_index,
                  [topic, index = wanted.partition_index, seen, ticket](broker& owner) {
                      return watch(owner, topic, index, seen, ticket);
                  }));
    });
    bool grown = false;
    for (future<bool>& each : watches) {
        grown = co_await std::move(each) || grown;
    }
    co_return grown;
}

future<> fetch_work::unwatch_all(fetch_ticket ticket) {
    std::vector<future<>> calls;
    each_partition([&](std::string_view topic, const fetch_request::partition& wanted) {
        calls.push_back(route(_here, topic, wanted.partition_index,
                              [topic, index = wanted.partition_index, ticket](broker& owner) {
                                  return unwatch(owner, topic, index, ticket);
                              }));
    });
    for (future<>& each : calls) {
        co_await std::move(each);
    }
}

future<answer> fetch_work::run() {
    const duration patience = std::min<duration>(
        std::chrono::milliseconds(std::max(_body.max_wait_ms, 0)), _here.options().fetch_wait_max);
    const instant deadline = this_shard().now() + patience;
    co_await take_turn();
    co_await take_memory(deadline);
    co_await read_all();
    while (!enough() && this_shard().now() < deadline && !_asked.ended.requested() &&
           !_here.progress().ended()) {
        _here.count_fetch_wait();
        const fetch_ticket ticket = _here.progress().open_ticket();
        // The wait begins before the tickets are left: no call can come too early.
        future<> called = _here.progress().wait(ticket, deadline, _asked.ended);
        if (co_await watch_all(ticket)) {
            _here.progress().called(ticket.number);
        }
        co_await std::move(called);
        co_await unwatch_all(ticket);
        co_await take_memory(deadline);
        co_await read_all();
    }
    co_return finish();
}

answer fetch_work::finish() {
    fetch_response response;
    std::size_t number = 0;
    for (const auto& topic : _body.topics) {
        auto& topic_answer = response.topics.emplace_back();
        topic_answer.name = topic.name;
        for (const auto& wanted : topic.partitions) {
            const part& got = _parts[number++];
            auto& to = topic_answer.partitions.emplace_back();
            to.partition_index = wanted.partition_index;
            to.error = got.error;
            to.high_watermark = got.high_watermark;
            to.last_stable_offset = got.high_watermark;
            to.log_start_offset = got.log_start;
            for (std::size_t i = 0; i < got.chunks.size(); ++i) {
                if (i == 0) {
                    to.records->bytes = got.chunks[i].bytes;
                } else {
                    to.records->further.push_back(got.chunks[i].bytes);
                }
            }
        }
    }
    answer result = make_answer(_asked, response);
    result.turn = std::move(_turn);
    result.share = std::move(_share);
    result.memory = std::move(_memory);
    for (part& each : _parts) {
        for (chunk& kept : each.chunks) {
            result.kept.push_back(std::move(kept.owner));
        }
    }
    return result;
}

}  // namespace

// next: read() above, on the shard of each partition
future<answer> fetch(broker& here, request& asked) {
    probe("fetch");
    fetch_work work(here, asked);
    co_return co_await work.run();
}

}  // namespace weir::broker
