// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <sys/socket.h>

namespace weir::net {

/// An IPv4 or IPv6 address with a port.
class address {
  public:
    address() = default;

    /// text     "127.0.0.1:9092", "[::1]:9092", or without a port, which is then `default_port`.
    ///          Names are not looked up, but "localhost" is 127.0.0.1
    /// fails    weir::error (malformed) that names the text
    static address parse(std::string_view text, std::uint16_t default_port = 0);
    static address loopback(std::uint16_t port);
    static address from(const sockaddr_storage& raw);

    const sockaddr_storage& raw() const noexcept { return _raw; }
    sockaddr_storage& raw() noexcept { return _raw; }
    socklen_t raw_length() const noexcept;
    std::uint16_t port() const noexcept;
    void set_port(std::uint16_t port) noexcept;
    /// The address without the port.
    std::string host() const;
    std::string to_string() const;

  private:
    sockaddr_storage _raw{};
};

}  // namespace weir::net
