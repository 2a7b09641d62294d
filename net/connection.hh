// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <weir/core/future.hh>
#include <weir/core/timer.hh>
#include <weir/io/backend.hh>
#include <weir/net/address.hh>

namespace weir::net {

/// Received bytes: on loan from the backend, or in memory of their own when no loan was left.
/// Their end gives the loan back, so that others can receive: don't hoard them.
class received {
  public:
    enum class status : std::uint8_t { data, end, timed_out };

    received() = default;
    received(received&& other) noexcept;
    received& operator=(received&& other) noexcept;
    ~received() { release(); }

    /// `end`: the peer sends nothing more. `timed_out`: nothing came by the deadline.
    status what() const noexcept { return _status; }
    std::span<std::byte> bytes() const noexcept { return _bytes; }
    /// Forgets the first `n` bytes.
    void consume(std::size_t n) noexcept { _bytes = _bytes.subspan(n); }

  private:
    friend class connection;
    explicit received(status what) noexcept : _status(what) {}
    void release() noexcept;

    status _status = status::end;
    std::span<std::byte> _bytes;
    io::lent_buffer _loan;                  // data null: none
    std::unique_ptr<std::byte[]> _private;  // in place of a loan
};

struct connection_options {
    std::size_t receive_ahead_bytes = 256 * 1024;  ///< received and not yet taken; then TCP waits
    std::size_t private_buffer_bytes = 4096;       ///< received into when all loans are out
    std::size_t zero_copy_bytes = 64 * 1024;       ///< larger sends ask for zero copy
};

/// A TCP connection. One receive and one send may be under way at a time. close() must have
/// ended before its destruction.
/// thread   the shard that accepted or connected it
class connection {
  public:
    connection(int fd, connection_options options = {});
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;
    ~connection();

    /// fails    weir::error with the errno
    static future<std::unique_ptr<connection>> connect(address to, connection_options options = {});

    /// The next bytes, as soon as there are some.
    /// deadline  then the result is `timed_out`, and what comes later is kept for the next call
    /// fails     weir::error: the connection was reset
    future<received> receive(instant deadline = never);
    /// Sends all of it. The memory is borrowed until the future is settled.
    /// fails     weir::error: the peer is gone
    future<> send(std::vector<iovec> parts);
    future<> send(std::span<const std::byte> bytes);
    /// Half close: the peer sees the end after what was sent.
    future<> shutdown_send();
    /// Takes nothing more: a receive under way, and each after it, sees the end once what was
    /// received is taken. For a graceful stop.
    void shutdown_receive() noexcept;
    /// Ends both directions now: a receive under way ends, sends fail. Then close().
    void abort() noexcept;
    /// Ends what is under way and gives the descriptor back. Never fails.
    future<> close();

    address peer() const { return _peer; }
    std::uint64_t bytes_received() const noexcept { return _bytes_received; }
    std::uint64_t bytes_sent() const noexcept { return _bytes_sent; }

  private:
    class receive_operation;
    class private_receive;
    class deadline_timer;
    friend class listener;

    void start_receive();
    void start_private_receive();
    void arrived(received&& data);
    void ended(std::int32_t error_number);
    void idle();
    void deliver();

    const int _fd;
    const connection_options _options;
    address _peer;
    std::unique_ptr<receive_operation> _receive;
    std::unique_ptr<private_receive> _private_receive;
    std::unique_ptr<deadline_timer> _deadline;
    std::deque<received> _queue;
    std::size_t _queued_bytes = 0;
    std::optional<std::int32_t> _end;  // 0 at the end of the stream, else errno
    promise<received> _waiting;
    promise<> _closing;
    bool _receiving = false;
    bool _holding = false;  // cancelled because receive_ahead_bytes are queued
    bool _closed = false;
    std::uint64_t _bytes_received = 0;
    std::uint64_t _bytes_sent = 0;
};

}  // namespace weir::net
