// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/io/sim/world.hh>
#include <weir/net/frame.hh>
#include <weir/net/listener.hh>

namespace {

using namespace weir;
using net::frame;

constexpr std::size_t frame_bytes_max = 40'000;
constexpr net::message_budget_options budget_bytes{
    .bytes = 50'000, .finish_bytes = frame_bytes_max, .whole_bytes = 5'000};

/// How the stream must end after its whole frames, which `into` gets.
frame::status cut_by_hand(std::span<const std::byte> rest,
                          std::vector<std::span<const std::byte>>& into) {
    while (rest.size() >= 4) {
        std::uint32_t length = 0;
        for (int i = 0; i < 4; ++i) {
            length =
                length << 8 | std::to_integer<std::uint32_t>(rest[static_cast<std::size_t>(i)]);
        }
        if (length > frame_bytes_max) {
            return frame::status::refused;
        }
        if (rest.size() - 4 < length) {
            return frame::status::cut;
        }
        into.push_back(rest.subspan(4, length));
        rest = rest.subspan(4 + length);
    }
    return rest.empty() ? frame::status::end : frame::status::cut;
}

future<> send_all(net::connection& to, std::span<const std::byte> bytes, std::size_t step) {
    try {
        while (!bytes.empty()) {
            const auto piece = bytes.first(std::min(step, bytes.size()));
            co_await to.send(piece);
            bytes = bytes.subspan(piece.size());
        }
        co_await to.shutdown_send();
    } catch (const error&) {  // NOLINT(bugprone-empty-catch): the reader has gone
    }
}

future<> read_frames(std::span<const std::byte> bytes, std::size_t step) {
    std::vector<std::span<const std::byte>> expected;
    const frame::status last = cut_by_hand(bytes, expected);
    auto from = co_await net::listener::listen(net::address::loopback(0));
    auto client = co_await net::connection::connect(from->where());
    auto server = co_await from->accept();
    auto sending = send_all(*client, bytes, step);
    net::message_budget budget(budget_bytes);
    net::frame_options options;
    options.frame_bytes_max = frame_bytes_max;
    net::frame_reader reader(*server, options, &budget);
    for (const auto& each : expected) {
        const frame got = co_await reader.next();
        WEIR_ASSERT(got.what() == frame::status::complete);
        WEIR_ASSERT(std::ranges::equal(got.bytes(), each));
    }
    WEIR_ASSERT((co_await reader.next()).what() == last);
    WEIR_ASSERT(budget.bytes_used() == 0);
    server->abort();
    co_await std::move(sending);
    co_await server->close();
    co_await client->close();
    co_await from->close();
}

}  // namespace

/// A stream of frames, sent through the simulated network in pieces, must come out as cut by hand.
// NOLINTNEXTLINE(readability-identifier-naming): the name is libFuzzer's
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
    const std::size_t step = data[0] < 128 ? 1 + data[0] : std::size_t{data[0]} * 100;
    io::sim::world world(data[0]);
    auto& host = world.add_host("fuzzed", 1);
    host.start([&](weir::host&) { return read_frames(bytes, step); });
    WEIR_ASSERT(world.run_until([&] { return host.exited(); }, std::chrono::hours(10)));
    WEIR_ASSERT(host.failure().empty());
    return 0;
}
