// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <broker/protocol/batch.hh>
#include <broker/protocol/record.hh>
#include <doctest/doctest.h>

#include "bytes.hh"

namespace weir::broker::protocol {

namespace {

std::vector<std::byte> two_records(std::int64_t base_offset = 0) {
    batch_builder builder(base_offset);
    builder.add(1000, as_bytes("k"), as_bytes("first"));
    builder.add(1005, std::nullopt, as_bytes("second"));
    return std::move(builder).build();
}

/// Changes a field of a batch and makes the checksum true again.
template <class Integer>
std::vector<std::byte> with(std::vector<std::byte> batch, std::size_t at, Integer value) {
    store_big(batch.data() + at, value);
    store_big(batch.data() + 17, crc32c(byte_view(batch).subspan(21)));
    return batch;
}

std::vector<std::byte> joined(std::initializer_list<std::vector<std::byte>> parts) {
    std::vector<std::byte> all;
    for (const auto& part : parts) {
        all.insert(all.end(), part.begin(), part.end());
    }
    return all;
}

}  // namespace

TEST_SUITE("broker/protocol/batch") {
    TEST_CASE("crc32c gives the known values") {
        // RFC 3720 appendix B.4, and the check value of the CRC catalogue.
        CHECK(crc32c(as_bytes("123456789")) == 0xe3069283);
        CHECK(crc32c(std::vector<std::byte>(32, std::byte{0})) == 0x8a9136aa);
        CHECK(crc32c(std::vector<std::byte>(32, std::byte{0xff})) == 0x62a8ab43);
        CHECK(crc32c({}) == 0);
    }

    TEST_CASE("a built batch reads back, and is what a produce may hold") {
        CHECK(check_produced(two_records(), 7).ok());
        const auto bytes = two_records(40);
        CHECK(check_produced(bytes, 7).code == error_code::invalid_record);  // only the broker's
        const batch_view batch(bytes);
        CHECK(batch.base_offset() == 40);
        CHECK(batch.last_offset() == 41);
        CHECK(batch.next_offset() == 42);
        CHECK(batch.record_count() == 2);
        CHECK(batch.base_timestamp() == 1000);
        CHECK(batch.max_timestamp() == 1005);
        CHECK(batch.producer_id() == -1);
        CHECK(batch.leader_epoch() == -1);
        CHECK(batch.codec() == codec::none);
        CHECK_FALSE(batch.is_control());
        CHECK_FALSE(batch.is_transactional());
        CHECK_FALSE(batch.uses_log_append_time());

        record_walk walk(batch);
        const auto first = walk.next().value();
        CHECK(first.offset == 40);
        CHECK(first.timestamp == 1000);
        CHECK(to_hex(first.key.value()) == to_hex(as_bytes("k")));
        const auto second = walk.next().value();
        CHECK(second.offset == 41);
        CHECK(second.timestamp == 1005);
        CHECK_FALSE(second.key.has_value());
        CHECK(to_hex(second.value.value()) == to_hex(as_bytes("second")));
        CHECK_FALSE(walk.next().has_value());
        CHECK_FALSE(walk.failed());
    }

    TEST_CASE("base offset and leader epoch are patched without touching the checksum") {
        auto bytes = two_records();
        patch_base_offset(bytes, 1'000'000'007);
        patch_leader_epoch(bytes, 12);
        const batch_view batch(bytes);
        CHECK(batch.base_offset() == 1'000'000'007);
        CHECK(batch.leader_epoch() == 12);
        CHECK(batch.crc_matches());
    }

    TEST_CASE("every single bit flip of the checksummed part is found") {
        auto bytes = two_records();
        for (std::size_t i = 17; i < bytes.size(); ++i) {
            for (int bit = 0; bit < 8; ++bit) {
                bytes[i] ^= std::byte{1} << bit;
                CHECK_FALSE(batch_view(bytes).crc_matches());
                CHECK(check_produced(bytes, 7).code == error_code::corrupt_message);
                bytes[i] ^= std::byte{1} << bit;
            }
        }
        CHECK(batch_view(bytes).crc_matches());
    }

    TEST_CASE("every truncation of a produced batch is refused") {
        const auto bytes = two_records();
        for (std::size_t size = 0; size < bytes.size(); ++size) {
            // A copy of its own, so that a sanitizer sees a read beyond it.
            const std::vector<std::byte> cut(bytes.begin(),
                                             bytes.begin() + static_cast<std::ptrdiff_t>(size));
            CHECK_FALSE(check_produced(cut, 7).ok());
        }
    }

    TEST_CASE("a produce holds exactly one batch") {
        const auto one = two_records();
        CHECK(check_produced(joined({one, one}), 7).code == error_code::invalid_record);
        CHECK(check_produced({}, 7).code == error_code::invalid_record);
    }

    TEST_CASE("another format than magic 2 is refused") {
        for (const int magic : {0, 1, 3}) {
            auto bytes = two_records();
            bytes[16] = static_cast<std::byte>(magic);
            const error_code code =
                magic < 2 ? error_code::invalid_record : error_code::corrupt_message;
            CHECK(check_produced(bytes, 7).code == code);
            bytes.resize(30);  // old messages are shorter than our header
            CHECK(check_produced(bytes, 7).code == code);
            CHECK(std::string(check_produced(bytes, 7).reason) == "message format is not magic 2");
        }
    }

    TEST_CASE("length, counts and deltas must agree") {
        const auto good = two_records();
        const auto length = load_big<std::int32_t>(good.data() + 8);
        const auto code = [](const std::vector<std::byte>& bytes) {
            return check_produced(bytes, 7).code;
        };
        for (const std::int32_t wrong : {-1, 0, 48}) {
            CHECK(code(with(good, 8, wrong)) == error_code::corrupt_message);
        }
        for (const std::int32_t wrong : {length + 1, 0x7fffffff}) {
            CHECK(code(with(good, 8, wrong)) == error_code::invalid_record);
        }
        CHECK(code(with(good, 8, length - 1)) == error_code::invalid_record);
        for (const std::int32_t wrong : {0, -1, 1, 3, 0x7fffffff}) {
            CHECK(code(with(good, 57, wrong)) == error_code::invalid_record);
        }
        const auto none = with(with(good, 57, std::int32_t{0}), 23, std::int32_t{-1});
        CHECK(code(none) == error_code::invalid_record);
    }

    TEST_CASE("codecs: four are known, zstd from produce 7, others refused") {
        for (std::int16_t number = 0; number < 8; ++number) {
            const auto bytes = with(two_records(), 21, number);
            CHECK(batch_view(bytes).codec().has_value() == (number <= 4));
            CHECK(check_produced(bytes, 7).ok() == (number <= 4));
            CHECK(check_produced(bytes, 6).ok() == (number <= 3));
        }
        CHECK(check_produced(with(two_records(), 21, std::int16_t{4}), 6).code ==
              error_code::unsupported_compression_type);
    }

    TEST_CASE("control and transactional batches are refused") {
        CHECK(check_produced(with(two_records(), 21, std::int16_t{0x20}), 7).code ==
              error_code::invalid_record);
        CHECK(check_produced(with(two_records(), 21, std::int16_t{0x10}), 7).code ==
              error_code::invalid_txn_state);
    }

    TEST_CASE("attributes that nobody defined are let pass, as Kafka does") {
        for (int bit = 6; bit < 16; ++bit) {
            const auto attributes = static_cast<std::int16_t>(1 << bit);
            CHECK(check_produced(with(two_records(), 21, attributes), 7).ok());
        }
    }

    TEST_CASE("the log's time is not a client's to claim: its records' times are said instead") {
        auto batch = with(two_records(), 21, std::int16_t{0x109});
        CHECK(check_produced(batch, 7).ok());
        CHECK(batch_view(batch).uses_log_append_time());
        patch_times(batch, 77);
        CHECK(batch_view(batch).attributes() == 0x101);
        CHECK(batch_view(batch).max_timestamp() == 77);
        CHECK(batch_view(batch).crc_matches());
    }

    TEST_CASE("producer ids are refused, and without one its epoch and sequence say nothing") {
        CHECK(check_produced(with(two_records(), 43, std::int64_t{0}), 7).code ==
              error_code::unknown_producer_id);
        CHECK(check_produced(with(two_records(), 43, std::int64_t{-2}), 7).ok());
        CHECK(check_produced(with(two_records(), 51, std::int16_t{3}), 7).ok());
        CHECK(check_produced(with(two_records(), 53, std::int32_t{0}), 7).ok());
    }

    TEST_CASE("a walk finds each batch, and says how it ended at every cut") {
        const auto first = two_records(10);
        const auto second = two_records(12);
        const auto all = joined({first, second});
        for (std::size_t size = 0; size <= all.size(); ++size) {
            const std::vector<std::byte> cut(all.begin(),
                                             all.begin() + static_cast<std::ptrdiff_t>(size));
            batch_walk walk(cut);
            std::size_t whole = 0;
            while (const auto batch = walk.next()) {
                CHECK(batch->base_offset() == (whole == 0 ? 10 : 12));
                CHECK(batch->crc_matches());
                ++whole;
            }
            CHECK(whole == size / first.size());
            CHECK(walk.rest().size() == size % first.size());
            const bool at_end = size % first.size() == 0;
            CHECK(walk.stopped() == (at_end ? batch_walk::stop::end : batch_walk::stop::partial));
            if (walk.rest().size() >= batch_view::length_overhead) {
                CHECK(walk.wanted() == first.size());
            } else {
                CHECK(walk.wanted() == batch_view::header_size);
            }
        }
    }

    TEST_CASE("a walk stops at zeros, at another magic and at a short length") {
        const auto good = two_records();
        const std::vector<std::byte> zeros(4096, std::byte{0});
        auto old_magic = good;
        old_magic[16] = std::byte{1};
        for (const auto& bad :
             {zeros, old_magic, with(good, 8, std::int32_t{48}), with(good, 8, std::int32_t{-5})}) {
            const auto all = joined({good, bad});
            batch_walk walk(all);
            CHECK(walk.next().has_value());
            CHECK_FALSE(walk.next().has_value());
            CHECK(walk.stopped() == batch_walk::stop::invalid);
            CHECK(walk.rest().size() == bad.size());
        }
    }

    TEST_CASE("a record walk fails where records, count and bytes disagree") {
        const auto good = two_records();
        for (std::size_t i = batch_view::header_size; i < good.size(); ++i) {
            for (int value = 0; value < 256; ++value) {
                auto bytes = good;
                bytes[i] = static_cast<std::byte>(value);
                record_walk walk{batch_view(bytes)};
                int records = 0;
                while (walk.next()) {
                    ++records;
                }
                CHECK(records <= 2);
                CHECK((records == 2 || walk.failed()));
            }
        }
        const auto one_counted = with(good, 57, std::int32_t{1});
        record_walk fewer{batch_view(one_counted)};
        CHECK(fewer.next().has_value());
        CHECK_FALSE(fewer.next().has_value());
        CHECK(fewer.failed());

        // One record of null key and null value, with a byte more than it uses.
        batch_builder builder;
        builder.add(1000, std::nullopt, std::nullopt);
        auto longer = std::move(builder).build();
        CHECK(to_hex(byte_view(longer).subspan(batch_view::header_size)) == "0c000000010100");
        longer[batch_view::header_size] = std::byte{0x0e};
        longer.push_back(std::byte{0});
        record_walk trailing{batch_view(longer)};
        CHECK_FALSE(trailing.next().has_value());
        CHECK(trailing.failed());
    }
}

}  // namespace weir::broker::protocol
