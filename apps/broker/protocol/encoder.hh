// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include <broker/protocol/schema.hh>

namespace weir::broker::protocol {

/// Encodes one message into a writer.
class encoder {
  public:
    encoder(writer& out, std::int16_t version, form how)
        : _out(out), _version(version), _form(how) {}

    template <class Message>
    void message(const Message& m) {
        Message::fields(*this, m);
        if (_form == form::compact) {
            tag_encoder counted{*this, false};
            Message::fields(counted, m);
            _out.unsigned_varint(counted.count);
            tag_encoder written{*this, true};
            Message::fields(written, m);
        }
    }

    /// A null where this version can't say null is written as empty.
    template <class T>
    void field(const char*, const T& value, present when = {}) {
        if (when.in(_version)) {
            write(value, when.always_classic ? form::classic : _form, _version >= when.null_since);
        }
    }
    template <class T>
    void tagged(std::uint32_t, const char*, const T&, const std::type_identity_t<T>& = {},
                present = {}) {}

  private:
    /// Counts, then writes, the tagged fields that differ from their default.
    struct tag_encoder {
        encoder& out;
        bool write;
        std::uint32_t count = 0;

        template <class T>
        void field(const char*, const T&, present = {}) {}
        template <class T>
        void tagged(std::uint32_t tag, const char* name, const T& value,
                    const std::type_identity_t<T>& absent = {}, present when = {}) {
            if (value == absent || !when.in(out._version)) {
                return;
            }
            ++count;
            if (write) {
                writer bytes;
                encoder(bytes, out._version, out._form).field(name, value, when);
                const frame encoded = std::move(bytes).finish();
                out._out.unsigned_varint(tag);
                out._out.unsigned_varint(static_cast<std::uint32_t>(encoded.size()));
                for (const byte_view piece : encoded.pieces()) {
                    out._out.append(piece);
                }
            }
        }
    };

    template <class T>
    void write(const T& value, form how, bool may_be_null) {
        if constexpr (detail::is_number<T>) {
            _out.integer(static_cast<typename detail::wire_integer<T>::type>(value));
        } else if constexpr (detail::is_optional<T>) {
            using inner = typename detail::unwrapped<T>::type;
            if (value) {
                write(*value, how, false);
            } else if (may_be_null) {
                write_null<inner>(how);
            } else {
                write(inner{}, how, false);
            }
        } else if constexpr (std::is_same_v<T, std::string_view>) {
            _out.string(how, value);
        } else if constexpr (std::is_same_v<T, record_span>) {
            _out.borrow(how, value.bytes, value.further);
        } else if constexpr (detail::is_array<T>) {
            _out.count(how, value.size());
            for (const auto& element : value) {
                write(element, how, false);
            }
        } else {
            message(value);
        }
    }

    template <class T>
    void write_null(form how) {
        if constexpr (std::is_same_v<T, std::string_view>) {
            _out.string(how, std::nullopt);
        } else {
            _out.count(how, std::nullopt);
        }
    }

    writer& _out;
    std::int16_t _version;
    form _form;
};

}  // namespace weir::broker::protocol
