// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <broker/protocol/schema.hh>

namespace weir::broker::protocol {

/// Prints one message for people: {name: "t", partitions: [{index: 0, records: <61 bytes>}]}.
/// Fields that the version lacks are left out.
class printer {
  public:
    printer(std::string& out, std::int16_t version) : _out(out), _version(version) {}

    template <class Message>
    void message(const Message& m) {
        _out += '{';
        printer inner(_out, _version);
        Message::fields(inner, m);
        _out += '}';
    }

    template <class T>
    void field(const char* name, const T& value, present when = {}) {
        if (when.in(_version)) {
            _out += _separator;
            _separator = ", ";
            _out += name;
            _out += ": ";
            print(value);
        }
    }
    template <class T>
    void tagged(std::uint32_t, const char* name, const T& value,
                const std::type_identity_t<T>& = {}, present when = {}) {
        field(name, value, when);
    }

  private:
    template <class T>
    void print(const T& value) {
        if constexpr (std::is_same_v<T, bool>) {
            _out += value ? "true" : "false";
        } else if constexpr (detail::is_number<T>) {
            _out += std::to_string(static_cast<typename detail::wire_integer<T>::type>(value));
        } else if constexpr (detail::is_optional<T>) {
            value ? print(*value) : void(_out += "null");
        } else if constexpr (std::is_same_v<T, std::string_view>) {
            quote(value);
        } else if constexpr (std::is_same_v<T, record_span>) {
            _out += '<' + std::to_string(value.size()) + " bytes>";
        } else if constexpr (detail::is_array<T>) {
            _out += '[';
            const char* separator = "";
            for (const auto& element : value) {
                _out += separator;
                separator = ", ";
                print(element);
            }
            _out += ']';
        } else {
            message(value);
        }
    }

    /// What a peer sent must not be able to forge a log line.
    void quote(std::string_view text) {
        static constexpr char digits[] = "0123456789abcdef";
        _out += '"';
        for (const char c : text) {
            if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') {
                const auto byte = static_cast<unsigned char>(c);
                _out += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
            } else {
                _out += c;
            }
        }
        _out += '"';
    }

    std::string& _out;
    std::int16_t _version;
    const char* _separator = "";
};

template <class Message>
std::string print(const Message& m, std::int16_t version) {
    std::string out;
    printer(out, version).message(m);
    return out;
}

}  // namespace weir::broker::protocol
