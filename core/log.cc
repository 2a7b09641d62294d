// SPDX-License-Identifier: Apache-2.0
#include <weir/core/log.hh>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <iterator>

#include <fmt/format.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

namespace weir {

namespace {

constexpr std::string_view level_names[] = {"trace", "debug", "info", "warning", "error"};
// dim, blue, green, yellow, red
constexpr std::string_view level_colours[] = {"\x1b[2m", "\x1b[34m", "\x1b[32m", "\x1b[33m",
                                              "\x1b[31m"};
constexpr std::string_view dim = "\x1b[2m";
constexpr std::string_view bold = "\x1b[1m";
constexpr std::string_view plain = "\x1b[0m";
constexpr std::string_view cut_mark = " cut=true";

// returns  the length of the UTF-8 character that starts here and may be shown, 0 if it may not
std::size_t printable_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned first = byte(0);
    if (first < 0x80) {
        return first >= 0x20 && first != 0x7f ? 1 : 0;
    }
    const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() < length) {
        return 0;
    }
    char32_t code = first & (0x7fU >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0U) != 0x80) {
            return 0;
        }
        code = (code << 6) | (byte(i) & 0x3fU);
    }
    const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    const bool surrogate = code >= 0xd800 && code <= 0xdfff;
    const bool control = code < 0xa0;                         // C1: drives terminals too
    const bool reorders = (code >= 0x202a && code <= 0x202e)  // shows text in another order
                          || (code >= 0x2066 && code <= 0x2069);
    return overlong || surrogate || control || reorders || code > 0x10ffff ? 0 : length;
}

bool is_bare(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
    });
}

void append_value(std::string& out, std::string_view text) {
    if (is_bare(text)) {
        out += text;
        return;
    }
    out += '"';
    while (!text.empty()) {
        const std::size_t length = printable_length(text);
        const char c = text.front();
        if (length > 1) {
            out += text.substr(0, length);
        } else if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (length == 1) {
            out += c;
        } else if (c == '\n') {
            out += "\\n";
        } else {
            fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(c));
        }
        text.remove_prefix(std::max<std::size_t>(length, 1));
    }
    out += '"';
}

struct field_writer {
    std::string& out;
    void operator()(std::string_view value) const { append_value(out, value); }
    void operator()(bool value) const { out += value ? "true" : "false"; }
    template <class Number>
    void operator()(Number value) const {
        fmt::format_to(std::back_inserter(out), "{}", value);
    }
};

void append_time(std::string& out, wall_clock_ms now_ms) {
    const auto milliseconds = static_cast<unsigned>(((now_ms % 1000) + 1000) % 1000);
    const time_t seconds = (now_ms - milliseconds) / 1000;
    tm parts{};
    ::gmtime_r(&seconds, &parts);
    fmt::format_to(std::back_inserter(out), "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
                   parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                   parts.tm_min, parts.tm_sec, milliseconds);
}

// Writes `key=`, dimmed where there is colour.
void append_key(std::string& out, std::string_view key, bool coloured) {
    if (!out.empty()) {
        out += ' ';
    }
    if (coloured) {
        out += dim;
    }
    out += key;
    out += '=';
    if (coloured) {
        out += plain;
    }
}

void append_head(std::string& out, const log_line& line, bool coloured) {
    const auto level = static_cast<std::size_t>(line.level);
    append_key(out, "time", coloured);
    append_time(out, line.context.now_ms);
    append_key(out, "level", coloured);
    out += coloured ? level_colours[level] : "";
    out += level_names[level];
    out += coloured ? plain : "";
    append_key(out, "shard", coloured);
    if (line.context.shard) {
        fmt::format_to(std::back_inserter(out), "{}", *line.context.shard);
    } else {
        out += '-';
    }
    append_key(out, "component", coloured);
    append_value(out, line.component);
    append_key(out, "msg", coloured);
    out += coloured ? bold : "";
    append_value(out, line.message);
    out += coloured ? plain : "";
}

std::uint64_t hash_of(std::string_view text) {  // FNV-1a
    std::uint64_t hash = 0xcbf29ce484222325;
    for (const char c : text) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    }
    return hash ^ (hash >> 32);
}

}  // namespace

std::string_view name_of(log_level level) noexcept {
    return level_names[static_cast<std::size_t>(level)];
}

std::optional<log_level> log_level_of(std::string_view name) noexcept {
    const auto place = std::find(std::begin(level_names), std::end(level_names), name);
    if (place == std::end(level_names)) {
        return std::nullopt;
    }
    return static_cast<log_level>(place - std::begin(level_names));
}

std::string to_logfmt(const log_line& line, bool coloured) {
    std::string out;
    out.reserve(256);
    append_head(out, line, coloured);
    const std::size_t most = log_line_limit - cut_mark.size() - 1;
    std::size_t whole = out.size();
    const auto append = [&](const log_field& field) {
        if (out.size() <= most) {
            append_key(out, field.key, coloured);
            std::visit(field_writer{out}, field.value);
            whole = out.size() <= most ? out.size() : whole;
        }
    };
    if (line.suppressed != 0) {
        append({"suppressed", line.suppressed});
    }
    std::for_each(line.fields.begin(), line.fields.end(), append);
    if (out.size() > most) {
        // The last whole field ends the line; a message that is too long itself is cut between
        // characters and its quote closed.
        const bool inside_message = whole > most;
        out.resize(inside_message ? most - plain.size() - 1 : whole);
        if (inside_message) {
            while (out.back() == '\\' || static_cast<unsigned char>(out.back()) >= 0x80) {
                out.pop_back();
            }
            out += '"';
            out += coloured ? plain : "";
        }
        out += cut_mark;
    }
    out += '\n';
    return out;
}

file_log_sink::file_log_sink(int descriptor, colour colours)
    : _descriptor(descriptor),
      _coloured(colours == colour::always ||
                (colours == colour::automatic && ::isatty(descriptor) == 1 &&
                 // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here sets the environment.
                 std::getenv("NO_COLOR") == nullptr)) {}

bool file_log_sink::put(const std::string& text) noexcept {
    // A pipe is writable when PIPE_BUF bytes fit, which is why a line is never longer.
    pollfd ready{_descriptor, POLLOUT, 0};
    if (::poll(&ready, 1, 0) != 1 || (ready.revents & (POLLOUT | POLLERR)) != POLLOUT) {
        return false;
    }
    ssize_t written = 0;
    do {
        written = ::write(_descriptor, text.data(), text.size());
    } while (written < 0 && errno == EINTR);
    return written == static_cast<ssize_t>(text.size());
}

void file_log_sink::write(const log_line& line) noexcept {
    try {
        const std::uint64_t dropped = _dropped.load(std::memory_order_relaxed);
        std::uint64_t reported = _reported.load(std::memory_order_relaxed);
        // Whichever thread moves `_reported` logs the loss; the counts order nothing else.
        if (dropped > reported &&
            _reported.compare_exchange_strong(reported, dropped, std::memory_order_relaxed)) {
            const log_line loss{line.context,
                                log_level::warning,
                                "log",
                                "log lines were lost",
                                {{"lines", dropped - reported}},
                                0};
            if (!put(to_logfmt(loss, _coloured))) {
                _reported.fetch_sub(dropped - reported, std::memory_order_relaxed);
            }
        }
        if (put(to_logfmt(line, _coloured))) {
            return;
        }
    } catch (const std::exception&) {  // no memory for the text: lost like any other line
    }
    _dropped.fetch_add(1, std::memory_order_relaxed);
}

void capturing_log_sink::write(const log_line& line) noexcept {
    std::string text = to_logfmt(line, false);
    text.pop_back();
    const std::lock_guard hold(_lock);
    _lines.push_back(std::move(text));
}

std::vector<std::string> capturing_log_sink::lines() const {
    const std::lock_guard hold(_lock);
    return _lines;
}

logger::logger(log_sink& sink, std::string component, log_options options)
    : _sink(&sink), _component(std::move(component)), _options(options) {
    for (allowance& each : _allowances) {
        each.thousandths = std::int64_t{_options.burst} * 1000;
    }
}

bool logger::admit(allowance& bucket, wall_clock_ms now_ms) const noexcept {
    // The wall clock may step back: then nothing is refilled until it moves on from there. A long
    // step forward fills the bucket and no more.
    constexpr wall_clock_ms longest_step = 3'600'000;
    const wall_clock_ms step =
        std::clamp<wall_clock_ms>(now_ms - bucket.refilled_ms, 0, longest_step);
    bucket.refilled_ms = now_ms;
    const std::int64_t most = std::int64_t{_options.burst} * 1000;
    bucket.thousandths = std::min(most, bucket.thousandths + step * _options.per_second);
    if (bucket.thousandths < 1000) {
        return false;
    }
    bucket.thousandths -= 1000;
    return true;
}

void logger::write_enabled(log_context context, log_level level, std::string_view message,
                           std::initializer_list<log_field> fields) noexcept {
    allowance& bucket = _allowances[hash_of(message) % allowance_count];
    if (!admit(bucket, context.now_ms)) {
        ++bucket.suppressed;
        ++_suppressed;
        return;
    }
    const log_line line{context, level, _component, message, fields, bucket.suppressed};
    bucket.suppressed = 0;
    _sink->write(line);
}

}  // namespace weir
