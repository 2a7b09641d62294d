// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/fetch.hh>

#include <algorithm>
#include <utility>

#include <broker/server/broker.hh>
#include <broker/server/decode.hh>
#include <broker/server/dispatch.hh>
#include <broker/server/fetch_parts.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/probe.hh>

namespace weir::broker {

namespace {

using protocol::error_code;
using protocol::fetch_request;
using protocol::fetch_response;

// What an entry takes until it is answered, beside its records: decoded, listed, with its ticket
// while it waits, and in the answer.
constexpr std::size_t bytes_per_entry = 640;
// A read of the device takes whole pages, however little is wanted, and one more at each end.
constexpr std::size_t pages_of_a_read = 3 * page_size;
// A fetch waits for room for so much, or for one batch: who waits for little holds nobody up.
constexpr std::size_t waits_for_bytes = std::size_t{64} << 10;

/// One fetch: looks what there is, waits while that is too little, plans how much of it may be
/// read, has memory for exactly that, and reads.
class fetch_work {
  public:
    fetch_work(broker& here, request& asked) : _here(here), _asked(asked) {}

    future<answer> run();

  private:
    answer refuse(error_code why) const;
    future<> list_entries();
    std::size_t limit() const noexcept;
    future<> take_turn();
    future<> look();
    bool enough() const;
    future<bool> wait_for_more(instant deadline);
    std::size_t plan(std::size_t memory);
    future<bool> take_memory(instant deadline);
    future<> read();
    bool first_was_too_large() const;
    void give_back();
    future<answer> finish();

    broker& _here;
    request& _asked;
    fetch_request _body;
    std::vector<fetch_entry> _entries;  // in the order of the request, each partition once
    entries_by_shard _by_shard;
    semaphore_units _turn;
    semaphore_units _own;     // memory for the request's entries
    semaphore_units _share;   // of what the connection may hold of records
    semaphore_units _memory;  // for what _entries hold of them
};

std::size_t fetch_work::limit() const noexcept {
    return std::min<std::size_t>(static_cast<std::size_t>(std::max(_body.max_bytes, 1)),
                                 std::min(_here.options().fetch_bytes_max, _here.answer_share()));
}

// Its turn among the connection's: what earlier ones hold has been sent.
future<> fetch_work::take_turn() {
    try {
        _turn = co_await _asked.from.fetches.acquire(1, _asked.from.ended);
    } catch (const error&) {
        // The connection ends: it gets no records any more.
    }
}

// A partition that is named again is the one that was named first, with what is said last.
future<> fetch_work::list_entries() {
    std::size_t count = 0;
    for (const auto& topic : _body.topics) {
        count += topic.partitions.size();
    }
    _entries.reserve(count);
    _by_shard.resize(this_host().shard_count());
    co_await each_once(
        _body.topics,
        [this](std::string_view topic, const auto& wanted) {
            _by_shard[owner_of(topic, wanted.partition_index, this_host().shard_count())].push_back(
                static_cast<std::uint32_t>(_entries.size()));
            _entries.push_back({topic, &wanted});
        },
        [this](std::uint32_t number, const auto& wanted) { _entries[number].wanted = &wanted; });
    // What was charged before anything was known may have been more.
    _own.give_back(_own.count() - std::min(_own.count(), _entries.size() * bytes_per_entry));
}

future<> fetch_work::look() {
    const std::size_t enough = std::max(limit(), std::size_t{1});
    co_await on_shards_of(
        _here, _by_shard,
        [this, enough](broker& owner, entry_numbers which) {
            return look_at_all(owner, _entries, which, enough);
        },
        [this](std::uint32_t number, const fetch_look& found) {
            fetch_entry& of = _entries[number];
            of.error = found.error;
            of.high_watermark = found.high_watermark;
            of.log_start = found.log_start;
            of.there = found.there.bytes;
            of.first_bytes = found.there.first_bytes;
        });
}

// Whether what there is may be sent: as much as is asked for, or something that the client must
// know. A partition that nobody knows keeps nobody from waiting for others.
bool fetch_work::enough() const {
    std::size_t sum = 0;
    bool waits = false;
    for (const fetch_entry& each : _entries) {
        if (each.error == error_code::unknown_topic_or_partition) {
            continue;
        }
        if (each.error != error_code::none) {
            return true;
        }
        waits = true;
        sum += std::min(each.there,
                        static_cast<std::size_t>(std::max(each.wanted->partition_max_bytes, 0)));
    }
    const auto least = static_cast<std::size_t>(std::max(_body.min_bytes, 0));
    return !waits || sum >= std::min(least, limit());
}

// returns  whether it may wait once more
future<bool> fetch_work::wait_for_more(instant deadline) {
    _here.count_fetch_wait();
    const bool pressed = _here.answers().waiting() > 0;
    if (pressed) {
        deadline = std::min(deadline, this_shard().now() + least_patience);
    }
    const fetch_ticket ticket = _here.progress().open_ticket();
    // The wait begins before the tickets are left: no call can come too early.
    future<bool> called =
        futurize([&] { return _here.progress().wait(ticket, deadline, _asked.from.ended); });
    std::exception_ptr failure;
    try {
        co_await on_shards_of(
            _here, _by_shard,
            [this, ticket](broker& owner, entry_numbers which) {
                return watch_all(owner, _entries, which, ticket);
            },
            [this, ticket](std::uint32_t, bool) { _here.progress().called(ticket.number); });
    } catch (...) {
        failure = std::current_exception();
        _here.progress().called(ticket.number);
    }
    co_await settled(called);
    co_await on_shards_of(
        _here, _by_shard,
        [this, ticket](broker& owner, entry_numbers which) {
            return unwatch_all(owner, _entries, which, ticket);
        },
        [](std::uint32_t, bool) {});
    if (failure) {
        std::rethrow_exception(failure);
    }
    co_return called.take() && !pressed;
}

// How much of each is read: in the order of the request, until its limit, or that of memory, is
// reached. The first that has something gives a batch at least (KIP-74).
// returns  the memory that this takes
std::size_t fetch_work::plan(std::size_t memory) {
    std::size_t bytes_left = limit();
    std::size_t taken = 0;
    for (fetch_entry& each : _entries) {
        each.planned = 0;
        each.first_max = 0;
        if (each.error != error_code::none || each.there == 0) {
            continue;
        }
        const std::size_t pages = each.first_bytes == 0 ? pages_of_a_read : 0;
        const std::size_t memory_left = memory - std::min(memory, taken + pages);
        const auto wanted = static_cast<std::size_t>(std::max(each.wanted->partition_max_bytes, 0));
        std::size_t bytes = std::min({wanted, each.there, bytes_left, memory_left,
                                      _here.options().storage.log.max_read_bytes});
        if (taken == 0) {
            bytes = std::max({bytes, each.first_bytes, std::size_t{1}});
            each.first_max = bytes;
        }
        each.planned = bytes;
        bytes_left -= std::min(bytes_left, bytes);
        taken += bytes > 0 ? bytes + pages : 0;
    }
    return taken;
}

// Memory for what is planned, until it is sent. First of what the connection may hold, so that one
// who reads slowly waits for himself. If many such hold all that there is, one that holds nothing
// gets a part of what is kept for such; others wait a while, for little, and then get an answer
// without records.
// returns  whether there is something to read, and memory for it
future<bool> fetch_work::take_memory(instant deadline) {
    std::size_t planned = _turn ? plan(_here.answer_share()) : 0;
    if (planned == 0) {
        co_return false;
    }
    planned = std::min(planned, _here.answer_share());
    const bool holds_nothing = _asked.from.answers.available() == _here.answer_share();
    abort_source late;
    const abort_callback on_end(_asked.from.ended, [&late](const auto&) { late.request(); });
    late.abort_at(std::max(deadline, this_shard().now() + least_patience));
    try {
        _share = _asked.from.answers.try_acquire(planned);
        if (!_share) {
            _here.count_share_wait();
            _share = co_await _asked.from.answers.acquire(planned, late);
        }
        _memory = _here.answers().try_take(planned);
        if (!_memory && holds_nothing) {
            const fetch_entry& first =
                *std::find_if(_entries.begin(), _entries.end(),
                              [](const fetch_entry& each) { return each.planned > 0; });
            _memory = _here.answers().try_take_reserved(std::max(first.first_bytes, std::size_t{1}),
                                                        planned);
            if (_memory) {
                plan(_memory.count());
            }
        }
        if (!_memory) {
            planned = std::min(plan(waits_for_bytes), planned);
            _memory = co_await _here.wait_for_memory(planned, late);
        }
    } catch (const error&) {
        co_return false;  // later, then: the client asks again
    }
    co_return true;
}

future<> fetch_work::read() {
    entries_by_shard planned(_by_shard.size());
    for (std::size_t shard = 0; shard < _by_shard.size(); ++shard) {
        for (const std::uint32_t number : _by_shard[shard]) {
            if (_entries[number].planned > 0) {
                planned[shard].push_back(number);
            }
        }
    }
    std::size_t sum = 0;
    co_await on_shards_of(
        _here, planned,
        [this](broker& owner, entry_numbers which) { return read_all(owner, _entries, which); },
        [this, &sum](std::uint32_t number, fetch_read part) {
            fetch_entry& of = _entries[number];
            of.error = part.error;
            of.first_bytes = std::max(of.first_bytes, part.got.first_bytes);
            of.chunks = std::move(part.got.chunks);
            sum += part.got.bytes;
        });
    _memory.give_back(_memory.count() - std::min(_memory.count(), sum));
    _share.give_back(_share.count() - std::min(_share.count(), sum));
}

bool fetch_work::first_was_too_large() const {
    return std::any_of(_entries.begin(), _entries.end(), [](const fetch_entry& each) {
        return each.first_max > 0 && each.chunks.empty() && each.first_bytes > each.first_max;
    });
}

void fetch_work::give_back() {
    for (fetch_entry& each : _entries) {
        each.chunks.clear();
    }
    _memory.give_back();
    _share.give_back();
}

future<answer> fetch_work::run() {
    co_await take_turn();
    _own = co_await _here.admit(_asked, request_bytes(_asked));
    _body = decode_body<fetch_request>(_asked);
    if (_body.session_epoch > 0) {
        co_return refuse(error_code::fetch_session_id_not_found);  // none was ever given
    }
    const duration patience = std::min<duration>(
        std::chrono::milliseconds(std::max(_body.max_wait_ms, 0)), _here.options().fetch_wait_max);
    const instant deadline = this_shard().now() + patience;
    co_await list_entries();
    if (_body.replica_id >= 0) {
        for (fetch_entry& each : _entries) {
            each.error = error_code::not_leader_or_follower;
        }
        co_return co_await finish();
    }
    co_await look();
    bool may_wait = true;
    while (may_wait && !enough() && this_shard().now() < deadline &&
           !_asked.from.ended.requested() && !_here.progress().ended()) {
        may_wait = co_await wait_for_more(deadline);
        co_await look();
    }
    // Once more if the first batch, whose size only reading told, is larger than what was planned.
    for (int reads = 0; reads < 2 && co_await take_memory(deadline); ++reads) {
        co_await read();
        if (!first_was_too_large()) {
            break;
        }
        give_back();
    }
    co_return co_await finish();
}

answer fetch_work::refuse(error_code why) const {
    fetch_response response;
    response.error = why;
    return make_answer(_asked, response);
}

future<answer> fetch_work::finish() {
    fetch_response response;
    for (const fetch_entry& each : _entries) {
        auto& to = partitions_in(response.topics, each.topic).emplace_back();
        co_await maybe_yield();
        to.partition_index = each.wanted->partition_index;
        to.error = each.error;
        if (each.error != error_code::none) {
            if (each.error == error_code::unknown_topic_or_partition) {
                to.aborted_transactions.emplace();  // as Kafka has it, for these alone
            }
            continue;
        }
        to.high_watermark = each.high_watermark;
        to.last_stable_offset = each.high_watermark;
        to.log_start_offset = each.log_start;
        if (_body.isolation_level == fetch_request::read_committed) {
            to.aborted_transactions.emplace();
        }
        for (const chunk& piece : each.chunks) {
            if (piece.bytes.data() == each.chunks.front().bytes.data()) {
                to.records->bytes = piece.bytes;
            } else {
                to.records->further.push_back(piece.bytes);
            }
        }
    }
    answer result = make_answer(_asked, response, std::move(_own));
    result.turn = std::move(_turn);
    result.share = std::move(_share);
    result.memory = std::move(_memory);
    for (fetch_entry& each : _entries) {
        for (chunk& kept : each.chunks) {
            result.kept.push_back(std::move(kept.owner));
        }
    }
    co_return result;
}

}  // namespace

// next: fetch_parts.cc look_at_all() and read_all(), on the shards of its partitions
future<answer> fetch(broker& here, request& asked) {
    probe("fetch");
    fetch_work work(here, asked);
    co_return co_await work.run();
}

}  // namespace weir::broker
