// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include <doctest/doctest.h>
#include <io/conformance.hh>
#include <netinet/in.h>

#include <weir/io/sim/world.hh>

namespace sim = weir::io::sim;
namespace conformance = weir::io::conformance;

namespace {

/// One machine without a program: the test drives its backend by hand.
class sim_bed final : public conformance::test_bed {
  public:
    explicit sim_bed(std::uint64_t seed)
        : _world(seed), _machine(_world.add_host("tested", 1).machine()) {
        _machine.boot(1);
        _machine.disk().make_directory("/data");
    }
    weir::io::backend& tested() override { return _machine.backend(0); }
    std::string directory() override { return "/data"; }
    sockaddr_storage any_port(socklen_t& length) override {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        sockaddr_storage result{};
        std::memcpy(&result, &address, sizeof address);
        length = sizeof address;
        return result;
    }
    void turn() override {
        tested().submit();
        tested().park(tested().now() + std::chrono::milliseconds(1));
        tested().poll();
    }

  private:
    sim::world _world;
    sim::machine& _machine;
};

}  // namespace

TEST_SUITE("io/sim/conformance") {
    TEST_CASE("the simulator does with files what every backend does") {
        for (const auto& entry : conformance::file_cases()) {
            SUBCASE(entry.sentence) {
                for (std::uint64_t seed = 1; seed <= 20; ++seed) {
                    CAPTURE(seed);
                    sim_bed bed(seed);
                    entry.run(bed);
                }
            }
        }
    }

    TEST_CASE("the simulator does with sockets what every backend does") {
        for (const auto& entry : conformance::socket_cases()) {
            SUBCASE(entry.sentence) {
                for (std::uint64_t seed = 1; seed <= 20; ++seed) {
                    CAPTURE(seed);
                    sim_bed bed(seed);
                    entry.run(bed);
                }
            }
        }
    }
}
