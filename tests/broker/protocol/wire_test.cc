// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/wire.hh>
#include <doctest/doctest.h>

#include "bytes.hh"

namespace weir::broker::protocol {

TEST_SUITE("broker/protocol/wire") {
    TEST_CASE("integers are big-endian") {
        writer out;
        out.integer(std::int32_t{0x01020304});
        out.integer(std::int16_t{-2});
        const auto bytes = std::move(out).finish().flat();
        CHECK(to_hex(bytes) == "01020304fffe");
        reader in(bytes);
        CHECK(in.integer<std::int32_t>("a") == 0x01020304);
        CHECK(in.integer<std::int16_t>("b") == -2);
        CHECK(in.ok());
    }

    TEST_CASE("varints come back at every length, signed and unsigned") {
        for (int shift = 0; shift < 64; ++shift) {
            for (const std::int64_t nudge : {-1, 0, 1}) {
                const auto value = static_cast<std::int64_t>((std::uint64_t{1} << shift) +
                                                             static_cast<std::uint64_t>(nudge));
                for (const std::int64_t signed_value : {value, ~value}) {
                    writer out;
                    out.varlong(signed_value);
                    out.varint(static_cast<std::int32_t>(signed_value));
                    out.unsigned_varint(static_cast<std::uint32_t>(signed_value));
                    const auto bytes = std::move(out).finish().flat();
                    reader in(bytes);
                    CHECK(in.varlong("a") == signed_value);
                    CHECK(in.varint("b") == static_cast<std::int32_t>(signed_value));
                    CHECK(in.unsigned_varint("c") == static_cast<std::uint32_t>(signed_value));
                    CHECK(in.ok());
                    CHECK(in.remaining() == 0);
                }
            }
        }
    }

    TEST_CASE("zigzag is Kafka's: small magnitudes are short, of either sign") {
        writer out;
        out.varint(0);
        out.varint(-1);
        out.varint(1);
        out.varint(-64);
        out.varint(64);
        CHECK(to_hex(std::move(out).finish().flat()) == "0001027f8001");
    }

    TEST_CASE("a varint that is too long or has bits too many fails") {
        for (const char* hex : {"ffffffffff", "ffffffff10", "8080808080", "80"}) {
            const auto bytes = from_hex(hex);
            reader in(bytes);
            CHECK(in.unsigned_varint("size") == 0);
            CHECK(in.failed_field() == "size");
        }
        for (const char* hex : {"ffffffffffffffffff02", "8080808080808080808001", "ff"}) {
            const auto bytes = from_hex(hex);
            reader in(bytes);
            CHECK(in.varlong("delta") == 0);
            CHECK(in.failed_field() == "delta");
        }
    }

    TEST_CASE("null and empty differ, in both forms") {
        for (const form how : {form::classic, form::compact}) {
            writer out;
            out.string(how, std::nullopt);
            out.string(how, "");
            out.bytes(how, std::nullopt);
            out.bytes(how, byte_view{});
            out.count(how, std::nullopt);
            out.count(how, 0);
            const auto bytes = std::move(out).finish().flat();
            CHECK(to_hex(bytes) == (how == form::classic
                                        ? "ffff0000ffffffff00000000ffffffff00000000"
                                        : "000100010001"));
            reader in(bytes);
            CHECK_FALSE(in.string(how, "s").has_value());
            CHECK(in.string(how, "s").value() == "");
            CHECK_FALSE(in.bytes(how, "b").has_value());
            CHECK(in.bytes(how, "b").value().empty());
            CHECK_FALSE(in.count(how, 1, "c").has_value());
            CHECK(in.count(how, 1, "c").value() == 0);
            CHECK(in.ok());
        }
    }

    TEST_CASE("the first failure names its field and sticks") {
        const auto bytes = from_hex("0005616263");
        reader in(bytes);
        CHECK_FALSE(in.string(form::classic, "name").has_value());
        CHECK(in.integer<std::int8_t>("next") == 0);
        CHECK(in.take(0, "last").empty());
        CHECK(in.failed_field() == "name");
        CHECK(in.remaining() == 0);
    }

    TEST_CASE("any length below 0 is null, as for Kafka") {
        const auto bytes = from_hex("fffefffffffe8000");
        reader in(bytes);
        CHECK_FALSE(in.string(form::classic, "name").has_value());
        CHECK_FALSE(in.count(form::classic, 1, "topics").has_value());
        CHECK_FALSE(in.string(form::classic, "last").has_value());
        CHECK(in.ok());
        CHECK(in.remaining() == 0);
    }

    TEST_CASE("a count is refused beyond what remains can hold") {
        const auto bytes = from_hex("00000003aabbccddeeff");
        reader fits(bytes);
        CHECK(fits.count(form::classic, 2, "topics").value() == 3);
        reader lies(bytes);
        CHECK_FALSE(lies.count(form::classic, 3, "topics").has_value());
        CHECK(lies.failed_field() == "topics");
    }

    TEST_CASE("strings are views into the frame") {
        const auto bytes = from_hex("0003616263");
        reader in(bytes);
        const auto text = in.string(form::classic, "name").value();
        CHECK(static_cast<const void*>(text.data()) == static_cast<const void*>(&bytes[2]));
    }

    TEST_CASE("large bytes are referenced, small ones copied, and the length counts both") {
        const std::vector<std::byte> large(writer::copy_below, std::byte{7});
        const std::vector<std::byte> small(writer::copy_below - 1, std::byte{8});
        writer out;
        out.open_frame();
        out.borrow(form::classic, large);
        out.borrow(form::classic, small);
        out.borrow(form::classic, large);
        const frame sent = std::move(out).close_frame();
        const auto pieces = sent.pieces();
        REQUIRE(pieces.size() == 4);
        CHECK(pieces[1].data() == large.data());
        CHECK(pieces[3].data() == large.data());
        CHECK(sent.size() == 4 + 3 * 4 + 2 * large.size() + small.size());

        const auto bytes = sent.flat();
        CHECK(bytes.size() == sent.size());
        reader in(bytes);
        CHECK(in.integer<std::int32_t>("length") == static_cast<std::int32_t>(bytes.size() - 4));
        CHECK(in.bytes(form::classic, "large").value().size() == large.size());
        CHECK(in.bytes(form::classic, "small").value().back() == std::byte{8});
        CHECK(in.bytes(form::classic, "large").value().back() == std::byte{7});
        CHECK(in.remaining() == 0);
    }
}

}  // namespace weir::broker::protocol
