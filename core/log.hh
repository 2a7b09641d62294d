// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include <weir/core/time.hh>

namespace weir {

enum class log_level : std::uint8_t { trace, debug, info, warning, error };

/// returns  "trace" ... "error"
std::string_view name_of(log_level level) noexcept;
/// returns  the level of that name, none for any other word
std::optional<log_level> log_level_of(std::string_view name) noexcept;

/// When and where a line is written: passed by hand, so that virtual time and simulated shards
/// show up in it.
struct log_context {
    wall_clock_ms now_ms = 0;
    std::optional<unsigned> shard{};  ///< none: a foreign thread
};

/// One key=value of a line. It borrows: it lives for the one call that logs it.
struct log_field {
    std::string_view key;
    std::variant<std::string_view, std::int64_t, std::uint64_t, double, bool> value;

    log_field(std::string_view k, std::string_view v) : key(k), value(v) {}
    log_field(std::string_view k, const char* v) : key(k), value(std::string_view(v)) {}
    log_field(std::string_view k, const std::string& v) : key(k), value(std::string_view(v)) {}
    log_field(std::string_view k, bool v) : key(k), value(v) {}
    log_field(std::string_view k, double v) : key(k), value(v) {}
    template <class Integer>
        requires std::is_integral_v<Integer> && (!std::is_same_v<Integer, bool>)
    log_field(std::string_view k, Integer v) : key(k) {
        if constexpr (std::is_signed_v<Integer>) {
            value = static_cast<std::int64_t>(v);
        } else {
            value = static_cast<std::uint64_t>(v);
        }
    }
};

/// A line before it is text.
struct log_line {
    log_context context;
    log_level level = log_level::info;
    std::string_view component;
    std::string_view message;
    std::initializer_list<log_field> fields;
    std::uint64_t suppressed = 0;  ///< lines of this message that the rate limit swallowed before
};

/// Longest line in bytes, newline included: what a pipe takes in one piece (PIPE_BUF). The rest of
/// a longer line is cut and marked.
inline constexpr std::size_t log_line_limit = 4096;

/// Writes a line as logfmt, newline included: time=... level=... shard=... component=... msg=...
/// then the fields. Control bytes and what is not UTF-8 come out escaped: no input can forge a
/// line or drive a terminal.
/// coloured  with ANSI colours, for people
std::string to_logfmt(const log_line& line, bool coloured);

/// Where lines go; a host owns one and its shards share it.
class log_sink {
  public:
    virtual ~log_sink() = default;
    /// thread   any, at once
    virtual void write(const log_line& line) noexcept = 0;
};

/// Writes each line with one write(), to stderr unless told otherwise. It never waits: a line
/// that a full pipe would block is dropped and counted, and the count is logged when it moves on.
class file_log_sink final : public log_sink {
  public:
    enum class colour : std::uint8_t { automatic, always, never };

    /// descriptor  borrowed, stays open
    /// colours     automatic: on a terminal, unless NO_COLOR is set
    explicit file_log_sink(int descriptor = 2, colour colours = colour::automatic);
    void write(const log_line& line) noexcept override;
    /// returns  lines lost because their reader was too slow or had gone
    std::uint64_t dropped() const noexcept { return _dropped.load(std::memory_order_relaxed); }

  private:
    bool put(const std::string& text) noexcept;

    int _descriptor;
    bool _coloured;
    std::atomic<std::uint64_t> _dropped{0};
    std::atomic<std::uint64_t> _reported{0};
};

/// Keeps lines as text without colours, for tests.
class capturing_log_sink final : public log_sink {
  public:
    void write(const log_line& line) noexcept override;
    /// returns  a copy of all lines so far, without their newlines
    std::vector<std::string> lines() const;

  private:
    mutable std::mutex _lock;
    std::vector<std::string> _lines;
};

struct log_options {
    log_level level = log_level::info;
    /// Lines of one message that pass at once, and those that pass per second after that. Errors
    /// are limited as well: a failing disk must not fill the disk that holds the log.
    unsigned burst = 20;
    unsigned per_second = 5;
};

/// Writes the lines of one component on one shard: filters by level and limits the rate of each
/// message. The message is a constant and names the place; what varies goes into the fields.
/// thread   one; the sink is shared
class logger {
  public:
    logger(log_sink& sink, std::string component, log_options options = {});

    bool enabled(log_level level) const noexcept { return level >= _options.level; }
    void set_level(log_level level) noexcept { _options.level = level; }

    /// cost     a comparison when the level is off; else formats and writes
    void write(log_context context, log_level level, std::string_view message,
               std::initializer_list<log_field> fields = {}) noexcept {
        if (enabled(level)) {
            write_enabled(context, level, message, fields);
        }
    }

    const std::string& component() const noexcept { return _component; }
    /// returns  lines that the rate limit swallowed, ever
    std::uint64_t suppressed() const noexcept { return _suppressed; }

  private:
    // A token bucket; messages whose hashes meet share it.
    struct allowance {
        wall_clock_ms refilled_ms = 0;
        std::int64_t thousandths = 0;  // of a line
        std::uint64_t suppressed = 0;
    };
    static constexpr std::size_t allowance_count = 64;

    void write_enabled(log_context context, log_level level, std::string_view message,
                       std::initializer_list<log_field> fields) noexcept;
    bool admit(allowance& bucket, wall_clock_ms now_ms) const noexcept;

    log_sink* _sink;
    std::string _component;
    log_options _options;
    std::uint64_t _suppressed = 0;
    std::array<allowance, allowance_count> _allowances;
};

}  // namespace weir
