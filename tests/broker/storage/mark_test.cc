// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/log.hh>
#include <broker/storage/log_mark.hh>
#include <broker/storage/names.hh>
#include <fmt/format.h>

#include "files.hh"
#include <weir/core/sleep.hh>

namespace weir::broker {

using namespace storage_test;
using namespace std::chrono_literals;

namespace {

constexpr const char* directory = "/data/t-0";
constexpr const char* first_segment = "00000000000000000000.log";
constexpr int batches = 300;

log_options mark_options() {
    log_options options = small_options();
    options.segment_bytes = 4 << 20;
    options.max_commit_bytes = 2 << 20;
    options.max_waiting_bytes = 4 << 20;
    options.unzeroed_commit_bytes = 4 << 10;
    options.mark_sync_wait_max = 1h;  // the device hears of nothing by itself
    options.mark_sync_bytes = 4 << 20;
    return options;
}

/// Appends one by one, each acknowledged, and goes on living until somebody ends it.
future<> append_and_wait(log_options options, int* acknowledged) {
    co_await io::make_directories(directory);
    recent_memory recent(64 << 10);
    auto opened = co_await log::open(directory, options, recent);
    for (int i = 0; i < batches; ++i) {
        co_await opened->append(batch_of(i, 1, 4200));
        const outside memory;
        ++*acknowledged;
    }
    co_await sleep_for(std::chrono::hours(1000));
    co_await opened->close();
}

enum class ending { kill, power_cut };

/// What is on the disk when a log of `batches` batches was cut short.
contents files_after(bed& on, log_options options, ending how) {
    int acknowledged = 0;
    on.start([options, &acknowledged] { return append_and_wait(options, &acknowledged); });
    REQUIRE(on.world.run_until([&] { return acknowledged == batches; }, 1h));
    how == ending::kill ? on.world.kill(on.host) : on.world.power_cut(on.host);
    contents found;
    on.run([&found]() -> future<> {
        const contents all = co_await take_contents(directory);
        const outside memory;
        for (const auto& [name, bytes] : all) {
            found[std::string(name.begin(), name.end())] = {bytes.begin(), bytes.end()};
        }
    });
    return found;
}

struct spoiling_result {
    int kept = 0;  ///< all batches are there, or the start was refused; and the batch was named
    int cut = 0;   ///< acknowledged batches are gone
    int first_cut = batches;
    std::string problems;
};

/// Spoils one byte of each batch in turn and opens what is left.
spoiling_result spoil_each(bed& on, contents good, log_options options) {
    spoiling_result result;
    on.run([&on, &result, &good, options]() -> future<> {
        const auto starts = batch_starts(good.at(first_segment));
        const std::string path = fmt::format("{}/{}", directory, first_segment);
        for (int i = 0; i < batches; ++i) {
            const std::size_t start = starts.at(static_cast<std::size_t>(i));
            const std::byte was = good.at(first_segment).at(start + 100);
            const std::byte spoilt = was ^ std::byte{0x10};
            on.corrupt(path, start + 100, {&spoilt, 1});
            std::int64_t end = -1;
            std::string told;
            try {
                co_await with_log(directory, options, [&](log& in) -> future<> {
                    end = in.end_offset();
                    if (end == batches) {
                        const error met = co_await failure_of(read_all(in, 0));
                        CHECK(met.is(errc::corrupt));
                        CHECK(in.metrics().damaged_batches == 1);
                        told = met.what();
                    }
                });
            } catch (const error& e) {
                CHECK(e.is(errc::corrupt));
                told = e.what();
            }
            if (end >= 0) {
                co_await put_contents(directory, good);
            } else {
                on.corrupt(path, start + 100, {&was, 1});  // a refused start changes nothing
            }
            const outside memory;
            if (end >= 0 && end < batches) {
                ++result.cut;
                result.first_cut = std::min(result.first_cut, i);
            } else if ((told + ' ').find(fmt::format("at byte {}", start)) != std::string::npos) {
                ++result.kept;
            } else {
                result.problems += told.c_str();
            }
        }
    });
    return result;
}

/// What the newest whole record says on the device.
std::int64_t marked_on_device(bed& on) {
    std::int64_t end = -1;
    on.run([&end]() -> future<> {
        const auto mark = co_await log_mark::read(directory);
        end = mark ? mark->end.next_offset : -1;
    });
    return end;
}

/// Where README.md's worked example has its third record: sequence 3 is in place 3.
constexpr std::size_t third_record = 3 * 64;

/// A mark that says 0, 10 and 20.
future<std::vector<std::byte>> three_records(std::string path) {
    co_await io::make_directories(directory);
    auto mark = co_await log_mark::open(directory, {}, false);
    co_await mark->store({0, 10, 0, 1000});
    co_await mark->sync();
    co_await mark->store({0, 20, 0, 2000});
    co_await mark->close();
    co_return co_await read_small_file(path, 1 << 20);
}

/// Makes a record one of another format, with a right checksum.
void write_record(std::vector<std::byte>& bytes, std::size_t at, std::uint32_t version,
                  std::uint32_t seal, std::uint64_t sequence) {
    std::byte* const to = bytes.data() + at;
    protocol::store_big(to + 8, version);
    protocol::store_big(to + 16, sequence);
    protocol::store_big(to + 56, seal);
    protocol::store_big(to + 12, protocol::crc32c({to + 16, 48}));
}

/// Spoils the newest record of a mark, or all of them.
void spoil_mark(bed& on, const contents& good, bool all) {
    const std::string path = fmt::format("{}/{}", directory, mark_name);
    std::span<const std::byte> bytes = good.at(std::string(mark_name));
    std::size_t newest = 0;
    std::uint64_t sequence = 0;
    for (std::size_t at = 0; at < bytes.size(); at += 64) {
        const auto each = protocol::load_big<std::uint64_t>(bytes.data() + at + 16);
        if (each > sequence) {
            sequence = each;
            newest = at;
        }
    }
    for (std::size_t at = 0; at < bytes.size(); at += 64) {
        if (all || at == newest) {
            const std::byte spoilt = bytes[at + 40] ^ std::byte{1};
            on.corrupt(path, at + 40, {&spoilt, 1});
        }
    }
}

}  // namespace

TEST_SUITE("broker/storage/mark") {
    TEST_CASE("after a kill no acknowledged batch is cut, whichever of 300 is spoilt") {
        bed on(61);
        const contents good = files_after(on, mark_options(), ending::kill);
        const spoiling_result met = spoil_each(on, good, mark_options());
        CHECK(met.cut == 0);
        CHECK(met.kept == batches);
        CHECK(met.problems == "");
    }

    TEST_CASE("without the mark the same cuts acknowledged batches") {
        bed on(61, {}, {"cut-of-acknowledged"});
        const contents good = files_after(on, mark_options(), ending::kill);
        CHECK(spoil_each(on, good, mark_options()).cut > batches / 2);
    }

    TEST_CASE("after a power cut only what is above the device's mark may be taken for torn") {
        bed on(62);
        log_options options = mark_options();
        options.mark_sync_bytes = 500 << 10;
        const contents good = files_after(on, options, ending::power_cut);
        const std::int64_t marked = marked_on_device(on);
        CHECK(marked > batches / 4);
        CHECK(marked <= batches);
        const spoiling_result met = spoil_each(on, good, options);
        CHECK(met.first_cut >= marked);
        CHECK(met.kept >= marked);
        CHECK(met.problems == "");
    }

    TEST_CASE("with a tail copy the device hears of each commit: after a power cut none is cut") {
        bed on(63);
        log_options options = mark_options();
        options.tail_copy = true;
        const contents good = files_after(on, options, ending::power_cut);
        CHECK(marked_on_device(on) == batches);
        const spoiling_result met = spoil_each(on, good, options);
        CHECK(met.cut == 0);
    }

    TEST_CASE("the device hears of it after mark_sync_bytes, and after mark_sync_wait_max") {
        bed on(64);
        on.run([]() -> future<> {
            log_options options = mark_options();
            options.mark_sync_bytes = 20 << 10;
            co_await with_log(directory, options, [](log& to) -> future<> {
                for (int i = 0; i < 100; ++i) {
                    co_await to.append(batch_of(i, 1, 1000));
                }
                co_await sleep_for(1s);
                CHECK(to.metrics().mark_syncs >= 3);
                CHECK(to.metrics().mark_syncs <= 6);
                CHECK(to.metrics().unsynced_mark_bytes < 20 << 10);
            });
            options.mark_sync_bytes = 1 << 30;
            options.mark_sync_wait_max = 100ms;
            co_await with_log(directory, options, [](log& to) -> future<> {
                for (int i = 0; i < 100; ++i) {
                    co_await to.append(batch_of(i, 1, 1000));
                    co_await sleep_for(10ms);
                }
                co_await sleep_for(1s);
                CHECK(to.metrics().mark_syncs >= 8);
                CHECK(to.metrics().mark_syncs <= 11);
                CHECK(to.metrics().unsynced_mark_bytes == 0);
            });
        });
    }

    TEST_CASE("segments that are gone, first or last or all, are said to be missing") {
        bed on(65);
        on.run([]() -> future<> {
            log_options options = small_options();
            options.segment_bytes = 8 << 10;
            co_await with_log(directory, options, [](log& to) -> future<> {
                for (int i = 0; i < 60; ++i) {
                    co_await to.append(batch_of(i, 1, 400));
                }
                CHECK(to.segment_count() >= 3);
            });
            const contents good = co_await take_contents(directory);
            std::vector<std::string> logs;
            for (const auto& each : good) {
                if (segment_of_file(each.first, log_suffix)) {
                    logs.push_back(each.first.substr(0, 20));
                }
            }
            std::vector<std::vector<std::string>> losses{{logs.front()}, {logs.back()}, logs};
            for (const auto& lost : losses) {
                contents bad = good;
                for (const std::string& base : lost) {
                    std::erase_if(
                        bad, [&base](const auto& each) { return each.first.starts_with(base); });
                }
                co_await put_contents(directory, bad);
                const error refused = co_await failure_of(
                    with_log(directory, options, [](log&) { return make_ready_future(); }));
                CHECK(refused.is(errc::corrupt));
                CHECK(std::string(refused.what()).find("missing") != std::string::npos);
            }
        });
    }

    TEST_CASE("a log of a program without marks is adopted, and has one from then on") {
        bed on(66);
        on.run([]() -> future<> {
            co_await with_log(directory, mark_options(),
                              [](log& to) -> future<> { co_await to.append(batch_of(0, 3)); });
            co_await io::unlink(fmt::format("{}/{}", directory, mark_name));
            co_await with_log(directory, mark_options(), [](log&) { return make_ready_future(); });
            const auto mark = co_await log_mark::read(directory);
            CHECK(mark);
            CHECK(mark->end.next_offset == 3);
            co_await io::unlink(fmt::format("{}/{}", directory, first_segment));
            CHECK((co_await failure_of(with_log(directory, mark_options(), [](log&) {
                      return make_ready_future();
                  }))).is(errc::corrupt));
        });
    }

    TEST_CASE("the newest whole record counts; whichever byte of it is spoilt, that is seen") {
        bed on(67);
        on.run([]() -> future<> {
            const std::string path = fmt::format("{}/{}", directory, mark_name);
            const std::vector<std::byte> bytes = co_await three_records(path);
            CHECK((co_await log_mark::read(directory))->end.next_offset == 20);
            CHECK((co_await log_mark::read(directory))->whole);
            CHECK(bytes.size() == 8192);
            CHECK(protocol::load_big<std::uint64_t>(bytes.data() + third_record + 16) == 3);
            for (std::size_t i = 0; i < 64; ++i) {
                std::vector<std::byte> spoilt = bytes;
                spoilt[third_record + i] ^= std::byte{3};
                co_await replace_file(path, spoilt);
                const auto found = co_await log_mark::read(directory);
                CHECK(found->end.next_offset == 10);
                CHECK(!found->whole);
            }
            // One that has been followed since is no loss; nor is one never written.
            std::vector<std::byte> old = bytes;
            old[64 + 20] ^= std::byte{1};
            co_await replace_file(path, old);
            CHECK((co_await log_mark::read(directory))->whole);
        });
    }

    TEST_CASE("a record of the first format is read; of a newer one it is refused") {
        bed on(68);
        on.run([]() -> future<> {
            const std::string path = fmt::format("{}/{}", directory, mark_name);
            const std::vector<std::byte> bytes = co_await three_records(path);
            std::vector<std::byte> first = bytes;
            write_record(first, third_record, 1, 0, 3);
            co_await replace_file(path, first);
            CHECK((co_await log_mark::read(directory))->end.next_offset == 20);
            CHECK((co_await log_mark::read(directory))->whole);
            std::vector<std::byte> newer = bytes;
            protocol::store_big(newer.data() + third_record + 8, std::uint32_t{3});
            const std::uint32_t seal = protocol::crc32c(std::span(newer).subspan(third_record, 12));
            write_record(newer, third_record, 3, seal, 3);
            co_await replace_file(path, newer);
            CHECK((co_await failure_of(log_mark::read(directory))).is(errc::corrupt));
        });
    }

    TEST_CASE("a number of a record that has no room to grow is not believed") {
        bed on(69);
        on.run([]() -> future<> {
            const std::string path = fmt::format("{}/{}", directory, mark_name);
            std::vector<std::byte> bytes = co_await three_records(path);
            write_record(bytes, third_record, 1, 0, UINT64_MAX);
            co_await replace_file(path, bytes);
            CHECK(!(co_await log_mark::read(directory))->whole);
            auto mark = co_await log_mark::open(directory, {0, 30, 0, 3000}, false);
            for (int i = 0; i < 100; ++i) {
                co_await mark->store({0, 31 + i, 0, 3000});
            }
            co_await mark->close();
            CHECK((co_await log_mark::read(directory))->end.next_offset == 130);
        });
    }

    TEST_CASE("where the mark is spoilt nothing is cut that may have been acknowledged") {
        for (const bool all : {false, true}) {
            CAPTURE(all);
            bed on(70);
            const contents good = files_after(on, mark_options(), ending::kill);
            on.run([&on, &good, all]() -> future<> {
                const std::string path = fmt::format("{}/{}", directory, first_segment);
                const std::size_t last = batch_starts(good.at(first_segment)).at(batches - 1);
                const std::byte spoilt = good.at(first_segment).at(last + 100) ^ std::byte{0x10};
                on.corrupt(path, last + 100, {&spoilt, 1});
                spoil_mark(on, good, all);
                const auto nothing = [](log&) { return make_ready_future(); };
                const error refused =
                    co_await failure_of(with_log(directory, mark_options(), nothing));
                CHECK(refused.is(errc::corrupt));
                CHECK(std::string(refused.what()).find(mark_name) != std::string::npos);
                // With the batch as it was the log is whole, and has a mark again.
                const std::byte was = spoilt ^ std::byte{0x10};
                on.corrupt(path, last + 100, {&was, 1});
                co_await with_log(directory, mark_options(), [](log& in) -> future<> {
                    CHECK(in.end_offset() == batches);
                    CHECK(in.metrics().damaged_marks == 1);
                    co_return;
                });
                const auto mark = co_await log_mark::read(directory);
                CHECK(mark->whole);
                CHECK(mark->end.next_offset == batches);
            });
        }
    }
}

}  // namespace weir::broker
