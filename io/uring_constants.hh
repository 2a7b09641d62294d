// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

/// What both halves of the uring backend must agree on, and kernel constants newer than the
/// headers that weir builds with. Each of these is probed before use.
namespace weir::io {

inline constexpr std::uint8_t opcode_ftruncate = 55;
/// A feature of a ring, and the flag of an enter that it allows: the wait isn't one for I/O.
inline constexpr std::uint32_t feature_no_iowait = 1U << 17;
inline constexpr std::uint32_t enter_no_iowait = 1U << 7;

/// The one group of provided buffers that a ring has.
inline constexpr std::uint16_t receive_buffer_group = 0;

/// The user_data of entries that are no operation's. An operation's is its address, which is
/// aligned to 8; a failed ring message must name the peer, so its tag is added to an address.
enum class ring_tag : std::uint64_t {
    event = 1,      ///< the eventfd of interrupt() was written
    cancelled = 2,  ///< a cancellation that found nothing, or came too late
    woken = 3,      ///< a peer's ring message
    message = 4,    ///< our ring message, with the peer's address
};
inline constexpr std::uint64_t ring_tag_mask = 7;

}  // namespace weir::io
