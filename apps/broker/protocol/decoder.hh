// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include <broker/protocol/schema.hh>

namespace weir::broker::protocol {

/// Decodes one message from a reader, whose failure names the field.
class decoder {
  public:
    decoder(reader& in, std::int16_t version, form how) : _in(in), _version(version), _form(how) {}

    template <class Message>
    void message(Message& m) {
        Message::fields(*this, m);
        if (_form == form::compact) {
            tags(m);
        }
    }

    template <class T>
    void field(const char* name, T& value, present when = {}) {
        if (when.in(_version)) {
            read(name, value, when.always_classic ? form::classic : _form,
                 _version >= when.null_since);
        }
    }
    /// Tagged fields come behind the others: see tags().
    template <class T>
    void tagged(std::uint32_t, const char*, T&, const std::type_identity_t<T>& = {}, present = {}) {
    }

  private:
    /// Decodes the one tagged field that has the tag, from its own bytes.
    struct tag_decoder {
        std::uint32_t tag;
        decoder& value;

        template <class T>
        void field(const char*, T&, present = {}) {}
        template <class T>
        void tagged(std::uint32_t number, const char* name, T& member,
                    const std::type_identity_t<T>& = {}, present when = {}) {
            if (number == tag && when.in(value._version)) {
                value.field(name, member, when);
                if (value._in.remaining() != 0) {
                    value._in.fail(name);
                }
            }
        }
    };

    template <class Message>
    void tags(Message& m) {
        const std::uint32_t count = _in.unsigned_varint("tagged fields");
        std::int64_t last = -1;
        _in.admit_elements(count, "tagged fields");
        for (std::uint32_t i = 0; i < count && _in.ok(); ++i) {
            const std::uint32_t tag = _in.unsigned_varint("tag");
            const std::uint32_t size = _in.unsigned_varint("size of a tagged field");
            reader bytes(_in.take(size, "tagged field"));
            if (tag <= last) {
                _in.fail("tag out of order");
            }
            last = tag;
            decoder value(bytes, _version, _form);
            tag_decoder chosen{tag, value};
            Message::fields(chosen, m);
            if (!bytes.ok()) {
                _in.fail("tagged field");
            }
        }
    }

    template <class T>
    void read(const char* name, T& value, form how, bool may_be_null) {
        if constexpr (detail::is_number<T>) {
            value = static_cast<T>(_in.integer<typename detail::wire_integer<T>::type>(name));
        } else if constexpr (detail::is_sized<T>) {
            auto got = sized<typename detail::unwrapped<T>::type>(name, how);
            if (!got && !(detail::is_optional<T> && may_be_null)) {
                _in.fail(name);
            } else if constexpr (detail::is_optional<T>) {
                value = std::move(got);
            } else {
                value = std::move(*got);
            }
        } else {
            message(value);
        }
    }

    template <class T>
    std::optional<T> sized(const char* name, form how) {
        if constexpr (std::is_same_v<T, std::string_view>) {
            return _in.string(how, name);
        } else if constexpr (std::is_same_v<T, record_span>) {
            const auto bytes = _in.bytes(how, name);
            return bytes ? std::optional(record_span{*bytes}) : std::nullopt;
        } else {
            return array<typename T::value_type>(name, how);
        }
    }

    template <class Element>
    std::optional<std::vector<Element>> array(const char* name, form how) {
        const auto count = _in.count(how, smallest<Element>(_version, how), name);
        if (!count) {
            return std::nullopt;
        }
        std::vector<Element> elements(*count);
        for (Element& element : elements) {
            read(name, element, how, false);
        }
        return elements;
    }

    reader& _in;
    std::int16_t _version;
    form _form;
};

}  // namespace weir::broker::protocol
