// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/uio.h>

namespace weir::io {

/// What is left to write of several parts, piece by piece: each no larger than the kernel, or the
/// turns of others, allow.
class parts_left {
  public:
    struct piece {
        iovec* first;
        std::uint32_t count;
    };

    /// parts  are changed as they are written
    explicit parts_left(std::span<iovec> parts) noexcept : _left(parts) { skip_empty(); }

    bool empty() const noexcept { return _left.empty(); }
    /// The next piece, until give_back().
    /// bytes_max  of all its parts; 1 or more
    piece take(std::size_t bytes_max) noexcept {
        std::size_t bytes = 0;
        std::uint32_t count = 0;
        while (count < std::min<std::size_t>(_left.size(), IOV_MAX) && bytes < bytes_max) {
            bytes += _left[count++].iov_len;
        }
        _cut = &_left[count - 1];
        _cut_bytes = bytes > bytes_max ? bytes - bytes_max : 0;
        _cut->iov_len -= _cut_bytes;
        return {_left.data(), count};
    }
    void give_back() noexcept { _cut->iov_len += _cut_bytes; }
    /// So many bytes of the piece were written.
    void advance(std::size_t bytes) noexcept {
        while (!_left.empty() && bytes >= _left.front().iov_len) {
            bytes -= _left.front().iov_len;
            _left = _left.subspan(1);
        }
        if (bytes > 0) {
            _left.front().iov_base = static_cast<std::byte*>(_left.front().iov_base) + bytes;
            _left.front().iov_len -= bytes;
        }
    }

  private:
    /// The kernel writes nothing of an empty part, which else means that there is no room.
    void skip_empty() noexcept { advance(0); }

    std::span<iovec> _left;
    iovec* _cut = nullptr;
    std::size_t _cut_bytes = 0;
};

}  // namespace weir::io
