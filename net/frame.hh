// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <weir/core/future.hh>
#include <weir/core/semaphore.hh>
#include <weir/net/connection.hh>

namespace weir::net {

struct frame_options {
    std::size_t frame_bytes_max = 100 * 1024 * 1024;     ///< larger frames are refused
    duration idle_max = std::chrono::minutes(10);        ///< between frames
    duration frame_time_max = std::chrono::seconds(30);  ///< from a frame's first byte on
    std::size_t large_frame_bytes = 1024 * 1024;         ///< larger: charged to the large budget
};

/// One length-prefixed message: 4 bytes of big-endian length, then that many bytes.
class frame {
  public:
    enum class status : std::uint8_t {
        complete,  ///< bytes() is the message, without its length
        end,       ///< the peer ended between frames
        cut,       ///< the peer ended within a frame
        refused,   ///< the length is negative or above frame_bytes_max
        idle,      ///< nothing began within idle_max
        too_slow,  ///< not complete within frame_time_max
    };

    status what() const noexcept { return _status; }
    std::span<std::byte> bytes() const noexcept { return _bytes; }
    /// The length that the peer claimed, if refused.
    std::int32_t claimed() const noexcept { return _claimed; }

  private:
    friend class frame_reader;
    explicit frame(status what) noexcept : _status(what) {}

    status _status;
    std::int32_t _claimed = 0;
    std::span<std::byte> _bytes;
    std::unique_ptr<std::byte[]> _memory;
    semaphore_units _charge;
};

/// Cuts what a connection receives into frames. Memory is taken only after the length has been
/// checked, and for a long frame only after its first bytes have come, so that a lie about a
/// length costs its teller.
/// thread   that of the connection
class frame_reader {
  public:
    /// Of a longer frame, so much must have come before the rest gets memory and is charged.
    static constexpr std::size_t first_step = 16 * 1024;

    /// budget   bytes of memory for frames, shared by connections, at least as many as the
    ///          largest frame that is charged to it: a frame is charged as a whole before it is
    ///          read on, waits in line when too little is left, and gives it back at its end. It
    ///          holds no charge while it waits, so frames can't block each other; what it holds
    ///          then is first_step at most, without charge. Null: no limit
    /// large    the same for frames above large_frame_bytes, so that few peers who promise large
    ///          frames and send them slowly, or never, don't keep small ones waiting. Null: budget
    frame_reader(connection& from, frame_options options, semaphore* budget = nullptr,
                 semaphore* large = nullptr) noexcept
        : _from(from), _options(options), _budget(budget), _large(large ? large : budget) {}

    /// The next frame, or why there is none; after that the connection is to be closed.
    /// fails    weir::error if the connection was reset
    /// cost     one allocation and one copy a frame, up to first_step
    future<frame> next();

  private:
    // What became of waiting for bytes.
    enum class progress : std::uint8_t { bytes, end, late };
    future<progress> more(instant deadline);
    future<frame> read_body(std::size_t size, instant deadline);
    future<frame::status> fill(frame& body, std::size_t from, std::size_t to, instant deadline);
    future<bool> charge(frame& body, std::size_t size, instant deadline);

    connection& _from;
    const frame_options _options;
    semaphore* const _budget;
    semaphore* const _large;
    received _rest;  // received and not yet consumed
};

}  // namespace weir::net
