// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/io/listening.hh>

namespace weir::io {

namespace {

/// An address as op::listen takes it.
struct place {
    explicit place(const char* text, std::uint16_t port = 0) {
        auto& four = reinterpret_cast<sockaddr_in&>(raw);
        auto& six = reinterpret_cast<sockaddr_in6&>(raw);
        if (inet_pton(AF_INET, text, &four.sin_addr) == 1) {
            four.sin_family = AF_INET;
            four.sin_port = htons(port);
            length = sizeof four;
        } else {
            REQUIRE(inet_pton(AF_INET6, text, &six.sin6_addr) == 1);
            six.sin6_family = AF_INET6;
            six.sin6_port = htons(port);
            length = sizeof six;
        }
    }
    std::uint16_t port() const {
        return ntohs(reinterpret_cast<const sockaddr_in&>(raw).sin_port);  // the same for both
    }
    op::listen request() { return {&raw, length}; }

    sockaddr_storage raw{};
    socklen_t length = 0;
};

bool has_family_six() {
    const int fd = ::socket(AF_INET6, SOCK_STREAM, 0);
    ::close(fd);
    place any("::1");
    listening_addresses own;
    const int listener = fd < 0 ? -1 : own.listen(any.request());
    return listener >= 0 && own.close(listener);
}

/// What two processes share.
struct meeting {
    std::atomic<unsigned> ready = 0;
    std::atomic<unsigned> tried = 0;
    std::atomic<unsigned> alive = 0;
    std::atomic<unsigned> refused = 0;
};

void come_together(std::atomic<unsigned>& count, unsigned number) {
    count.fetch_add(1);
    while (count.load() < number) {
    }
}

/// Listens together with others, and stays until all have tried.
[[noreturn]] void contend(meeting& all, place at, unsigned number) {
    listening_addresses own;
    come_together(all.ready, number);
    const int fd = own.listen(at.request());
    all.alive += fd >= 0;
    all.refused += fd == -EADDRINUSE;
    // Another shard of the one that lives.
    place again = at;
    all.alive += fd >= 0 && own.listen(again.request()) < 0 ? 100 : 0;
    come_together(all.tried, number);
    ::_exit(0);
}

unsigned tries() {
    const char* asked = std::getenv("WEIR_TRIES");  // NOLINT(concurrency-mt-unsafe)
    return asked != nullptr ? static_cast<unsigned>(std::atoi(asked)) : 50;
}

}  // namespace

TEST_SUITE("io/listening") {
    TEST_CASE("the shards of a host share an address, and no other host has it meanwhile") {
        listening_addresses mine, others;
        place first("127.0.0.1");
        std::vector<int> fds = {mine.listen(first.request())};
        REQUIRE(fds[0] >= 0);
        REQUIRE(first.port() != 0);
        CHECK(others.listen(place(first).request()) == -EADDRINUSE);
        for (int i = 0; i < 3; ++i) {
            fds.push_back(mine.listen(place(first).request()));
            CHECK(fds.back() >= 0);
            CHECK(others.listen(place(first).request()) == -EADDRINUSE);
        }
        for (const int fd : fds) {
            CHECK(others.listen(place(first).request()) == -EADDRINUSE);
            CHECK(mine.close(fd));
            CHECK(!mine.close(fd));
        }
        const int theirs = others.listen(place(first).request());
        CHECK(theirs >= 0);
        CHECK(mine.listen(place(first).request()) == -EADDRINUSE);
        CHECK(others.close(theirs));
    }

    TEST_CASE("connections reach each of the listeners that share an address") {
        listening_addresses mine;
        place at("127.0.0.1");
        int listeners[3];
        for (int& each : listeners) {
            each = mine.listen(at.request());
            REQUIRE(each >= 0);
        }
        std::vector<int> clients;
        for (int i = 0; i < 90; ++i) {
            clients.push_back(::socket(AF_INET, SOCK_STREAM, 0));
            REQUIRE(::connect(clients.back(), reinterpret_cast<sockaddr*>(&at.raw), at.length) ==
                    0);
        }
        int accepted = 0;
        for (const int listener : listeners) {
            REQUIRE(::fcntl(listener, F_SETFL, O_NONBLOCK) == 0);
            int here = 0;
            for (int fd = 0; (fd = ::accept(listener, nullptr, nullptr)) >= 0; ++here) {
                ::close(fd);
            }
            CHECK(here > 5);
            accepted += here;
        }
        CHECK(accepted == 90);
        for (const int fd : clients) {
            ::close(fd);
        }
        for (const int fd : listeners) {
            CHECK(mine.close(fd));
        }
    }

    TEST_CASE("shards of one host that listen at one instant all listen") {
        for (int round = 0; round < 20; ++round) {
            listening_addresses mine;
            place at("127.0.0.1");
            REQUIRE(mine.close(mine.listen(at.request())));  // a port that is free now
            std::atomic<unsigned> ready = 0;
            std::atomic<unsigned> listening = 0;
            std::vector<std::thread> shards;
            for (int i = 0; i < 4; ++i) {
                shards.emplace_back([&] {
                    place own = at;
                    come_together(ready, 4);
                    listening += mine.listen(own.request()) >= 0;
                });
            }
            for (std::thread& each : shards) {
                each.join();
            }
            CHECK(listening == 4);
        }
    }

    TEST_CASE("an address that takes in another's is refused, in either order and family") {
        struct pair {
            const char* first;
            const char* second;
        };
        std::vector<pair> overlaps = {{"0.0.0.0", "127.0.0.1"}, {"127.0.0.1", "0.0.0.0"}};
        if (has_family_six()) {
            overlaps.insert(
                overlaps.end(),
                {{"::", "127.0.0.1"}, {"0.0.0.0", "::"}, {"::", "0.0.0.0"}, {"::1", "::"}});
        }
        for (const pair& each : overlaps) {
            CAPTURE(each.first);
            CAPTURE(each.second);
            listening_addresses mine, others;
            place first(each.first);
            const int fd = mine.listen(first.request());
            const int second = mine.listen(place(first).request());
            REQUIRE(fd >= 0);
            REQUIRE(second >= 0);
            CHECK(others.listen(place(each.second, first.port()).request()) == -EADDRINUSE);
            CHECK(mine.listen(place(each.second, first.port()).request()) == -EADDRINUSE);
            CHECK(mine.close(fd));
            CHECK(mine.close(second));
        }
        listening_addresses mine, others;  // and addresses apart are apart
        place first("127.0.0.1");
        const int fd = mine.listen(first.request());
        const int other = others.listen(place("127.0.0.2", first.port()).request());
        CHECK(other >= 0);
        CHECK(mine.close(fd));
        CHECK(others.close(other));
    }

    TEST_CASE("of processes that begin to listen at one instant exactly one lives") {
        void* shared = ::mmap(nullptr, sizeof(meeting), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(shared != MAP_FAILED);
        place at("127.0.0.1");
        {
            listening_addresses own;  // a port that is free now
            REQUIRE(own.close(own.listen(at.request())));
        }
        const unsigned number = 2;
        for (unsigned round = 0; round < tries(); ++round) {
            auto& all = *new (shared) meeting;
            for (unsigned i = 0; i < number; ++i) {
                if (::fork() == 0) {
                    contend(all, at, number);
                }
            }
            for (unsigned i = 0; i < number; ++i) {
                ::wait(nullptr);
            }
            CAPTURE(round);
            REQUIRE(all.alive == 1);
            REQUIRE(all.refused == number - 1);
        }
        ::munmap(shared, sizeof(meeting));
    }
}

}  // namespace weir::io
