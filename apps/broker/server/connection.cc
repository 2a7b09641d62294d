// SPDX-License-Identifier: Apache-2.0
#include <broker/server/connection.hh>

#include <algorithm>
#include <utility>

#include <broker/server/broker.hh>
#include <broker/server/dispatch.hh>

#include <weir/core/await_all.hh>
#include <weir/core/host.hh>
#include <weir/core/probe.hh>

namespace weir::broker {

namespace {

// Answers that are ready are sent together, up to this.
constexpr std::size_t send_together_bytes = 256 * 1024;

}  // namespace

client_connection::client_connection(broker& here, net::connection& socket)
    : _broker(here),
      _socket(socket),
      _slots(here.options().requests_in_flight),
      _client{.peer = socket.peer().to_string(),
              .fetches = semaphore(here.options().fetches_in_flight),
              .answers = semaphore(here.answer_share())} {}

// Both ends are waited for, come what may: what they use lies here.
future<> client_connection::serve() {
    future<> writer = write_answers();
    future<> reader = futurize([this] { return read_requests(); });
    co_await settled(reader);
    _reading = false;
    _client.ended.request();
    if (_more.open()) {
        _more.set_value();
    }
    if (reader.failed()) {
        note_end(reader.take_failure());
    }
    co_await std::move(writer);
}

// A reset connection is an end like any other; what we could not do is said.
void client_connection::note_end(const std::exception_ptr& why) noexcept {
    try {
        std::rethrow_exception(why);
    } catch (const error&) {
    } catch (const std::exception& e) {
        refuse("connection ended: request not taken", e.what());
    } catch (...) {
        refuse("connection ended: request not taken");
    }
}

void client_connection::refuse(const char* message, std::string_view detail,
                               const request* asked) noexcept {
    _broker.count_refusal();
    _broker.tell_of(_client, asked, message, detail);
}

future<> client_connection::read_requests() {
    net::frame_reader frames(_socket, _broker.options().frames, &_broker.request_budget());
    for (;;) {
        semaphore_units slot = co_await _slots.acquire();
        net::frame next = co_await frames.next();
        switch (next.what()) {
            case net::frame::status::complete:
                break;
            case net::frame::status::end:
            case net::frame::status::idle:
                co_return;
            case net::frame::status::cut:
                refuse("connection refused: frame cut short");
                co_return;
            case net::frame::status::too_slow:
                refuse("connection refused: frame too slow");
                co_return;
            case net::frame::status::refused:
                refuse("connection refused: frame length", std::to_string(next.claimed()));
                co_return;
        }
        if (_broken) {
            co_return;
        }
        auto asked =
            std::make_unique<request>(std::move(next), _client, _broker.options().elements_max);
        if (!asked->body.ok()) {
            refuse("connection refused: request header", asked->body.failed_field());
            co_return;
        }
        // A produce takes its place in the connection's line before anything waits, so that the
        // parts of successive requests reach each partition's shard in the order of the requests.
        probe("dispatch");
        _pending.push_back({.asked = std::move(asked),
                            .since = this_shard().now(),
                            .slot = std::move(slot)});  // first of all
        pending& last = _pending.back();
        last.result = futurize([&] { return dispatch(_broker, *last.asked); });
        if (_more.open()) {
            _more.set_value();
        }
    }
}

void client_connection::note_unsent(const std::exception& why) noexcept {
    const auto* const known = dynamic_cast<const error*>(&why);
    if (known != nullptr && known->is(errc::timed_out)) {
        _broker.tell_of(_client, nullptr, "connection ended: answer not taken in time", "");
    }
}

// A deliberate bug: the first that is ready goes first, not the first that was asked.
void client_connection::disorder() noexcept {
    const auto ready = std::find_if(_pending.begin(), _pending.end(),
                                    [](const pending& each) { return each.result.available(); });
    if (ready != _pending.end()) {
        std::rotate(_pending.begin(), ready, ready + 1);
    }
}

// Nothing here needs memory but the sending, whose failure ends the connection: whatever is under
// way is awaited where it stands, for it reads from its request.
future<> client_connection::write_answers() {
    for (;;) {
        if (_pending.empty()) {
            if (!_reading) {
                co_return;
            }
            co_await _more.get_future();
            continue;
        }
        if (this_host().canary("answer-out-of-order")) {
            disorder();
        }
        co_await settled(_pending.front().result);
        const ready_answers ready = take_ready();
        if (!_broken && ready.bytes > 0) {
            try {
                co_await send(ready.count);
            } catch (const std::exception& e) {
                note_unsent(e);
                _broken = true;  // the peer is gone; what is under way must still end
                _socket.abort();
            }
        }
        if (ready.close && !_broken) {
            _broken = true;
            _socket.abort();
        }
        // Frames, slots and memory go now that the bytes are out.
        _pending.erase(_pending.begin(),
                       _pending.begin() + static_cast<std::ptrdiff_t>(ready.count));
    }
}

// Those at the front that can be sent together; none follows one that ends the connection.
client_connection::ready_answers client_connection::take_ready() noexcept {
    ready_answers ready;
    for (pending& each : _pending) {
        if (ready.close || ready.bytes >= send_together_bytes || !each.result.available()) {
            break;
        }
        ++ready.count;
        take_result(each);
        _broker.times().record(each.asked->header.key, this_shard().now() - each.since);
        ready.close = each.made.close;
        ready.bytes += each.made.silent ? 0 : each.made.frame.size();
    }
    return ready;
}

// A request that was given up because nobody waits for its answer any more is not refused.
void client_connection::take_result(pending& of) noexcept {
    try {
        of.made = of.result.take();
        return;
    } catch (const error& e) {
        if (!_client.ended.requested() || !e.is(errc::aborted)) {
            refuse_request(of, e.what());
        }
    } catch (const std::exception& e) {
        refuse_request(of, e.what());
    }
    of.made.silent = true;
    of.made.close = true;
}

void client_connection::refuse_request(const pending& failed, const char* why) noexcept {
    const auto& asked = failed.asked->header;
    const protocol::api* known = protocol::find_api(asked.key);
    const bool served = known && known->advertised.contains(asked.version);
    refuse(served ? "connection refused: request failed"
                  : "connection refused: request failed, API or version not served",
           why, failed.asked.get());
}

future<> client_connection::send(std::size_t count) {
    probe("answer");
    std::vector<iovec> parts;
    for (std::size_t number = 0; number < count; ++number) {
        if (_pending[number].made.silent) {
            continue;
        }
        for (const protocol::byte_view piece : _pending[number].made.frame.pieces()) {
            parts.push_back({const_cast<std::byte*>(piece.data()), piece.size()});
        }
    }
    co_await _socket.send(std::move(parts));
}

}  // namespace weir::broker
