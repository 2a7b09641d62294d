// SPDX-License-Identifier: Apache-2.0
#include <wordcount/count.hh>

#include <algorithm>
#include <cwctype>
#include <stdexcept>

#include <locale.h>

namespace wordcount {

namespace {

/// Bytes that are looked at together, in loops without branches, which compilers turn into vector
/// instructions; counts in a byte can't overflow within it.
constexpr std::size_t stride = 64;

using byte = unsigned char;

const byte* begin_of(bytes text) noexcept {
    return reinterpret_cast<const byte*>(text.data());
}

bool continues(byte b) noexcept {
    return (b & 0xc0) == 0x80;
}

/// What a first byte and the one after it say of the length of a sequence; 0: there is none.
std::size_t length_by(byte first, byte second) noexcept {
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xc2 || first > 0xfd || !continues(second)) {
        return 0;
    }
    if (first < 0xe0) {
        return 2;
    }
    if (first < 0xf0) {
        // Neither longer than need be, nor half of a surrogate pair.
        const bool fits = (first != 0xe0 || second >= 0xa0) && (first != 0xed || second < 0xa0);
        return fits ? 3 : 0;
    }
    if (first < 0xf8) {
        return first != 0xf0 || second >= 0x90 ? 4 : 0;
    }
    if (first < 0xfc) {
        return first != 0xf8 || second >= 0x88 ? 5 : 0;
    }
    return first != 0xfc || second >= 0x84 ? 6 : 0;
}

/// returns  the length of the valid sequence at the start of `at`, 0 if there is none
/// left     bytes that may be looked at, at least one
std::size_t sequence_length(const byte* at, std::size_t left) noexcept {
    const std::size_t length = length_by(at[0], left > 1 ? at[1] : byte{0});
    if (length > left) {
        return 0;
    }
    for (std::size_t i = 2; i < length; ++i) {
        if (!continues(at[i])) {
            return 0;
        }
    }
    return length;
}

char32_t decode(const byte* at, std::size_t length) noexcept {
    if (length == 1) {
        return at[0];
    }
    char32_t value = at[0] & (0x7fU >> length);
    for (std::size_t i = 1; i < length; ++i) {
        value = value << 6 | (at[i] & 0x3fU);
    }
    return value;
}

byte highest(const byte* at) noexcept {
    byte all = 0;
    for (std::size_t i = 0; i < stride; ++i) {
        all = std::max(all, at[i]);
    }
    return all;
}

/// Valid sequences of up to 4 bytes that begin in a stride; 3 bytes behind it are looked at.
/// No sequence can begin inside another one, so each place is judged by itself.
std::size_t sequences(const byte* at) noexcept {
    byte count = 0;
    for (std::size_t i = 0; i < stride; ++i) {
        const byte a = at[i];
        const byte b = at[i + 1];
        const byte one = a < 0x80;
        const byte second = (b & 0xc0) == 0x80;
        const byte third = (at[i + 2] & 0xc0) == 0x80;
        const byte fourth = (at[i + 3] & 0xc0) == 0x80;
        const byte two = byte(a >= 0xc2) & byte(a < 0xe0);
        const byte three = byte((a & 0xf0) == 0xe0) & byte(byte(a != 0xe0) | byte(b >= 0xa0)) &
                           byte(byte(a != 0xed) | byte(b < 0xa0)) & third;
        const byte four =
            byte((a & 0xf8) == 0xf0) & byte(byte(a != 0xf0) | byte(b >= 0x90)) & third & fourth;
        count = static_cast<byte>(count + (one | (second & (two | three | four))));
    }
    return count;
}

/// Characters that begin before `end` in a text of `size` bytes.
std::uint64_t characters(const byte* at, std::size_t end, std::size_t size) noexcept {
    std::uint64_t count = 0;
    std::size_t i = 0;
    for (; i + stride <= end && i + stride + 3 <= size; i += stride) {
        const byte most = highest(at + i);
        if (most < 0x80) {
            count += stride;
        } else if (most < 0xf8) {
            count += sequences(at + i);
        } else {
            for (std::size_t j = i; j < i + stride; ++j) {
                count += sequence_length(at + j, size - j) != 0 ? 1 : 0;
            }
        }
    }
    for (; i < end; ++i) {
        count += sequence_length(at + i, size - i) != 0 ? 1 : 0;
    }
    return count;
}

bool is_space(byte b) noexcept {
    return b == ' ' || (b >= '\t' && b <= '\r');
}

/// Whether a stride has only spaces and characters that can be printed, all of one byte.
bool is_plain(const byte* at) noexcept {
    byte odd = 0;
    for (std::size_t i = 0; i < stride; ++i) {
        const byte b = at[i];
        const byte space = byte(byte(b - '\t') < 5) | byte(b == ' ');
        const byte printed = byte(b - '!') < 94;
        odd = static_cast<byte>(odd | byte(1 ^ (space | printed)));
    }
    return odd == 0;
}

/// Words that begin in a plain stride, but for one at its first byte.
std::size_t words_begun(const byte* at) noexcept {
    byte count = 0;
    for (std::size_t i = 1; i < stride; ++i) {
        const byte before = byte(byte(at[i - 1] - '\t') < 5) | byte(at[i - 1] == ' ');
        const byte here = byte(byte(at[i] - '\t') < 5) | byte(at[i] == ' ');
        count = static_cast<byte>(count + (before & byte(here ^ 1)));
    }
    return count;
}

}  // namespace

void line_counter::add(bytes text) noexcept {
    const byte* const at = begin_of(text);
    std::size_t i = 0;
    for (; i + stride <= text.size(); i += stride) {
        byte count = 0;
        for (std::size_t j = i; j < i + stride; ++j) {
            count = static_cast<byte>(count + byte(at[j] == '\n'));
        }
        _lines += count;
    }
    for (; i < text.size(); ++i) {
        _lines += at[i] == '\n' ? 1 : 0;
    }
}

template <typename Count>
void carried::add(bytes text, Count count) {
    std::size_t from = 0;
    if (_size != 0) {
        // What was left, with enough of this block behind it to see where it ends.
        const std::size_t head = std::min(ahead, text.size());
        std::copy_n(text.begin(), head, _bytes.begin() + static_cast<std::ptrdiff_t>(_size));
        const bytes view(_bytes.data(), _size + head);
        const std::size_t end = std::min(_size, view.size() - std::min(ahead, view.size()));
        const std::size_t stopped = count(view, end);
        if (stopped < _size || head == text.size()) {
            // The block is shorter than a sequence: it is carried on, too.
            std::copy(view.begin() + static_cast<std::ptrdiff_t>(stopped), view.end(),
                      _bytes.begin());
            _size = view.size() - stopped;
            return;
        }
        from = stopped - _size;
    }
    const bytes rest = text.subspan(from);
    const std::size_t stopped = count(rest, rest.size() - std::min(ahead, rest.size()));
    std::copy(rest.begin() + static_cast<std::ptrdiff_t>(stopped), rest.end(), _bytes.begin());
    _size = rest.size() - stopped;
}

template <typename Count>
void carried::finish(Count count) const {
    count(bytes(_bytes.data(), _size), _size);
}

void character_counter::add(bytes text) noexcept {
    _carried.add(text, [this](bytes view, std::size_t end) {
        _characters += characters(begin_of(view), end, view.size());
        return end;
    });
}

std::uint64_t character_counter::total() const noexcept {
    std::uint64_t last = 0;
    _carried.finish([&](bytes view, std::size_t end) {
        last = characters(begin_of(view), end, view.size());
        return end;
    });
    return _characters + last;
}

character_classes::character_classes(bool posix)
    : _locale(::newlocale(LC_CTYPE_MASK, "C.UTF-8", static_cast<locale_t>(nullptr))),
      _posix(posix) {
    if (_locale == nullptr) {
        throw std::runtime_error("wordcount: this machine has no locale C.UTF-8");
    }
    for (char32_t each = 0; each < _plane.size(); ++each) {
        _plane[each] = look_up(each);
    }
}

character_classes::~character_classes() {
    ::freelocale(static_cast<locale_t>(_locale));
}

character_classes::kind character_classes::look_up(char32_t character) const noexcept {
    auto* const locale = static_cast<locale_t>(_locale);
    const auto wide = static_cast<wint_t>(character);
    // Spaces that don't break lines part words, too.
    const bool unbroken = !_posix && (character == 0xa0 || character == 0x2007 ||
                                      character == 0x202f || character == 0x2060);
    if (character < 0x80
            ? is_space(static_cast<byte>(character))
            : ::iswprint_l(wide, locale) != 0 && (::iswspace_l(wide, locale) != 0 || unbroken)) {
        return kind::space;
    }
    return ::iswprint_l(wide, locale) != 0 ? kind::printed : kind::neither;
}

std::size_t word_counter::count(state& now, bytes view, std::size_t end) const noexcept {
    const byte* const at = begin_of(view);
    std::size_t i = 0;
    while (i < end) {
        if (i + stride <= end && is_plain(at + i)) {
            const bool first = !is_space(at[i]);
            now.words += words_begun(at + i) + (first && !now.in_word ? 1 : 0);
            now.in_word = !is_space(at[i + stride - 1]);
            i += stride;
            continue;
        }
        // One stride, character by character: what comes behind may be plain again.
        for (const std::size_t stop = std::min(end, i + stride); i < stop;) {
            const std::size_t length = at[i] < 0x80 ? 1 : sequence_length(at + i, view.size() - i);
            if (length == 0) {
                ++i;  // no character, and nothing that would end a word
                continue;
            }
            // No branches: where words end can't be foretold.
            const auto kind = _classes->of(decode(at + i, length));
            const bool in_word = (now.in_word & (kind != character_classes::kind::space)) |
                                 (kind == character_classes::kind::printed);
            now.words += static_cast<std::uint64_t>(in_word & !now.in_word);
            now.in_word = in_word;
            i += length;
        }
    }
    return i;
}

void word_counter::add(bytes text) noexcept {
    _carried.add(text, [this](bytes view, std::size_t end) { return count(_state, view, end); });
}

std::uint64_t word_counter::total() const noexcept {
    state now = _state;
    _carried.finish([&](bytes view, std::size_t end) { return count(now, view, end); });
    return now.words;
}

}  // namespace wordcount
