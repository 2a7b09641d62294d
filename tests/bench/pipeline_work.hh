// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include <fmt/format.h>

// What bench_pipeline moves and does, the same on every side.
namespace weir::bench {

/// Elements of 8 and of 64 bytes, each made of a number.
using narrow = std::int64_t;
struct wide {
    std::array<std::int64_t, 8> words;
};
static_assert(sizeof(wide) == 64);

template <typename T>
T element(std::int64_t n) noexcept {
    if constexpr (sizeof(T) == sizeof(narrow)) {
        return n;
    } else {
        return {{n, n, n, n, n, n, n, n}};
    }
}
inline std::int64_t number_of(const narrow& of) noexcept {
    return of;
}
inline std::int64_t number_of(const wide& of) noexcept {
    return of.words[0];
}
inline std::int64_t value(const narrow& of) noexcept {
    return of;
}
inline std::int64_t value(const wide& of) noexcept {
    return of.words[0] ^ of.words[3] ^ of.words[7];
}
inline narrow add(const narrow& to) noexcept {
    return to + 3;
}
inline wide add(const wide& to) noexcept {
    wide result;
    for (std::size_t i = 0; i < 8; ++i) {
        result.words[i] = to.words[i] + 3;
    }
    return result;
}
inline narrow multiply(const narrow& what) noexcept {
    return what * 3;
}
inline wide multiply(const wide& what) noexcept {
    wide result;
    for (std::size_t i = 0; i < 8; ++i) {
        result.words[i] = what.words[i] * 3;
    }
    return result;
}
template <typename T>
bool fizz(const T& of) noexcept {
    return value(of) % 3 == 0;
}
template <typename T>
bool buzz(const T& of) noexcept {
    return value(of) % 5 == 0;
}

/// Work for a core that looks at no memory: a chain of dependent steps. Gives what it got.
inline narrow work(narrow n, unsigned rounds) noexcept {
    auto of = static_cast<std::uint64_t>(n);
    for (unsigned i = 0; i < rounds; ++i) {
        of = of * 6364136223846793005 + 1442695040888963407;
        asm volatile("" : "+r"(of));  // no round may be left out, nor joined with others
    }
    return n;
}

struct topology {
    enum class form : std::uint8_t { one_to_one, multicast, pipeline, diamond, copying };

    form kind;
    unsigned consumers = 1;  ///< multicast, copying

    /// The name that the drivers of peers know.
    std::string name() const {
        switch (kind) {
            case form::one_to_one:
                return "one_to_one";
            case form::multicast:
            case form::copying:
                return fmt::format("multicast:{}", consumers);
            case form::pipeline:
                return "pipeline";
            case form::diamond:
                return "diamond";
        }
        __builtin_unreachable();
    }
    /// Threads that a peer takes which has one for each stage.
    unsigned stages() const {
        switch (kind) {
            case form::one_to_one:
                return 2;
            case form::multicast:
            case form::copying:
                return 1 + consumers;
            case form::pipeline:
            case form::diamond:
                return 4;
        }
        __builtin_unreachable();
    }
    /// What the last stage, or each consumer, adds up to; `count` is a multiple of 64.
    std::int64_t expected(std::int64_t count) const {
        const std::int64_t sum = count * (count - 1) / 2;
        return kind == form::pipeline  ? 3 * (sum + 3 * count)
               : kind == form::diamond ? (count + 14) / 15
                                       : sum;
    }
};

}  // namespace weir::bench
