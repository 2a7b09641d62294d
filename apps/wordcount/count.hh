// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>

// Counts lines, words and characters of UTF-8 text that comes in blocks, as `wc -lwm` does in a
// UTF-8 locale of the GNU C library. A word or a character may lie across any number of blocks.
namespace wordcount {

using bytes = std::span<const std::byte>;

class line_counter {
  public:
    void add(bytes text) noexcept;
    std::uint64_t total() const noexcept { return _lines; }

  private:
    std::uint64_t _lines = 0;
};

/// The longest sequence that the C library takes for a character: UTF-8 as it was first defined.
inline constexpr std::size_t sequence_max = 6;

/// The last bytes of a block that may belong to a character which ends in the next one.
class carried {
  public:
    /// Calls `count(view, end)` for parts of the text that follow one another: it handles what
    /// begins before `end`, may look at sequence_max - 1 bytes more, and returns where it stopped,
    /// at or behind `end`.
    template <typename Count>
    void add(bytes text, Count count);
    /// Calls it for what is left, with nothing behind.
    template <typename Count>
    void finish(Count count) const;

  private:
    static constexpr std::size_t ahead = sequence_max - 1;
    std::array<std::byte, 2 * ahead> _bytes{};
    std::size_t _size = 0;
};

/// Code points. Bytes that are no part of a valid sequence don't count.
class character_counter {
  public:
    void add(bytes text) noexcept;
    std::uint64_t total() const noexcept;

  private:
    carried _carried;
    std::uint64_t _characters = 0;
};

/// Whether the environment asks for POSIX to the letter: nobody here ever changes it.
inline bool posix_wanted() noexcept {
    return std::getenv("POSIXLY_CORRECT") != nullptr;  // NOLINT(concurrency-mt-unsafe): see above
}

/// What the locale says about characters, looked up once: whether they part words, belong to
/// them, or neither (what can't be printed).
class character_classes {
  public:
    enum class kind : std::uint8_t { neither, space, printed };

    /// posix    only what POSIX calls a space parts words, none that doesn't break a line; wc asks
    ///          the environment
    /// fails    std::runtime_error if there is no UTF-8 locale
    explicit character_classes(bool posix = posix_wanted());
    character_classes(const character_classes&) = delete;
    character_classes& operator=(const character_classes&) = delete;
    ~character_classes();

    kind of(char32_t character) const noexcept {
        return character < _plane.size() ? _plane[character] : look_up(character);
    }

  private:
    kind look_up(char32_t character) const noexcept;

    void* _locale;
    const bool _posix;
    std::array<kind, 0x10000> _plane{};
};

/// Words: what stands between spaces and has at least one character that can be printed.
class word_counter {
  public:
    explicit word_counter(std::shared_ptr<const character_classes> classes)
        : _classes(std::move(classes)) {}
    void add(bytes text) noexcept;
    std::uint64_t total() const noexcept;

  private:
    struct state {
        std::uint64_t words = 0;
        bool in_word = false;
    };
    std::size_t count(state& now, bytes view, std::size_t end) const noexcept;

    std::shared_ptr<const character_classes> _classes;
    carried _carried;
    state _state;
};

}  // namespace wordcount
