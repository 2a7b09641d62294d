// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <limits>
#include <new>
#include <string>

#include <broker/protocol/record.hh>
#include <broker/protocol/record_check.hh>
#include <doctest/doctest.h>
#include <malloc.h>
#include <support/child.hh>
#include <sys/resource.h>

#include "bytes.hh"
#include "compress.hh"

namespace weir::broker::protocol {

namespace {

constexpr scan_limits roomy{std::size_t{64} << 20, std::size_t{10} << 20};
constexpr std::int64_t for_ever = std::numeric_limits<std::int64_t>::max();

std::vector<std::byte> batch_of(int records, std::int64_t first_time = 1000) {
    batch_builder builder;
    for (int i = 0; i < records; ++i) {
        builder.add(first_time + i, as_bytes("key " + std::to_string(i)), as_bytes("some value"));
    }
    return std::move(builder).build();
}

/// Says `count` records, in both places where a header does.
std::vector<std::byte> counting(std::vector<std::byte> batch, std::int32_t count) {
    store_big(batch.data() + 57, count);
    store_big(batch.data() + 23, count - 1);
    repair(batch);
    return batch;
}

record_check check(const std::vector<std::byte>& batch, scan_limits limits = roomy,
                   std::int64_t latest = for_ever) {
    REQUIRE(check_produced(batch, 7).ok());
    return check_records(batch_view(batch), limits, latest);
}

error_code code(const std::vector<std::byte>& batch) {
    return check(batch).fault.code;
}

std::vector<std::byte> one_record(std::int64_t time_delta, std::int32_t offset_delta,
                                  std::int32_t headers = 0) {
    writer body;
    body.integer(std::int8_t{0});
    body.varlong(time_delta);
    body.varint(offset_delta);
    body.varint(-1);
    body.varint(-1);
    body.varint(headers);
    for (; headers > 0; --headers) {
        body.varint(0);
        body.varint(-1);
    }
    const std::vector<std::byte> bytes = std::move(body).finish().flat();
    writer out;
    out.varint(static_cast<std::int32_t>(bytes.size()));
    out.append(bytes);
    return std::move(out).finish().flat();
}

/// A frame that does not say how much it opens to, but that so much of it may be referred to.
std::vector<std::byte> zstd_in_window(byte_view plain, int window_log) {
    ZSTD_CCtx* const how = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(how, ZSTD_c_windowLog, window_log);
    std::vector<std::byte> frame(ZSTD_compressBound(plain.size()) + 64);
    ZSTD_outBuffer out{frame.data(), frame.size(), 0};
    ZSTD_inBuffer in{plain.data(), plain.size(), 0};
    REQUIRE(ZSTD_isError(ZSTD_compressStream2(how, &out, &in, ZSTD_e_continue)) == 0);
    REQUIRE(ZSTD_compressStream2(how, &out, &in, ZSTD_e_end) == 0);
    ZSTD_freeCCtx(how);
    frame.resize(out.pos);
    return frame;
}

/// A frame that says that its blocks may open to 4 MiB each.
std::vector<std::byte> lz4_in_large_blocks(byte_view plain) {
    LZ4F_preferences_t how{};
    how.frameInfo.blockSizeID = LZ4F_max4MB;
    LZ4F_cctx* state = nullptr;
    REQUIRE(LZ4F_isError(LZ4F_createCompressionContext(&state, LZ4F_VERSION)) == 0);
    std::vector<std::byte> frame(LZ4F_compressBound(plain.size(), &how) + LZ4F_HEADER_SIZE_MAX);
    std::size_t size = LZ4F_compressBegin(state, frame.data(), frame.size(), &how);
    size += LZ4F_compressUpdate(state, frame.data() + size, frame.size() - size, plain.data(),
                                plain.size(), nullptr);
    size += LZ4F_compressEnd(state, frame.data() + size, frame.size() - size, nullptr);
    LZ4F_freeCompressionContext(state);
    frame.resize(size);
    return frame;
}

}  // namespace

TEST_SUITE("broker/protocol/record_check") {
    TEST_CASE("records are looked at however they are written") {
        for (const writing how : every_writing) {
            CAPTURE(static_cast<int>(how));
            for (const int count : {1, 2, 100, 20'000}) {
                const auto batch = compressed(how, batch_of(count));
                const record_check found = check(batch);
                CHECK(found.fault.ok());
                CHECK_FALSE(found.unfinished);
                CHECK(found.max_timestamp == 1000 + count - 1);
            }
        }
    }

    TEST_CASE("a count that lies is refused however the records are written") {
        for (const writing how : every_writing) {
            CAPTURE(static_cast<int>(how));
            const auto batch = compressed(how, batch_of(3));
            for (const std::int32_t count : {1, 2, 4, 1'073'741'823, 2'147'483'647}) {
                CHECK(code(counting(batch, count)) == error_code::invalid_record);
            }
        }
    }

    TEST_CASE("what a codec never wrote is refused, and so is each part of what it wrote") {
        const auto junk = as_bytes("this is neither records nor anything that could be opened");
        for (const writing how : every_writing) {
            CAPTURE(static_cast<int>(how));
            const auto plain = batch_of(5);
            CHECK(code(with_records(plain, how, junk)) == error_code::invalid_record);
            CHECK(code(with_records(plain, how, {})) == error_code::invalid_record);
            const auto whole = compress(how, batch_view(plain).records());
            for (std::size_t size = 0; size < whole.size(); ++size) {
                CHECK(code(with_records(plain, how, byte_view(whole).first(size))) ==
                      error_code::invalid_record);
            }
        }
    }

    TEST_CASE("no byte that is changed makes the check fail otherwise than by a refusal") {
        for (const writing how : every_writing) {
            CAPTURE(static_cast<int>(how));
            const auto whole = compressed(how, batch_of(4));
            for (std::size_t at = batch_view::header_size; at < whole.size(); ++at) {
                for (int bit = 0; bit < 8; ++bit) {
                    auto bytes = whole;
                    bytes[at] ^= std::byte{1} << bit;
                    repair(bytes);
                    const record_check found = check(bytes);
                    CHECK((found.fault.ok() || found.fault.code == error_code::invalid_record ||
                           found.fault.code == error_code::invalid_timestamp));
                }
            }
        }
    }

    TEST_CASE("offsets of records follow one another") {
        for (const auto& [first, second] : {std::pair{1, 2}, {0, 0}, {0, 2}, {1, 0}, {0, -1}}) {
            auto records = one_record(0, first);
            const auto next = one_record(0, second);
            records.insert(records.end(), next.begin(), next.end());
            for (const writing how : every_writing) {
                CHECK(code(with_records(batch_of(2), how, compress(how, records))) ==
                      error_code::invalid_record);
            }
        }
    }

    TEST_CASE("times beyond what a time can be, or too far ahead, are refused") {
        for (const writing how : every_writing) {
            auto at = [how](std::int64_t base, std::int64_t delta) {
                auto batch = with_records(batch_of(1), how, compress(how, one_record(delta, 0)));
                store_big(batch.data() + 27, base);
                repair(batch);
                return batch;
            };
            CHECK(check(at(1000, for_ever)).fault.code == error_code::invalid_timestamp);
            CHECK(check(at(-1000, std::numeric_limits<std::int64_t>::min())).fault.code ==
                  error_code::invalid_timestamp);
            CHECK(check(at(1000, 6), roomy, 1005).fault.code == error_code::invalid_timestamp);
            CHECK(check(at(1000, 5), roomy, 1005).max_timestamp == 1005);
            CHECK(check(at(-1, 0)).max_timestamp == -1);
        }
    }

    TEST_CASE("whatever a batch opens to, no more than the limits is looked at") {
        batch_builder builder;
        const std::string long_value(1 << 20, 'x');
        for (int i = 0; i < 32; ++i) {
            builder.add(1000, std::nullopt, as_bytes(long_value));
        }
        const auto plain = std::move(builder).build();
        for (const writing how : every_writing) {
            CAPTURE(static_cast<int>(how));
            const auto batch = compressed(how, plain);
            CHECK(check(batch, {std::size_t{1} << 20, 1000}).unfinished);
            CHECK(check(batch, {std::size_t{40} << 20, 31}).unfinished);
            CHECK_FALSE(check(batch, {std::size_t{40} << 20, 32}).unfinished);
        }
    }

    TEST_CASE("what opens to nothing costs no more than the limits let it") {
        const auto plain = batch_of(1);
        const auto empty = byte_view();
        for (const writing how : {writing::gzip, writing::xerial, writing::zstd}) {
            CAPTURE(static_cast<int>(how));
            // The records, behind many members, blocks or frames that are empty.
            auto closed = how == writing::xerial ? xerial({}) : std::vector<std::byte>();
            const std::vector<std::byte> one =
                how == writing::xerial ? to_bytes("\0\0\0\1\0", 5) : compress(how, empty);
            while (closed.size() < std::size_t{1} << 20) {
                closed.insert(closed.end(), one.begin(), one.end());
            }
            const auto last = compress(how, batch_view(plain).records());
            closed.insert(closed.end(), last.begin(), last.end());
            const auto batch = with_records(plain, how, closed);
            CHECK(check(batch).fault.ok());
            CHECK_FALSE(check(batch).unfinished);
            CHECK(check(batch, at_once).unfinished);
            CHECK(check(batch, {roomy.opened_bytes, roomy.elements, closed.size()}).fault.ok());
            CHECK(check(batch, {roomy.opened_bytes, roomy.elements, closed.size() - 1}).unfinished);
        }
        const std::vector<std::byte> headers = one_record(0, 0, 30'000);
        for (const writing how : every_writing) {
            CAPTURE(static_cast<int>(how));
            const auto batch = with_records(plain, how, compress(how, headers));
            CHECK(check(batch, {roomy.opened_bytes, 30'001}).fault.ok());
            CHECK_FALSE(check(batch, {roomy.opened_bytes, 30'001}).unfinished);
            CHECK(check(batch, {roomy.opened_bytes, 30'000}).unfinished);
            CHECK(check(batch, at_once).unfinished);
        }
    }

    TEST_CASE(
        "a window that no consumer opens is refused, and a large one costs what it opens to") {
        for (const int log : {27, 28}) {
            const auto plain = batch_of(1);
            const auto frame = zstd_in_window(batch_view(plain).records(), log);
            CHECK(code(with_records(plain, writing::zstd, frame)) ==
                  (log == 27 ? error_code::none : error_code::invalid_record));
        }
    }

#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
    TEST_CASE("a codec that finds no memory has not found damage") {
        const auto plain = batch_of(1);
        const byte_view records = batch_view(plain).records();
        const auto zstd_batch = with_records(plain, writing::zstd, zstd_in_window(records, 27));
        const auto lz4_batch = with_records(plain, writing::lz4, lz4_in_large_blocks(records));
        for (const auto* batch : {&zstd_batch, &lz4_batch}) {
            const auto end = weir::test::in_child([batch] {
                malloc_trim(0);  // what others left must not help
                std::size_t pages = 0;
                std::ifstream("/proc/self/statm") >> pages;
                const rlim_t most = pages * 4096 + (1 << 20);
                const rlimit limit{most, most};
                if (setrlimit(RLIMIT_AS, &limit) != 0) {
                    return 2;
                }
                try {
                    return static_cast<int>(
                               check_records(batch_view(*batch), roomy, for_ever).fault.code) +
                           100;
                } catch (const std::bad_alloc&) {
                    return 0;
                }
            });
            CHECK(end.exit_status == 0);
        }
    }
#endif

    TEST_CASE("a largest time that the header has wrong is put right, and the checksum with it") {
        auto batch = batch_of(2);
        store_big(batch.data() + 35, std::int64_t{99'999});
        repair(batch);
        const record_check found = check(batch);
        CHECK(found.max_timestamp == 1001);
        patch_times(batch, found.max_timestamp);
        CHECK(batch_view(batch).max_timestamp() == 1001);
        CHECK(batch_view(batch).crc_matches());
    }
}

}  // namespace weir::broker::protocol
