// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include <broker/protocol/schema.hh>

namespace weir::broker::protocol {

/// Fills a message with random values of all that its version has. It visits the same field list
/// that encodes and decodes. Strings and records live as long as the generator.
class generator {
  public:
    explicit generator(std::uint64_t seed) : _random(seed) {}

    template <class Message>
    Message make(std::int16_t version) {
        _version = version;
        Message m;
        fill(m, false);
        return m;
    }

    template <class T>
    void field(const char*, T& value, present when = {}) {
        if (when.in(_version)) {
            fill(value, _version >= when.null_since);
        }
    }
    template <class T>
    void tagged(std::uint32_t, const char* name, T& value, const std::type_identity_t<T>& = {},
                present when = {}) {
        if (below(2) == 0) {
            field(name, value, when);
        }
    }

    std::uint64_t below(std::uint64_t limit) { return _random() % limit; }

  private:
    template <class T>
    void fill(T& value, bool may_be_null) {
        if constexpr (std::is_same_v<T, bool>) {
            value = below(2) == 1;
        } else if constexpr (detail::is_number<T>) {
            // Extremes and small numbers are likelier than chance makes them.
            const std::uint64_t raw = _random() >> below(64);
            value = static_cast<T>(below(2) == 0 ? raw : ~raw);
        } else if constexpr (detail::is_optional<T>) {
            if (may_be_null && below(4) == 0) {
                value.reset();
            } else {
                fill(value.emplace(), false);
            }
        } else if constexpr (std::is_same_v<T, std::string_view>) {
            value = text(below(8) == 0 ? 300 : 12);
        } else if constexpr (std::is_same_v<T, record_span>) {
            const auto bytes = text(below(4) == 0 ? 3000 : 80);
            value.bytes = std::as_bytes(std::span(bytes));
        } else if constexpr (detail::is_array<T>) {
            value.resize(below(4));
            for (auto& element : value) {
                fill(element, false);
            }
        } else {
            T::fields(*this, value);
        }
    }

    std::string_view text(std::size_t longest) {
        std::string& text = _texts.emplace_back(below(longest + 1), '\0');
        for (char& c : text) {
            c = static_cast<char>(_random());
        }
        return text;
    }

    std::mt19937_64 _random;
    std::int16_t _version = 0;
    std::deque<std::string> _texts;
};

}  // namespace weir::broker::protocol
