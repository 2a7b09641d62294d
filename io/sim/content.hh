// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <weir/io/sim/faults.hh>

namespace weir::io::sim {

inline constexpr std::uint64_t sector_size = 512;
inline constexpr std::uint64_t chunk_size = 4096;
inline constexpr unsigned sectors_per_chunk = chunk_size / sector_size;

/// The bytes of one file, twice: as programs read them, and as a power cut leaves them. Sectors
/// written since they were last synced are dirty: at a cut each is, independently, old or new.
/// A file that was cut shorter and not synced may come back whole, as it was before the cut.
/// Chunks are shared between the images until one changes; a null chunk is a hole.
class content {
  public:
    std::uint64_t size() const noexcept { return _images.size; }
    std::uint64_t durable_size() const noexcept { return _images.durable_size; }
    /// Chunks that take space on the device.
    std::uint64_t allocated() const noexcept { return _images.allocated; }
    /// Chunks that a write to the range would have to allocate.
    std::uint64_t missing(std::uint64_t offset, std::uint64_t length) const noexcept;

    /// Copies out; holes and what lies past the end read as zeros.
    void read(std::uint64_t offset, std::span<std::byte> out) const noexcept;
    /// As a power cut that loses everything unsynced would leave it.
    void read_durable(std::uint64_t offset, std::span<std::byte> out) const noexcept;

    void write(std::uint64_t offset, std::span<const std::byte> bytes);
    void resize(std::uint64_t size);
    /// Takes space for the range and extends the size to its end.
    void reserve(std::uint64_t offset, std::uint64_t length);

    /// Makes the range durable, and the size with it.
    void persist(std::uint64_t offset, std::uint64_t length);
    void persist() { persist(0, _images.size); }
    /// Changes bytes behind everybody's back, on the device too; what is dirty stays dirty.
    /// offset   of the first; all lie before the end
    void spoil(std::uint64_t offset, std::span<const std::byte> bytes);
    /// A sync failed: what is dirty stays readable, counts as clean and is not durable.
    void forget_dirty() noexcept;
    bool dirty() const noexcept;

    /// Leaves what the device holds after a power cut.
    void power_cut(fault_injector& faults);

  private:
    struct chunk {
        std::array<std::byte, chunk_size> bytes{};
    };
    using chunk_ref = std::shared_ptr<chunk>;
    struct images {
        std::uint64_t size = 0;
        std::uint64_t durable_size = 0;
        std::uint64_t allocated = 0;
        std::vector<chunk_ref> now;
        std::vector<chunk_ref> durable;
        std::vector<std::uint8_t> dirty;  // a bit a sector
        std::vector<std::uint8_t> known;  // a bit a sector: durable or reserved before
    };

    static void copy_out(const std::vector<chunk_ref>& from, std::uint64_t size,
                         std::uint64_t offset, std::span<std::byte> out) noexcept;
    static chunk& own(chunk_ref& shared);
    static void copy_in(std::vector<chunk_ref>& image, std::uint64_t offset,
                        std::span<const std::byte> bytes);
    static void cut_tail(std::vector<chunk_ref>& image, std::uint64_t size);
    void grow(std::uint64_t chunks);
    void settle(std::size_t index, std::uint8_t mask);
    void recount() noexcept;
    bool draw_sectors(fault_injector& faults, bool lose, bool tear, std::uint64_t& lost);
    bool junk(fault_injector& faults, std::size_t index, unsigned sector);

    images _images;
    std::vector<images> _before_cut;  // oldest first; empty once a sync made the cut durable
};

}  // namespace weir::io::sim
