// SPDX-License-Identifier: Apache-2.0
#include <map>

#include <broker/storage/log.hh>
#include <broker/storage/names.hh>
#include <fmt/format.h>

#include "files.hh"

namespace weir::broker {

using namespace storage_test;

namespace {

constexpr const char* directory = "/data/t-0";
constexpr int batches = 40;

log_options damage_options() {
    log_options options = small_options();
    options.segment_bytes = 8 << 10;
    options.max_batch_bytes = 2 << 10;
    options.max_commit_bytes = 2 << 10;
    return options;
}

/// Some segments, well closed.
future<contents> closed_log() {
    co_await with_log(directory, damage_options(), [](log& to) -> future<> {
        for (int i = 0; i < batches; ++i) {
            co_await to.append(batch_of(i * 2, 2, 200));
        }
    });
    co_return co_await take_contents(directory);
}

enum class outcome { whole, refused, read_refused, lost };

/// Opens what is there and reads all: whatever comes must be what was written.
future<outcome> open_and_read() {
    recent_memory recent(0);
    std::unique_ptr<log> opened;
    try {
        opened = co_await log::open(directory, damage_options(), recent);
    } catch (const error& e) {
        CHECK(e.is(errc::corrupt));
        CHECK(std::string(e.what()).find(directory) != std::string::npos);
        co_return outcome::refused;
    }
    outcome how = opened->end_offset() == batches * 2 ? outcome::whole : outcome::lost;
    for (std::int64_t offset = 0; offset < opened->end_offset(); ++offset) {
        try {
            const read_result result = co_await opened->read(offset, 1);
            const auto records = records_in(result.chunks.at(0).bytes);
            CHECK(records.at(offset % 2).first == offset);
            CHECK(records.at(offset % 2).second == static_cast<std::uint64_t>(offset));
        } catch (const error& e) {
            CHECK(e.is(errc::corrupt));
            how = how == outcome::whole ? outcome::read_refused : how;
        }
    }
    co_await opened->close();
    co_return how;
}

}  // namespace

TEST_SUITE("broker/storage/damage") {
    TEST_CASE("a flipped bit in any structural byte of a closed log is never silent") {
        bed on(31);
        on.run([]() -> future<> {
            const contents good = co_await closed_log();
            CHECK(good.size() >= 3 * 3);
            std::map<outcome, int> met;
            std::string problems;  // a coroutine of a host may not use INFO: its memory goes
            for (const auto& [name, bytes] : good) {
                const bool is_log = segment_of_file(name, log_suffix).has_value();
                std::size_t batch = 0;
                for (std::size_t i = 0; i < bytes.size(); ++i) {
                    if (is_log && i == batch + 61) {  // the next header
                        batch += 12 + protocol::load_big<std::int32_t>(bytes.data() + batch + 8);
                        i = batch;
                    }
                    // Every byte of the first batch and the last ones, a few of each between.
                    if (is_log && batch > 0 && batch + 1000 < bytes.size() && i % 7 != 0) {
                        continue;
                    }
                    if (i >= bytes.size()) {
                        break;
                    }
                    contents bad = good;
                    bad[name][i] ^= std::byte{1} << (i % 8);
                    co_await put_contents(directory, bad);
                    const outcome how = co_await open_and_read();
                    if (how == outcome::lost) {
                        problems += fmt::format("{} byte {}; ", name, i);
                    }
                    ++met[how];
                }
            }
            CHECK(problems == "");
            CHECK(met[outcome::whole] > 0);  // an index that was written again, an epoch
            CHECK(met[outcome::refused] > 10);
            CHECK(met[outcome::read_refused] > 10);
        });
    }

    TEST_CASE("a file of a closed log that was cut anywhere is never silent") {
        bed on(32);
        on.run([]() -> future<> {
            const contents good = co_await closed_log();
            std::string problems;
            for (const auto& each : good) {
                const std::size_t step = 1 + each.second.size() / 40;
                for (std::size_t size = 0; size < each.second.size(); size += step) {
                    contents bad = good;
                    bad[each.first].resize(size);
                    co_await put_contents(directory, bad);
                    const outcome how = co_await open_and_read();
                    const bool is_log = segment_of_file(each.first, log_suffix).has_value();
                    if (how != (is_log ? outcome::refused : outcome::whole)) {
                        problems += fmt::format("{} cut to {}; ", each.first, size);
                    }
                }
            }
            CHECK(problems == "");
        });
    }

    TEST_CASE("a segment that is missing between others is refused") {
        bed on(33);
        on.run([]() -> future<> {
            contents all = co_await closed_log();
            auto second = std::next(all.begin(), 3);
            CHECK(segment_of_file(std::next(second, 1)->first, log_suffix));
            all.erase(std::next(second, 1));
            co_await put_contents(directory, all);
            CHECK(co_await open_and_read() == outcome::refused);
        });
    }

    TEST_CASE("junk among the zeros behind a segment that the next one joins is no damage") {
        bed on(35);
        on.run([]() -> future<> {
            contents all = co_await closed_log();
            all.erase(segment_path("", 0, index_suffix).substr(1));
            all.erase(segment_path("", 0, time_index_suffix).substr(1));
            std::vector<std::byte>& open = all.at(segment_path("", 0, log_suffix).substr(1));
            const std::vector<std::size_t> starts = batch_starts(open);
            const std::vector<std::byte> last(open.begin() + static_cast<long>(*(starts.end() - 2)),
                                              open.end());
            const auto begins = open.size() / page_size * page_size + page_size;
            open.resize(begins + 2 * page_size);
            std::fill_n(open.begin() + static_cast<long>(begins), 512, std::byte{0x5a});
            co_await put_contents(directory, all);
            CHECK(co_await open_and_read() == outcome::whole);

            // A good batch there is one that something is missing before.
            std::vector<std::byte> later = last;
            protocol::patch_base_offset(later, 70);
            std::copy(later.begin(), later.end(), open.begin() + static_cast<long>(begins));
            co_await put_contents(directory, all);
            CHECK(co_await open_and_read() == outcome::refused);
        });
    }

    TEST_CASE("in an open segment damage far before its end is refused, a torn end is cut") {
        bed on(34);
        on.run([]() -> future<> {
            contents all = co_await closed_log();
            for (auto at = all.begin(); at != all.end();) {
                // Leave the first segment alone, and make it an open one with a zero tail.
                const bool first = at->first == "00000000000000000000.log";
                at = first ? std::next(at) : all.erase(at);
            }
            std::vector<std::byte>& only = all.begin()->second;
            const std::size_t data = only.size();
            only.resize(data + 5000);
            const auto records =
                static_cast<std::int64_t>(records_in(std::span(only).first(data)).size());
            const auto batch_bytes = data / static_cast<std::size_t>(records / 2);
            const auto end_after_open = [](contents files) -> future<std::int64_t> {
                co_await put_contents(directory, std::move(files));
                std::int64_t end = 0;
                co_await with_log(directory, damage_options(), [&end](log& in) -> future<> {
                    end = in.end_offset();
                    co_await read_all(in, 0);
                    CHECK((co_await in.append(batch_of(0, 1))).base_offset == end);
                });
                co_return end;
            };
            CHECK(co_await end_after_open(all) == records);

            const auto without_sector = [](contents files, std::size_t at) {
                const auto from = files.begin()->second.begin() + static_cast<long>(at / 512 * 512);
                std::fill(from, from + 512, std::byte{0});
                return files;
            };
            // As torn commits of one batch, of two and of three leave them.
            for (const std::size_t at : {data - 10, data - batch_bytes, data - 2 * batch_bytes}) {
                const auto whole = static_cast<std::int64_t>(at / 512 * 512 / batch_bytes);
                CHECK(co_await end_after_open(without_sector(all, at)) == 2 * whole);
            }
            const error far = co_await failure_of(end_after_open(without_sector(all, 700)));
            CHECK(far.is(errc::corrupt));

            // No torn commit: a device that keeps each sector old or new does none of these.
            const auto refused_at = [&](contents files, std::size_t position) -> future<bool> {
                const error refused = co_await failure_of(end_after_open(std::move(files)));
                CHECK(refused.is(errc::corrupt));
                co_return std::string(refused.what()).find(fmt::format("at byte {} ", position)) !=
                    std::string::npos;
            };
            for (const std::size_t at : {data - 10, data - batch_bytes + 3, std::size_t{100}}) {
                contents flipped = all;
                flipped.begin()->second[at] ^= std::byte{1};
                CHECK(co_await refused_at(flipped, at / batch_bytes * batch_bytes));
            }
            contents junk = all;  // where the next batch would be
            for (std::size_t i = data; i < data + 600; ++i) {
                junk.begin()->second[i] = std::byte{static_cast<unsigned char>(i * 37)};
            }
            CHECK(co_await refused_at(junk, data));
        });
    }
}

}  // namespace weir::broker
