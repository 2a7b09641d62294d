// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <tests/support/bare_host.hh>

#include <weir/core/buffer.hh>

using namespace weir;

TEST_SUITE("core/buffer") {
    TEST_CASE("copies and slices share memory, which lives as long as the last of them") {
        test::bare_shard shard;
        buffer slice;
        {
            buffer whole = buffer::copy_of("upstream and downstream");
            CHECK(whole.unique());
            slice = whole.slice(13, 10);
            CHECK_FALSE(whole.unique());
            CHECK(slice.data() == whole.data() + 13);
            const buffer copy = whole;
            CHECK(copy.data() == whole.data());
        }
        CHECK(slice.unique());
        CHECK(slice.text() == "downstream");
        slice.remove_prefix(4);
        slice.truncate(3);
        CHECK(slice.text() == "str");
        CHECK(slice.slice(3, 0).empty());
    }

    TEST_CASE("memory is aligned as asked, in every size") {
        test::bare_shard shard;
        for (std::size_t alignment : {1U, 16U, 64U, 512U, 4096U}) {
            for (std::size_t size : {1U, 100U, 2000U, 2048U, 5000U, 65536U}) {
                buffer made = buffer::allocate(size, alignment);
                REQUIRE(made.size() == size);
                CHECK(reinterpret_cast<std::uintptr_t>(made.data()) % alignment == 0);
                std::memset(made.writable().data(), 7, size);
            }
        }
        CHECK(buffer::allocate(0).empty());
        CHECK(buffer::allocate(0).bytes().empty());
    }

    TEST_CASE("a small buffer is one block of the pool, which comes back") {
        test::bare_shard shard;
        {
            auto once = buffer::allocate(200);
        }
        const auto before = this_shard().pool().counters();
        for (int i = 0; i < 10; ++i) {
            auto again = buffer::allocate(200);
        }
        const auto after = this_shard().pool().counters();
        CHECK(after.allocations == before.allocations + 10);
#if !defined(__has_feature) || !__has_feature(address_sanitizer)
        CHECK(after.misses == before.misses);
#endif
    }

    TEST_CASE("random copies, slices and drops read what strings read") {
        test::bare_shard shard;
        const unsigned seed = 20261124;
        CAPTURE(seed);
        std::mt19937 random(seed);
        std::vector<std::pair<buffer, std::string>> kept;
        for (int step = 0; step < 20000; ++step) {
            const unsigned choice = kept.empty() ? 0 : random() % 5;
            const std::size_t which = kept.empty() ? 0 : random() % kept.size();
            if (choice == 0) {
                std::string text(random() % 3000, '\0');
                for (char& each : text) {
                    each = static_cast<char>(random());
                }
                kept.emplace_back(buffer::copy_of(text), text);
            } else if (choice == 1) {
                auto copy = kept[which];
                kept.push_back(std::move(copy));
            } else if (choice == 2) {
                const auto& [whole, text] = kept[which];
                const std::size_t offset = random() % (text.size() + 1);
                const std::size_t size = random() % (text.size() - offset + 1);
                auto part = std::pair(whole.slice(offset, size), text.substr(offset, size));
                kept.push_back(std::move(part));
            } else if (choice == 3 && kept.size() > 1) {
                kept[which] = kept[random() % kept.size()];
            } else {
                std::swap(kept[which], kept.back());
                kept.pop_back();
            }
            if (!kept.empty()) {
                const auto& [bytes, text] = kept[random() % kept.size()];
                REQUIRE(bytes.text() == text);
            }
        }
    }
}
