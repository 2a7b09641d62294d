// SPDX-License-Identifier: Apache-2.0
#include <broker/server/connection.hh>

#include <algorithm>
#include <utility>

#include <broker/server/broker.hh>
#include <broker/server/dispatch.hh>

#include <weir/core/coroutine.hh>
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
      _lines{{},
             semaphore(1),
             semaphore(here.options().fetches_in_flight),
             semaphore(here.answer_share()),
             semaphore(1),
             semaphore(1)} {}

future<> client_connection::serve() {
    future<> writer = write_answers();
    future<> reader = read_requests();
    co_await std::move(reader).then_wrapped([this](future<> ended) {
        _reading = false;
        _lines.ended.request();
        if (_more.open()) {
            _more.set_value();
        }
        std::move(ended).ignore();  // a reset connection is an end like any other
    });
    co_await std::move(writer);
}

// Each kind has a message of its own, so that one kind of noise leaves room for the others.
void client_connection::refuse(const char* message, std::string_view detail, const request* asked) {
    constexpr std::size_t longest = 200;
    _broker.count_refusal();
    const auto cut = [](std::string_view text) { return text.substr(0, longest); };
    if (asked == nullptr) {
        _broker.diagnostics().write(this_shard().log_context(), log_level::warning, message,
                                    {{"peer", _socket.peer().to_string()},
                                     {"detail", cut(detail)},
                                     {"software", _software}});
        return;
    }
    _broker.diagnostics().write(this_shard().log_context(), log_level::warning, message,
                                {{"peer", _socket.peer().to_string()},
                                 {"api", protocol::kafka_name(asked->header.key)},
                                 {"version", asked->header.version},
                                 {"client", cut(asked->header.client_id.value_or(""))},
                                 {"software", _software},
                                 {"detail", cut(detail)}});
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
            std::make_unique<request>(std::move(next), _lines, _broker.options().elements_max);
        if (!asked->body.ok()) {
            refuse("connection refused: request header", asked->body.failed_field());
            co_return;
        }
        // A produce takes its place in the connection's line before anything waits, so that the
        // parts of successive requests reach each partition's shard in the order of the requests.
        probe("dispatch");
        _pending.push_back({{}, std::move(asked), std::move(slot)});  // its place comes first
        pending& last = _pending.back();
        last.result = futurize([&] { return dispatch(_broker, *last.asked); });
        if (_more.open()) {
            _more.set_value();
        }
    }
}

client_connection::pending client_connection::take_first() {
    auto first = _pending.begin();
    if (this_host().canary("answer-out-of-order")) {
        // A deliberate bug: the first that is ready, not the first that was asked.
        const auto ready = std::find_if(_pending.begin(), _pending.end(), [](const pending& each) {
            return each.result.available();
        });
        first = ready == _pending.end() ? first : ready;
    }
    pending taken = std::move(*first);
    _pending.erase(first);
    return taken;
}

future<> client_connection::write_answers() {
    for (;;) {
        if (_pending.empty()) {
            if (!_reading) {
                co_return;
            }
            co_await _more.get_future();
            continue;
        }
        std::vector<answer> ready;
        std::vector<pending> answered;  // keeps frames and slots until the bytes are out
        std::size_t bytes = 0;
        bool close = false;
        do {
            pending first = take_first();
            try {
                answer next = co_await std::move(first.result);
                close = next.close;
                if (!next.software.empty()) {
                    _software = next.software;
                }
                if (!next.silent) {
                    bytes += next.frame.size();
                    ready.push_back(std::move(next));
                }
            } catch (const std::exception& e) {
                const auto& asked = first.asked->header;
                const protocol::api* known = protocol::find_api(asked.key);
                const bool served = known && known->advertised.contains(asked.version);
                refuse(served ? "connection refused: request failed"
                              : "connection refused: request failed, API or version not served",
                       e.what(), first.asked.get());
                close = true;
            }
            answered.push_back(std::move(first));
        } while (!close && !_pending.empty() && bytes < send_together_bytes &&
                 _pending.front().result.available());
        if (!_broken && !ready.empty()) {
            try {
                co_await send(std::move(ready));
            } catch (const std::exception&) {
                _broken = true;  // the peer is gone; what is under way must still end
                _socket.abort();
            }
        }
        if (close && !_broken) {
            _broken = true;
            _socket.abort();
        }
    }
}

future<> client_connection::send(std::vector<answer> ready) {
    probe("answer");
    std::vector<iovec> parts;
    for (const answer& each : ready) {
        for (const protocol::byte_view piece : each.frame.pieces()) {
            parts.push_back({const_cast<std::byte*>(piece.data()), piece.size()});
        }
    }
    co_await _socket.send(std::move(parts));
}

}  // namespace weir::broker
