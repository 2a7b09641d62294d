// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <boost/endian/conversion.hpp>

namespace weir::broker::protocol {

using byte_view = std::span<const std::byte>;

/// How lengths and counts are written. Classic versions write a fixed integer, below 0 for null;
/// flexible versions an unsigned varint of length + 1, 0 for null, and tagged fields (KIP-482).
enum class form : std::uint8_t { classic, compact };

template <std::integral Integer>
Integer load_big(const std::byte* from) noexcept {
    Integer value;
    std::memcpy(&value, from, sizeof(value));
    return boost::endian::big_to_native(value);
}

template <std::integral Integer>
void store_big(std::byte* to, Integer value) noexcept {
    value = boost::endian::native_to_big(value);
    std::memcpy(to, &value, sizeof(value));
}

/// Reads one frame. Never throws and allocates nothing: the first failure names its field and
/// sticks, what is read after it is zero, empty or null. Strings and bytes point into the frame.
class reader {
  public:
    explicit reader(byte_view bytes) noexcept : _rest(bytes) {}

    bool ok() const noexcept { return _failed_field == nullptr; }
    /// From here on all counts together may say so many elements; what says more fails.
    void limit_elements(std::size_t elements) noexcept { _elements_left = elements; }
    /// Takes `elements` of those that there may be.
    /// returns  false, and fails, if there may not be so many
    bool admit_elements(std::size_t elements, const char* field) noexcept {
        if (elements > _elements_left) {
            fail(field);
            return false;
        }
        _elements_left -= elements;
        return true;
    }
    /// returns  the field at which reading failed, empty while ok
    std::string_view failed_field() const noexcept { return ok() ? "" : _failed_field; }
    std::size_t remaining() const noexcept { return _rest.size(); }
    /// field    a literal: the reader keeps the pointer
    void fail(const char* field) noexcept;

    template <std::integral Integer>
    Integer integer(const char* field) noexcept {
        const byte_view raw = take(sizeof(Integer), field);
        return raw.empty() ? Integer{} : load_big<Integer>(raw.data());
    }
    /// fails    beyond 5 bytes, or bits beyond the 32nd
    std::uint32_t unsigned_varint(const char* field) noexcept;
    /// Zigzag, as records use it.
    std::int32_t varint(const char* field) noexcept;
    /// fails    beyond 10 bytes, or bits beyond the 64th
    std::int64_t varlong(const char* field) noexcept;

    /// returns  exactly `size` bytes, or none after a failure
    byte_view take(std::size_t size, const char* field) noexcept;
    /// returns  null where the sender wrote null, or after a failure
    std::optional<std::string_view> string(form how, const char* field) noexcept;
    std::optional<byte_view> bytes(form how, const char* field) noexcept;
    /// Reads how many elements an array has.
    /// smallest  bytes that the smallest element takes, at least 1
    /// fails    when that many elements can't fit in what remains: nobody allocates for a lie; or
    ///          are more than there may be: see limit_elements()
    std::optional<std::size_t> count(form how, std::size_t smallest, const char* field) noexcept;

  private:
    std::uint64_t base_128(int last_shift, std::uint8_t last_byte_limit,
                           const char* field) noexcept;
    /// returns  the length before a value, null for null, or after a failure
    template <std::signed_integral Classic>
    std::optional<std::size_t> length(form how, const char* field) noexcept;

    byte_view _rest;
    const char* _failed_field = nullptr;
    std::size_t _elements_left = std::numeric_limits<std::size_t>::max();
};

/// Encoded bytes, ready for a vectored send: what the writer owns, with borrowed spans spliced in.
class frame {
  public:
    std::size_t size() const noexcept;
    /// returns  the frame in order; views into this frame and into what it borrows
    std::vector<byte_view> pieces() const;
    /// returns  a copy in one piece, for tests and clients
    std::vector<std::byte> flat() const;

  private:
    friend class writer;
    struct splice {
        std::size_t at;  ///< position in _owned before which the borrowed bytes belong
        byte_view bytes;
    };
    std::vector<std::byte> _owned;
    std::vector<splice> _borrowed;
};

/// Writes one frame into a growing buffer. Values that don't fit their field are bugs and abort.
class writer {
  public:
    /// Borrowed bytes shorter than this are copied: a further iovec costs more.
    static constexpr std::size_t copy_below = 512;

    template <std::integral Integer>
    void integer(Integer value) {
        std::byte raw[sizeof(Integer)];
        store_big(raw, value);
        append(raw);
    }
    void unsigned_varint(std::uint32_t value);
    void varint(std::int32_t value);
    void varlong(std::int64_t value);

    void append(byte_view bytes);
    void string(form how, std::optional<std::string_view> value);
    void bytes(form how, std::optional<byte_view> value);
    /// As bytes(), but refers to `value`, which must outlive the frame.
    /// further  pieces of the same value, behind the first
    void borrow(form how, std::optional<byte_view> value, std::span<const byte_view> further = {});
    void count(form how, std::optional<std::size_t> elements);

    /// Leaves room for an int32 length of all that follows; close_frame() fills it in.
    void open_frame() { integer(std::int32_t{0}); }
    frame close_frame() &&;
    frame finish() && { return std::move(_frame); }

  private:
    void base_128(std::uint64_t value);
    template <std::signed_integral Classic>
    void length(form how, std::optional<std::size_t> value);
    void splice(byte_view piece);

    frame _frame;
};

}  // namespace weir::broker::protocol
