// SPDX-License-Identifier: Apache-2.0
#include <net/both.hh>

#include <doctest/doctest.h>

namespace weir::net::test {

std::vector<std::byte> pattern(std::size_t size, std::uint32_t seed) {
    std::vector<std::byte> bytes(size);
    for (std::byte& each : bytes) {
        seed = seed * 1664525 + 1013904223;
        each = static_cast<std::byte>(seed >> 24);
    }
    return bytes;
}

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

std::string_view text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

future<std::vector<std::byte>> receive_exactly(connection& from, std::size_t size) {
    std::vector<std::byte> all;
    while (all.size() < size) {
        const received some = co_await from.receive();
        if (some.what() != received::status::data) {
            break;
        }
        all.insert(all.end(), some.bytes().begin(), some.bytes().end());
    }
    co_return all;
}

future<std::string> receive_to_end(connection& from) {
    std::string all;
    for (;;) {
        const received some = co_await from.receive();
        if (some.what() != received::status::data) {
            co_return all;
        }
        all += text_of(some.bytes());
    }
}

future<> echo(connection& peer) {
    for (;;) {
        const received some = co_await peer.receive();
        if (some.what() != received::status::data) {
            co_return;
        }
        co_await peer.send(some.bytes());
    }
}

}  // namespace weir::net::test
