// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include <weir/io/file.hh>

namespace weir::broker {

/// Bytes that were read or written, with whoever keeps their memory: they may cross to another
/// shard and be freed there.
struct chunk {
    std::shared_ptr<const io::aligned_buffer> owner;
    std::span<const std::byte> bytes;
};

class recent_batches;

/// The memory that the recent batches of all logs of a shard share. The oldest commit goes first,
/// whosesoever it is, so that quiet logs hold nothing while others are busy.
/// thread   one shard
class recent_memory {
  public:
    /// limit_bytes  of buffers kept; readers may keep some of them alive for longer
    explicit recent_memory(std::size_t limit_bytes) noexcept : _limit(limit_bytes) {}
    recent_memory(const recent_memory&) = delete;
    recent_memory& operator=(const recent_memory&) = delete;
    ~recent_memory();

    std::size_t used_bytes() const noexcept { return _used; }
    std::size_t limit_bytes() const noexcept { return _limit; }

  private:
    friend class recent_batches;
    struct entry {
        recent_batches* of;
        std::int64_t base_offset;
        std::int64_t next_offset;
        chunk bytes;
    };

    std::list<entry> _entries;  // oldest first
    std::size_t _limit;
    std::size_t _used = 0;
};

/// The latest commits of one log: an unbroken run of batches up to its end.
class recent_batches {
  public:
    explicit recent_batches(recent_memory& shared) noexcept : _shared(shared) {}
    recent_batches(const recent_batches&) = delete;
    recent_batches& operator=(const recent_batches&) = delete;
    ~recent_batches() { clear(); }

    /// Keeps a commit that became durable, and drops the oldest of all logs beyond the limit.
    void add(std::int64_t base_offset, std::int64_t next_offset, chunk bytes);
    void clear() noexcept;

    bool holds(std::int64_t offset) const noexcept {
        return !_entries.empty() && offset >= _entries.front()->base_offset &&
               offset < _entries.back()->next_offset;
    }
    /// Bytes of the whole batches from the one with `offset` on, which must be held, up to `enough`
    /// or a little more, and of the first of them.
    struct extent {
        std::size_t bytes;
        std::size_t first;
    };
    extent measure(std::int64_t offset, std::size_t enough) const;
    /// Appends whole batches from the one with `offset` on: at least one, and not more than
    /// `max_bytes` and `max_chunks` beyond that. `offset` must be held.
    /// returns  the bytes that it appended
    std::size_t read(std::int64_t offset, std::size_t max_bytes, std::size_t max_chunks,
                     std::vector<chunk>& into) const;

  private:
    using entry_ref = std::list<recent_memory::entry>::iterator;

    void drop_oldest() noexcept;
    std::deque<entry_ref>::const_iterator entry_of(std::int64_t offset) const;

    recent_memory& _shared;
    std::deque<entry_ref> _entries;
};

/// The whole batches at the start of `bytes`, from the one with `offset` on: at least one.
/// max_bytes  of them, if the first fits
std::span<const std::byte> batches_from(std::span<const std::byte> bytes, std::int64_t offset,
                                        std::size_t max_bytes);

}  // namespace weir::broker
