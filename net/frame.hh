// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <weir/core/future.hh>
#include <weir/net/connection.hh>
#include <weir/net/message_budget.hh>
#include <weir/net/peer_time.hh>

namespace weir::net {

struct frame_options {
    std::size_t frame_bytes_max = 100 * 1024 * 1024;  ///< larger frames are refused
    duration idle_max = std::chrono::minutes(10);     ///< between frames
    /// From a frame's first byte on, while it is the peer's turn: not while the budget is used up,
    /// nor while we were stopped.
    duration frame_time_max = std::chrono::seconds(30);
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
    message_charge _charge;
};

/// Cuts what a connection receives into frames. Nothing is taken or charged for a length, only for
/// bytes that have come, so that a lie about a length costs its teller.
/// thread   that of the connection
class frame_reader {
  public:
    /// What a frame may hold without charge while it comes; when it is complete it is charged too.
    static constexpr std::size_t uncharged_bytes = 1024;

    /// budget   shared by connections. A frame is charged as it comes, waits where it is when there
    ///          is no room, and gives it back at its end. Null: no limit
    frame_reader(connection& from, frame_options options, message_budget* budget = nullptr) noexcept
        : _from(from), _options(options), _budget(budget) {}

    /// The next frame, or why there is none; after that the connection is to be closed.
    /// fails    weir::error if the connection was reset, or limit_exceeded: see message_budget
    /// cost     one allocation and one copy of a frame that comes in one piece; the place of
    ///          another grows fourfold as it comes, so that a third is copied again
    future<frame> next();

  private:
    // What became of waiting for bytes.
    enum class progress : std::uint8_t { bytes, end, late };
    struct filling;
    future<progress> more(instant deadline);
    future<frame> read_body(std::size_t size, peer_deadline& deadline);
    future<> charge(filling& into, std::size_t needed, peer_deadline& deadline);

    connection& _from;
    const frame_options _options;
    message_budget* const _budget;
    received _rest;  // received and not yet consumed
};

}  // namespace weir::net
