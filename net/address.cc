// SPDX-License-Identifier: Apache-2.0
#include <weir/net/address.hh>

#include <charconv>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <weir/core/error.hh>

namespace weir::net {

namespace {

[[noreturn]] void refuse(std::string_view text) {
    throw error("parse address",
                "\"" + std::string(text) + "\" (want 127.0.0.1:9092 or [::1]:9092)",
                errc::malformed);
}

}  // namespace

address address::parse(std::string_view text, std::uint16_t default_port) {
    std::string_view host = text;
    std::string_view port;
    if (text.starts_with('[')) {
        const std::size_t end = text.find(']');
        if (end == std::string_view::npos) {
            refuse(text);
        }
        host = text.substr(1, end - 1);
        port = text.substr(end + 1);
        if (!port.empty() && !port.starts_with(':')) {
            refuse(text);
        }
    } else if (const std::size_t colon = text.find(':');
               colon != std::string_view::npos && colon == text.rfind(':')) {
        host = text.substr(0, colon);
        port = text.substr(colon);
    }
    std::uint16_t number = default_port;
    if (!port.empty()) {
        port.remove_prefix(1);
        const auto [end, failure] = std::from_chars(port.data(), port.data() + port.size(), number);
        if (failure != std::errc() || end != port.data() + port.size()) {
            refuse(text);
        }
    }
    const std::string name(host == "localhost" ? "127.0.0.1" : host);
    address result;
    auto* v4 = reinterpret_cast<sockaddr_in*>(&result._raw);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&result._raw);
    if (::inet_pton(AF_INET, name.c_str(), &v4->sin_addr) == 1) {
        result._raw.ss_family = AF_INET;
    } else if (::inet_pton(AF_INET6, name.c_str(), &v6->sin6_addr) == 1) {
        result._raw.ss_family = AF_INET6;
    } else {
        refuse(text);
    }
    result.set_port(number);
    return result;
}

address address::loopback(std::uint16_t port) {
    address result;
    auto* v4 = reinterpret_cast<sockaddr_in*>(&result._raw);
    v4->sin_family = AF_INET;
    v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    v4->sin_port = htons(port);
    return result;
}

address address::from(const sockaddr_storage& raw) {
    address result;
    result._raw = raw;
    return result;
}

socklen_t address::raw_length() const noexcept {
    return _raw.ss_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
}

std::uint16_t address::port() const noexcept {
    // The port lies at the same place in both families.
    return ntohs(reinterpret_cast<const sockaddr_in*>(&_raw)->sin_port);
}

void address::set_port(std::uint16_t port) noexcept {
    reinterpret_cast<sockaddr_in*>(&_raw)->sin_port = htons(port);
}

std::string address::host() const {
    char text[INET6_ADDRSTRLEN] = "";
    const void* bytes =
        _raw.ss_family == AF_INET6
            ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in6*>(&_raw)->sin6_addr)
            : static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(&_raw)->sin_addr);
    ::inet_ntop(_raw.ss_family == AF_INET6 ? AF_INET6 : AF_INET, bytes, text, sizeof(text));
    return text;
}

std::string address::to_string() const {
    const std::string name = _raw.ss_family == AF_INET6 ? "[" + host() + "]" : host();
    return name + ":" + std::to_string(port());
}

}  // namespace weir::net
