// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <memory>
#include <string>

#include <doctest/doctest.h>
#include <tests/support/death.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/sleep.hh>
#include <weir/io/sim/memory.hh>
#include <weir/io/sim/world.hh>

namespace {

namespace memory = weir::io::sim::memory;
using namespace std::chrono_literals;

void* allocated_in(memory::arena& host, std::size_t bytes) {
    const memory::inside guard(host);
    return ::operator new(bytes);
}

void freed_in(memory::arena* host, void* bytes) {
    memory::arena* const before = memory::enter(host);
    ::operator delete(bytes);
    memory::enter(before);
}

/// What the arena says of a deed, or what AddressSanitizer says where that sees it first.
bool said(const std::string& words, const std::string& expected) {
    INFO(words);
    return words.find(expected) != std::string::npos ||
           words.find("AddressSanitizer") != std::string::npos;
}

}  // namespace

TEST_SUITE("io/sim_memory") {
    TEST_CASE("a block that is freed twice ends the program, which says so") {
        CHECK(said(weir::test::last_words([] {
                       memory::arena host;
                       void* const block = allocated_in(host, 40);
                       freed_in(&host, block);
                       freed_in(&host, block);
                   }),
                   "a block of 40 bytes is freed twice"));
    }

    TEST_CASE("a block that is freed twice is noticed though others were allocated meanwhile") {
        CHECK(said(weir::test::last_words([] {
                       memory::arena host;
                       void* const block = allocated_in(host, 40);
                       freed_in(&host, block);
                       for (int i = 0; i < 100; ++i) {
                           allocated_in(host, 40);
                       }
                       freed_in(&host, block);
                   }),
                   "a block of 40 bytes is freed twice"));
    }

    TEST_CASE("the world's own block that is freed twice is noticed, too") {
        CHECK(said(weir::test::last_words([] {
                       void* const block = ::operator new(40);
                       ::operator delete(block);
                       ::operator delete(block);
                   }),
                   "freed twice"));
    }

    TEST_CASE("a block that is freed after its host's memory went ends the program") {
        for (const std::size_t bytes : {std::size_t{0}, std::size_t{40}, std::size_t{1} << 20}) {
            CHECK(said(weir::test::last_words([bytes] {
                           memory::arena host;
                           void* const block = allocated_in(host, bytes);
                           memory::free_all(host);
                           for (int i = 0; i < 100; ++i) {
                               allocated_in(host, 40);
                           }
                           freed_in(nullptr, block);
                       }),
                       "is freed late: its host's memory has gone"));
        }
    }

    TEST_CASE("a block that the host's next incarnation frees is noticed") {
        CHECK(said(weir::test::last_words([] {
                       memory::arena host;
                       void* const block = allocated_in(host, 40);
                       memory::free_all(host);
                       freed_in(&host, block);
                   }),
                   "is freed late"));
    }

    TEST_CASE("a block that another host frees ends the program") {
        CHECK(said(weir::test::last_words([] {
                       memory::arena host;
                       memory::arena other;
                       freed_in(&other, allocated_in(host, 40));
                   }),
                   "a block of 40 bytes is freed by another host than its own"));
    }

    TEST_CASE("what was never allocated is not freed") {
        CHECK(said(weir::test::last_words([] {
                       alignas(64) static char bytes[256];
                       ::operator delete(bytes + 128);
                   }),
                   "is freed that operator new did not give"));
    }

    TEST_CASE("a host frees what the world gave it, and the world what a host left") {
        memory::arena host;
        freed_in(&host, ::operator new(40));
        freed_in(nullptr, allocated_in(host, 40));
        CHECK(host.blocks == 0);
        CHECK(host.bytes == 0);
    }

    TEST_CASE("aligned blocks come back as they went") {
        memory::arena host;
        for (std::size_t alignment = 1; alignment <= std::size_t{1} << 20; alignment *= 4) {
            CAPTURE(alignment);
            memory::perturb(0xa7, alignment);
            void* block = nullptr;
            {
                const memory::inside guard(host);
                block = ::operator new(100, std::align_val_t{alignment});
            }
            memory::perturb(0, 0);
            CHECK(reinterpret_cast<std::uintptr_t>(block) % alignment == 0);
            CHECK(host.bytes == 100);
            ::operator delete(block, std::align_val_t{alignment});
        }
        CHECK(host.blocks == 0);
    }

    TEST_CASE("what outlives a host and lies in its memory is noticed when it goes") {
        CHECK(said(weir::test::last_words([] {
                       std::string kept;
                       {
                           weir::io::sim::world world(1);
                           auto& host = world.add_host("a", 1);
                           host.start([&](weir::host&) -> weir::future<> {
                               co_await weir::sleep_for(1ms);
                               kept = std::string(1000, 'x');
                           });
                           world.run_for(1s);
                       }
                       kept = std::string();
                   }),
                   "is freed late"));
    }

    TEST_CASE("a text that doctest keeps for this thread outlives the host that wrote it") {
        for (int round = 0; round < 3; ++round) {
            weir::io::sim::world world(1);
            auto& host = world.add_host("a", 1);
            std::size_t before = 0;
            std::size_t after = 1;
            host.start([&](weir::host&) -> weir::future<> {
                const std::string text(2000, 'x');
                before = memory::current()->bytes;
                MESSAGE(std::string_view(text).substr(0, 20), " ", 20, " ", text.size());
                INFO("as is ", text);
                CHECK(doctest::toString(text).size() == text.size());
                after = memory::current()->bytes;
                co_return;
            });
            CHECK(world.run_until([&] { return host.exited(); }, 1s));
            CHECK(before == after);
        }
    }
}
