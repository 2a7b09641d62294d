// SPDX-License-Identifier: Apache-2.0
#include <weir/io/sim/content.hh>

#include <algorithm>
#include <cstring>

namespace weir::io::sim {

namespace {

std::uint64_t chunks_for(std::uint64_t bytes) noexcept {
    return (bytes + chunk_size - 1) / chunk_size;
}

// The bits of the sectors that [offset, offset + length) touches within one chunk.
std::uint8_t sector_mask(std::uint64_t offset, std::uint64_t length) noexcept {
    const std::uint64_t first = offset / sector_size;
    const std::uint64_t last = (offset + length - 1) / sector_size;
    return static_cast<std::uint8_t>(((1U << (last + 1)) - 1) & ~((1U << first) - 1));
}

}  // namespace

content::chunk& content::own(chunk_ref& shared) {
    if (!shared) {
        shared = std::make_shared<chunk>();
    } else if (shared.use_count() > 1) {
        shared = std::make_shared<chunk>(*shared);
    }
    return *shared;
}

void content::grow(std::uint64_t chunks) {
    if (_images.now.size() < chunks) {
        _images.now.resize(chunks);
        _images.durable.resize(chunks);
        _images.dirty.resize(chunks);
        _images.known.resize(chunks);
    }
}

std::uint64_t content::missing(std::uint64_t offset, std::uint64_t length) const noexcept {
    std::uint64_t count = 0;
    for (std::uint64_t i = offset / chunk_size; i < chunks_for(offset + length); ++i) {
        count += i >= _images.now.size() || !_images.now[i];
    }
    return count;
}

void content::copy_out(const std::vector<chunk_ref>& from, std::uint64_t size, std::uint64_t offset,
                       std::span<std::byte> out) noexcept {
    while (!out.empty()) {
        const std::uint64_t index = offset / chunk_size;
        const std::uint64_t within = offset % chunk_size;
        const std::size_t count = std::min<std::size_t>(out.size(), chunk_size - within);
        if (index < from.size() && from[index] && offset < size) {
            std::memcpy(out.data(), from[index]->bytes.data() + within, count);
        } else {
            std::memset(out.data(), 0, count);
        }
        if (offset < size && size - offset < count) {
            std::memset(out.data() + (size - offset), 0, count - (size - offset));
        }
        out = out.subspan(count);
        offset += count;
    }
}

void content::read(std::uint64_t offset, std::span<std::byte> out) const noexcept {
    copy_out(_images.now, _images.size, offset, out);
}

void content::read_durable(std::uint64_t offset, std::span<std::byte> out) const noexcept {
    const images& oldest = _before_cut.empty() ? _images : _before_cut.front();
    copy_out(oldest.durable, oldest.durable_size, offset, out);
}

void content::write(std::uint64_t offset, std::span<const std::byte> bytes) {
    grow(chunks_for(offset + bytes.size()));
    _images.size = std::max(_images.size, offset + bytes.size());
    while (!bytes.empty()) {
        const std::uint64_t index = offset / chunk_size;
        const std::uint64_t within = offset % chunk_size;
        const std::size_t count = std::min<std::size_t>(bytes.size(), chunk_size - within);
        _images.allocated += !_images.now[index];
        std::memcpy(own(_images.now[index]).bytes.data() + within, bytes.data(), count);
        _images.dirty[index] |= sector_mask(within, count);
        bytes = bytes.subspan(count);
        offset += count;
    }
}

void content::cut_tail(std::vector<chunk_ref>& image, std::uint64_t size) {
    const std::uint64_t chunks = chunks_for(size);
    if (image.size() > chunks) {
        image.resize(chunks);
    }
    if (const std::uint64_t within = size % chunk_size;
        within != 0 && image.size() == chunks && image.back()) {
        std::memset(own(image.back()).bytes.data() + within, 0, chunk_size - within);
    }
}

void content::resize(std::uint64_t size) {
    if (size < _images.size) {
        _before_cut.push_back(_images);
        cut_tail(_images.now, size);
        cut_tail(_images.durable, size);
        const std::uint64_t chunks = chunks_for(size);
        _images.dirty.resize(chunks);
        _images.known.resize(chunks);
        if (const std::uint64_t within = size % chunk_size; within != 0) {
            const std::uint8_t kept = sector_mask(0, within);
            _images.dirty.back() &= kept;
            _images.known.back() &= kept;
        }
        _images.durable_size = std::min(_images.durable_size, size);
        recount();
    }
    grow(chunks_for(size));
    _images.size = size;
}

void content::reserve(std::uint64_t offset, std::uint64_t length) {
    grow(chunks_for(offset + length));
    chunk_ref zeros;
    for (std::uint64_t i = offset / chunk_size; i < chunks_for(offset + length); ++i) {
        if (!_images.now[i]) {
            if (!zeros) {
                zeros = std::make_shared<chunk>();
            }
            _images.now[i] = zeros;
            // File systems show zeros until a write there is durable: old or new, as elsewhere.
            _images.known[i] = 0xff;
            ++_images.allocated;
        }
    }
    _images.size = std::max(_images.size, offset + length);
}

// Copies the dirty sectors of `mask` to the durable image.
void content::settle(std::size_t index, std::uint8_t mask) {
    mask &= _images.dirty[index];
    if (mask == 0) {
        return;
    }
    if (mask == 0xff) {
        _images.durable[index] = _images.now[index];
    } else {
        chunk& target = own(_images.durable[index]);
        for (unsigned s = 0; s < sectors_per_chunk; ++s) {
            if ((mask >> s & 1) != 0) {
                std::memcpy(target.bytes.data() + s * sector_size,
                            _images.now[index]->bytes.data() + s * sector_size, sector_size);
            }
        }
    }
    _images.dirty[index] &= static_cast<std::uint8_t>(~mask);
    _images.known[index] |= mask;
}

void content::persist(std::uint64_t offset, std::uint64_t length) {
    const std::uint64_t end =
        std::min<std::uint64_t>(offset + length, _images.now.size() * chunk_size);
    while (offset < end) {
        const std::uint64_t within = offset % chunk_size;
        const std::uint64_t count = std::min(end - offset, chunk_size - within);
        settle(offset / chunk_size, sector_mask(within, count));
        offset += count;
    }
    _images.durable_size = _images.size;
    _before_cut.clear();
}

void content::copy_in(std::vector<chunk_ref>& image, std::uint64_t offset,
                      std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const std::uint64_t within = offset % chunk_size;
        const std::size_t count = std::min<std::size_t>(bytes.size(), chunk_size - within);
        std::memcpy(own(image[offset / chunk_size]).bytes.data() + within, bytes.data(), count);
        bytes = bytes.subspan(count);
        offset += count;
    }
}

void content::spoil(std::uint64_t offset, std::span<const std::byte> bytes) {
    grow(chunks_for(offset + bytes.size()));
    copy_in(_images.now, offset, bytes);
    copy_in(_images.durable, offset, bytes);
    recount();
}

void content::forget_dirty() noexcept {
    std::fill(_images.dirty.begin(), _images.dirty.end(), std::uint8_t{0});
}

bool content::dirty() const noexcept {
    return _images.size != _images.durable_size || !_before_cut.empty() ||
           std::any_of(_images.dirty.begin(), _images.dirty.end(), [](auto m) { return m != 0; });
}

void content::recount() noexcept {
    _images.allocated = static_cast<std::uint64_t>(
        std::count_if(_images.now.begin(), _images.now.end(), [](auto& c) { return !!c; }));
}

bool content::junk(fault_injector& faults, std::size_t index, unsigned sector) {
    const bool acknowledged = (_images.known[index] >> sector & 1) != 0;
    const fault kind = acknowledged ? fault::junk_anything : fault::junk_sector;
    if (!faults.strikes(kind) && (acknowledged || !faults.strikes(fault::junk_anything))) {
        return false;
    }
    std::byte* bytes = own(_images.durable[index]).bytes.data() + sector * sector_size;
    for (std::uint64_t i = 0; i < sector_size; i += 8) {
        const std::uint64_t word = faults.random().next();
        std::memcpy(bytes + i, &word, 8);
    }
    return true;
}

// Decides for each dirty sector whether the device has it. Returns whether some have it and some
// have not.
bool content::draw_sectors(fault_injector& faults, bool lose, bool tear, std::uint64_t& lost) {
    bool kept_one = false;
    bool lost_one = false;
    for (std::size_t i = 0; i < _images.dirty.size(); ++i) {
        for (unsigned s = 0; _images.dirty[i] != 0 && s < sectors_per_chunk; ++s) {
            const auto bit = static_cast<std::uint8_t>(1U << s);
            if ((_images.dirty[i] & bit) == 0) {
                continue;
            }
            if (junk(faults, i, s)) {
                _images.dirty[i] &= static_cast<std::uint8_t>(~bit);
            } else if (tear ? faults.random().one_in(2) : lose) {
                lost_one = true;
                ++lost;
                _images.dirty[i] &= static_cast<std::uint8_t>(~bit);
            } else {
                kept_one = true;
                settle(i, bit);
            }
        }
    }
    return kept_one && lost_one;
}

void content::power_cut(fault_injector& faults) {
    if (!dirty()) {
        _images.now = _images.durable;  // a failed sync may have left them apart
        recount();
        return;
    }
    const bool tear = faults.would_strike(fault::torn_write);
    const bool lose = faults.would_strike(fault::lost_write);
    if (!_before_cut.empty()) {
        const std::uint64_t epoch = faults.random().below(_before_cut.size() + 1);
        if (epoch < _before_cut.size()) {
            images chosen = std::move(_before_cut[epoch]);
            _images = std::move(chosen);
        }
        _before_cut.clear();
    }
    std::uint64_t lost = 0;
    if (draw_sectors(faults, lose, tear, lost)) {
        faults.count(fault::torn_write);
    } else if (lost != 0) {
        faults.count(fault::lost_write);
    }
    if (_images.size != _images.durable_size && (tear ? faults.random().one_in(2) : lose)) {
        _images.size = _images.durable_size;
    }
    cut_tail(_images.durable, _images.size);
    _images.now = _images.durable;
    _images.durable_size = _images.size;
    _images.dirty.assign(_images.now.size(), 0);
    _images.known.resize(_images.now.size());
    recount();
}

}  // namespace weir::io::sim
