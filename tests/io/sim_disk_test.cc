// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <set>

#include <doctest/doctest.h>

#include <weir/io/sim/disk.hh>

namespace sim = weir::io::sim;
namespace op = weir::io::op;
using sim::fault;

namespace {

std::vector<std::byte> filled(std::size_t length, int value) {
    return std::vector<std::byte>(length, static_cast<std::byte>(value));
}

/// A disk with one open file.
struct bench {
    explicit bench(std::uint64_t seed, sim::fault_plan plan = sim::fault_plan::none(),
                   sim::disk_options options = {})
        : faults(plan, {seed, 1, nullptr}), disk(options, faults) {}

    sim::file_ref open(const char* path) {
        sim::file_ref result;
        REQUIRE(disk.open(path, {.path = path, .mode = op::access::read_write, .create = true},
                          result) == 0);
        return result;
    }
    void sync_root() {
        sim::file_ref root;
        REQUIRE(disk.find("/", root) == 0);
        disk.sync(*root);
    }

    sim::fault_injector faults;
    sim::disk disk;
};

// The first byte of each sector.
std::vector<int> sectors(const std::vector<std::byte>& bytes) {
    std::vector<int> result;
    for (std::size_t i = 0; i < bytes.size(); i += sim::sector_size) {
        const auto end = std::min<std::size_t>(bytes.size(), i + sim::sector_size);
        CHECK(std::all_of(bytes.begin() + static_cast<std::ptrdiff_t>(i),
                          bytes.begin() + static_cast<std::ptrdiff_t>(end),
                          [&](std::byte b) { return b == bytes[i]; }));
        result.push_back(static_cast<int>(bytes[i]));
    }
    return result;
}

}  // namespace

TEST_SUITE("io/sim/disk") {
    TEST_CASE("a file holds what a vector of bytes would hold, whatever is done to it") {
        for (std::uint64_t seed = 1; seed <= 30; ++seed) {
            CAPTURE(seed);
            sim::random_stream random(seed, 9, nullptr);
            sim::content tested;
            std::vector<std::byte> model;
            for (int step = 0; step < 300; ++step) {
                const std::uint64_t offset = random.below(20'000);
                const std::uint64_t length = random.between(1, 9000);
                switch (random.below(5)) {
                    case 0:
                    case 1: {
                        const auto bytes = filled(length, static_cast<int>(random.below(256)));
                        tested.write(offset, bytes);
                        model.resize(std::max<std::size_t>(model.size(), offset + length));
                        std::copy(bytes.begin(), bytes.end(),
                                  model.begin() + static_cast<std::ptrdiff_t>(offset));
                        break;
                    }
                    case 2:
                        tested.resize(offset);
                        model.resize(offset);
                        break;
                    case 3:
                        tested.reserve(offset, length);
                        model.resize(std::max<std::size_t>(model.size(), offset + length));
                        break;
                    default:
                        tested.persist();
                }
                std::vector<std::byte> read(model.size());
                tested.read(0, read);
                REQUIRE(tested.size() == model.size());
                REQUIRE(read == model);
            }
            tested.persist();
            sim::fault_injector faults(sim::fault_plan::none(), {seed, 1, nullptr});
            tested.power_cut(faults);
            std::vector<std::byte> read(model.size());
            tested.read(0, read);
            CHECK(tested.size() == model.size());
            CHECK(read == model);
        }
    }

    TEST_CASE("a cut leaves each unsynced sector old or new, on its own") {
        std::set<std::vector<int>> seen;
        std::uint64_t torn = 0;
        for (std::uint64_t seed = 1; seed <= 200; ++seed) {
            bench tested(seed);
            const auto file = tested.open("/log");
            file->bytes.write(0, filled(2048, 1));
            tested.disk.sync(*file);
            tested.sync_root();
            file->bytes.write(512, filled(1024, 2));
            tested.disk.power_cut();
            const auto left = sectors(tested.disk.bytes("/log"));
            REQUIRE(left.size() == 4);
            CHECK((left[0] == 1 && left[3] == 1));
            seen.insert(left);
            torn += tested.faults.injected(fault::torn_write);
        }
        CHECK(seen.size() == 4);  // 11 12 21 22
        CHECK(torn > 0);
    }

    TEST_CASE("what was synced outlives a cut, and the oracle sees it before") {
        for (std::uint64_t seed = 1; seed <= 50; ++seed) {
            bench tested(seed);
            const auto file = tested.open("/log");
            file->bytes.write(100, filled(5000, 7));
            CHECK(tested.disk.durable_bytes("/log").empty());
            tested.disk.sync(*file);
            CHECK(tested.disk.durable_bytes("/log").empty());  // no name leads to it yet
            tested.sync_root();
            CHECK(tested.disk.durable_bytes("/log") == tested.disk.bytes("/log"));
            const auto before = tested.disk.bytes("/log");
            tested.disk.power_cut();
            CHECK(tested.disk.bytes("/log") == before);
        }
    }

    TEST_CASE("a file cut shorter and not synced is cut or whole, never in between") {
        bool was_whole = false;
        bool was_cut = false;
        for (std::uint64_t seed = 1; seed <= 100; ++seed) {
            bench tested(seed);
            const auto file = tested.open("/log");
            file->bytes.write(0, filled(4096, 1));
            tested.disk.sync(*file);
            tested.sync_root();
            file->bytes.resize(1024);
            file->bytes.write(2048, filled(512, 9));
            tested.disk.power_cut();
            const auto left = sectors(tested.disk.bytes("/log"));
            const bool whole = left.size() == 8;
            CHECK((whole || left.size() == 2 || left.size() == 5));
            for (std::size_t i = 2; i < left.size(); ++i) {
                CHECK((whole ? left[i] == 1 : left[i] == 0 || (i == 4 && left[i] == 9)));
            }
            (whole ? was_whole : was_cut) = true;
        }
        CHECK(was_whole);
        CHECK(was_cut);
    }

    TEST_CASE("a synced cut stays: old bytes do not come back behind new ones") {
        for (std::uint64_t seed = 1; seed <= 100; ++seed) {
            bench tested(seed);
            const auto file = tested.open("/log");
            file->bytes.write(0, filled(4096, 1));
            tested.disk.sync(*file);
            tested.sync_root();
            file->bytes.resize(1024);
            tested.disk.sync(*file);
            file->bytes.write(1024, filled(3072, 0));
            tested.disk.power_cut();
            for (const int each : sectors(tested.disk.bytes("/log"))) {
                CHECK((each == 0 || each == 1));
            }
            const auto left = sectors(tested.disk.bytes("/log"));
            CHECK(std::count(left.begin(), left.end(), 1) == 2);
        }
    }

    TEST_CASE("a name lasts once its directory is synced, before that it may be lost") {
        bool lost = false;
        bool kept = false;
        for (std::uint64_t seed = 1; seed <= 50; ++seed) {
            bench tested(seed);
            tested.disk.sync(*tested.open("/lasting"));
            tested.sync_root();
            tested.disk.sync(*tested.open("/fresh"));
            tested.disk.power_cut();
            sim::file_ref found;
            CHECK(tested.disk.find("/lasting", found) == 0);
            (tested.disk.find("/fresh", found) == 0 ? kept : lost) = true;
        }
        CHECK(lost);
        CHECK(kept);
    }

    TEST_CASE("an unsynced rename happened wholly or not at all") {
        for (std::uint64_t seed = 1; seed <= 50; ++seed) {
            bench tested(seed);
            const auto file = tested.open("/new");
            const auto victim = tested.open("/old");
            tested.sync_root();
            REQUIRE(tested.disk.rename("/new", "/old") == 0);
            tested.disk.power_cut();
            sim::file_ref under_new;
            sim::file_ref under_old;
            const bool there = tested.disk.find("/new", under_new) == 0;
            REQUIRE(tested.disk.find("/old", under_old) == 0);
            CHECK(under_old == (there ? victim : file));
        }
    }

    TEST_CASE("a failed sync drops what was dirty: readable until the cut, never durable") {
        bench tested(1);
        const auto file = tested.open("/log");
        file->bytes.write(0, filled(512, 1));
        tested.disk.sync(*file);
        tested.sync_root();
        file->bytes.write(0, filled(512, 2));
        file->bytes.forget_dirty();
        CHECK(sectors(tested.disk.bytes("/log")) == std::vector<int>{2});
        tested.disk.sync(*file);
        CHECK(sectors(tested.disk.durable_bytes("/log")) == std::vector<int>{1});
        tested.disk.power_cut();
        CHECK(sectors(tested.disk.bytes("/log")) == std::vector<int>{1});
    }

    TEST_CASE("junk fills only sectors that never held durable data, unless anything may be junk") {
        for (const bool anything : {false, true}) {
            auto plan = sim::fault_plan::none();
            plan[fault::junk_sector] = 1'000'000;
            plan[fault::junk_anything] = anything ? 1'000'000 : 0;
            bench tested(3, plan);
            const auto file = tested.open("/log");
            file->bytes.write(0, filled(512, 1));
            tested.disk.sync(*file);
            tested.sync_root();
            file->bytes.write(0, filled(1024, 2));
            tested.disk.power_cut();
            CHECK(tested.faults.injected(fault::junk_sector) == 1);
            CHECK(tested.faults.injected(fault::junk_anything) == (anything ? 1 : 0));
            const auto left = tested.disk.bytes("/log");
            const bool whole = left[0] == left[1] && left[1] == left[2] && left[2] == left[3];
            CHECK(whole == !anything);
        }
    }

    TEST_CASE("a disk of limited size takes the chunks that fit") {
        bench tested(1, sim::fault_plan::none(), {.capacity = 3 * sim::chunk_size});
        const auto file = tested.open("/log");
        CHECK(tested.disk.room(*file, 0, 8192) == 8192);
        file->bytes.write(0, filled(8192, 1));
        CHECK(tested.disk.used() == 8192);
        CHECK(tested.disk.room(*file, 8192, 8192) == 4096);
        file->bytes.write(8192, filled(4096, 1));
        CHECK(tested.disk.room(*file, 12288, 1) == -ENOSPC);
        CHECK(tested.disk.room(*file, 0, 12288) == 12288);
        CHECK(tested.disk.unlink("/log", false) == 0);
        CHECK(tested.disk.room(*tested.open("/other"), 0, 12288) == 12288);
    }

    TEST_CASE("names are found, refused and listed as Linux does") {
        bench tested(1);
        CHECK(tested.disk.make_directory("/a") == 0);
        CHECK(tested.disk.make_directory("/a") == -EEXIST);
        CHECK(tested.disk.make_directory("/missing/b") == -ENOENT);
        tested.open("/a/file");
        sim::file_ref found;
        CHECK(tested.disk.find("/a/../a/./file", found) == 0);
        CHECK(tested.disk.find("/a/file/below", found) == -ENOTDIR);
        CHECK(tested.disk.unlink("/a", true) == -ENOTEMPTY);
        CHECK(tested.disk.unlink("/a", false) == -EISDIR);
        CHECK(tested.disk.unlink("/a/file", true) == -ENOTDIR);
        std::vector<std::string> names;
        CHECK(tested.disk.list("/a", names) == 1);
        CHECK(names == std::vector<std::string>{"file"});
        CHECK(tested.disk.unlink("/a/file", false) == 0);
        CHECK(tested.disk.unlink("/a", true) == 0);
    }
}
