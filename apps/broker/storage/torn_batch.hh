// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <broker/storage/options.hh>

namespace weir::broker {

/// Whether the bytes where the next batch was due may be what is left of one that was never
/// acknowledged, on a device that leaves each sector as it was (zeros) or as it was to be. If so,
/// some sector of it is still zeros, or it would reach beyond the end of the file, and what is
/// there of its header is right. Else the device has spoilt a sector, and there may have been an
/// acknowledged batch: that is damage.
/// bytes     of the file from `position` on; up to its end, or at least as long as a commit
/// offset    that the batch was to have
/// reach     bytes from there to the last that is not zero: with unzeroed_commit_bytes or more it
///           may be a commit to space that was only reserved, whose pages promise nothing but the
///           first
/// returns   true also for a spoilt batch of which a whole sector, or all that is in its last one,
///           is zeros by nature, or whose length was spoilt so that it passes the end of the file
bool may_be_torn(std::span<const std::byte> bytes, std::uint64_t position, std::int64_t offset,
                 std::uint64_t reach, const log_options& options);

}  // namespace weir::broker
