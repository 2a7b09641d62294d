// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <io/conformance.hh>

#include <weir/io/sim/world.hh>

namespace weir::test {

/// A world whose machines have kernels but no programs: the test does single operations.
class sim_bench {
  public:
    explicit sim_bench(std::uint64_t seed, io::sim::world_options options = {})
        : world(seed, std::move(options)) {}

    io::sim::machine& add(const char* name) {
        io::sim::machine& added = world.add_host(name, 1).machine();
        added.boot(1);
        return added;
    }
    /// Starts an operation; it lives as long as this.
    io::conformance::waiter& start(io::sim::machine& at, io::any_op what) {
        _started.push_back(std::make_unique<io::conformance::waiter>(std::move(what)));
        at.backend(0).start(*_started.back());
        at.backend(0).submit();
        return *_started.back();
    }
    /// Lets time pass, and takes what completes.
    void pass(duration time) {
        world.run_for(time);
        for (auto& host : world.hosts()) {
            if (host->running()) {
                host->machine().backend(0).poll();
            }
        }
    }
    /// Runs one operation to its end.
    std::int32_t run(io::sim::machine& at, io::any_op what) {
        auto& waiting = start(at, std::move(what));
        for (int i = 0; i < 2'000'000 && !waiting.done; ++i) {
            at.backend(0).park(at.backend(0).now() + std::chrono::milliseconds(10));
            at.backend(0).poll();
        }
        REQUIRE(waiting.done);
        return waiting.result();
    }
    int open(io::sim::machine& at, const char* path, bool direct = false, bool data_sync = false) {
        const int fd = run(at, io::op::open{.path = path,
                                            .mode = io::op::access::read_write,
                                            .create = true,
                                            .direct = direct,
                                            .data_sync = data_sync});
        REQUIRE(fd >= 0);
        return fd;
    }
    int listen(io::sim::machine& at, std::uint16_t port) {
        auto address = std::make_unique<sockaddr_storage>(at.at(port));
        const int fd = run(at, io::op::listen{address.get(), sizeof(sockaddr_in)});
        _addresses.push_back(std::move(address));
        return fd;
    }
    std::int32_t connect(io::sim::machine& from, io::sim::machine& to, std::uint16_t port) {
        const sockaddr_storage address = to.at(port);
        return run(from, io::op::connect{&address, sizeof(sockaddr_in)});
    }
    struct pair {
        int client;
        int server;
    };
    pair connected(io::sim::machine& client, io::sim::machine& server, std::uint16_t port = 80) {
        const int listener = listen(server, port);
        auto& accepting = start(server, io::op::accept{listener});
        const int fd = connect(client, server, port);
        REQUIRE(fd >= 0);
        while (accepting.outcomes.empty()) {
            pass(std::chrono::milliseconds(1));
        }
        return {fd, accepting.result()};
    }
    std::int32_t send(io::sim::machine& from, int fd, std::string text) {
        const iovec part{text.data(), text.size()};
        return run(from, io::op::send{fd, &part, 1});
    }

    io::sim::world world;

  private:
    std::vector<std::unique_ptr<io::conformance::waiter>> _started;
    std::vector<std::unique_ptr<sockaddr_storage>> _addresses;
};

}  // namespace weir::test
