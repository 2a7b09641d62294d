// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
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
    std::size_t receive_ahead_loans = 8;           ///< likewise, in buffers of the backend
    std::size_t private_buffer_bytes = 4096;       ///< received into when all loans are out
    std::size_t zero_copy_bytes = 64 * 1024;       ///< larger sends ask for zero copy
    /// For the peer to take each MiB of a send, or all of a smaller one; then the connection is
    /// aborted. `forever`: it may keep us waiting.
    duration send_time_max = std::chrono::seconds(30);

    static constexpr duration forever = duration::max();
};

/// What connections count together.
struct connection_totals {
    std::uint64_t bytes_received = 0;
    std::uint64_t bytes_sent = 0;
    std::uint64_t receives_held = 0;   ///< a receive paused since too much was not taken yet
    std::uint64_t sends_too_slow = 0;  ///< a peer did not take a send within send_time_max
};

/// A TCP connection. One receive and one send may be under way at a time. One that goes without
/// close() is closed in the background: a receive under way fails, and a send is cut, which the
/// peer sees as a reset.
/// thread   the shard that accepted or connected it
class connection {
  public:
    /// totals   counted into as well; borrowed, null for none
    explicit connection(int fd, const connection_options& options = {},
                        connection_totals* totals = nullptr);
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;
    ~connection();

    /// deadline  then it fails with errc::timed_out
    /// fails     weir::error with the errno
    /// A future that nobody takes closes what it came to.
    static future<std::unique_ptr<connection>> connect(address to, connection_options options = {},
                                                       instant deadline = never);

    /// The next bytes, as soon as there are some.
    /// deadline  then the result is `timed_out`, unless something lies there already; what comes
    ///           later is kept for the next call. Time in which we were stopped doesn't count
    /// fails     weir::error: the connection was reset, or aborted here
    /// cost      no allocation after the first
    /// What comes after the future was dropped is kept for the next call.
    future<received> receive(instant deadline = never);
    /// Sends all of it. The memory is borrowed until the future is settled.
    /// fails     weir::error: the peer is gone, or errc::timed_out: it does not read
    /// cost      no allocation after the first, up to 16 parts
    future<> send(std::span<const iovec> parts);
    future<> send(std::span<const std::byte> bytes);
    /// Somebody needs what a send under way holds: the peer has at most until `deadline` to take
    /// what was begun of it, a MiB or all of a smaller one.
    void hurry_send(instant deadline) noexcept;
    /// Half close: the peer sees the end after what was sent.
    future<> shutdown_send();
    /// Half closes, and reads away what still comes until the peer ends, for its sake: bytes that
    /// are unread at a close are a reset, which may overtake what we sent last. Ends at `deadline`
    /// or after `bytes_max` all the same. Never fails.
    future<> linger(instant deadline, std::size_t bytes_max);
    /// Takes nothing more: a receive under way, and each after it, sees the end once what was
    /// received is taken. For a graceful stop.
    void shutdown_receive() noexcept;
    /// Ends both directions now: a receive under way and each after it fail with ECONNABORTED once
    /// what was received is taken, unless the peer had ended before; a send fails; what the peer
    /// has not taken yet is dropped and the peer sees a reset. Then close().
    void abort() noexcept { abort(ECONNABORTED); }
    /// Ends what is under way, which aborts if that is a send, and gives the descriptor back: a
    /// receive under way sees the end. Never fails.
    /// cost     no allocation
    future<> close();

    address peer() const { return _peer; }
    std::uint64_t bytes_received() const noexcept { return _bytes_received; }
    std::uint64_t bytes_sent() const noexcept { return _bytes_sent; }

  private:
    class connecting;
    class receive_operation;
    class private_receive;
    class send_operation;
    class close_operation;
    class patience;
    class machinery;
    friend class listener;

    /// For a descriptor to come: all the memory that it needs is there before it is.
    connection(const connection_options& options, connection_totals* totals);
    void adopt(int fd, const address& peer) noexcept;
    bool closed() const noexcept { return _machinery == nullptr; }
    void abort(std::int32_t reason) noexcept;
    bool awaited() noexcept;
    void start_receive();
    void arrived(received&& data);
    void ended(std::int32_t error_number);
    void deliver(received&& data);
    void receive_late() noexcept;
    void send_late() noexcept;
    void receive_stopped();
    void sent(std::size_t bytes) noexcept;

    void check_home() const noexcept;

    const connection_options _options;
    connection_totals* const _totals;
    const shard_id _shard = this_shard().id();
    address _peer;
    std::unique_ptr<machinery> _machinery;  // null once closed
    std::vector<received> _queue;           // a few, oldest first
    std::size_t _queued_bytes = 0;
    std::optional<std::int32_t> _end;  // 0 at the end of the stream, else errno
    promise<received> _waiting;
    bool _holding = false;  // cancelled because too much is queued
    bool _late = false;     // cancelled because its time is up
    bool _ending = false;   // cancelled because nothing more is to be taken
    bool _lingering = false;
    std::uint64_t _bytes_received = 0;
    std::uint64_t _bytes_sent = 0;
};

}  // namespace weir::net
