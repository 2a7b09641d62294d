// SPDX-License-Identifier: Apache-2.0
#include <cerrno>

#include <doctest/doctest.h>
#include <io/uring_bed.hh>

#include <weir/io/uring.hh>

namespace weir::io {

namespace {

using conformance::run;
using conformance::turn_until;
using conformance::waiter;

void run_all(const uring_options& options) {
    for (const auto& cases : {conformance::file_cases(), conformance::socket_cases()}) {
        for (const auto& entry : cases) {
            SUBCASE(entry.sentence) {
                uring_bed bed(options);
                entry.run(bed);
                CHECK(bed.statistics().files_in_flight == 0);
                CHECK(bed.statistics().sockets_in_flight == 0);
                CHECK(bed.statistics().waiting == 0);
                CHECK(bed.statistics().buffers_lent == 0);
                CHECK(bed.statistics().started == bed.statistics().completed);
            }
        }
    }
}

}  // namespace

TEST_SUITE("io/uring") {
    TEST_CASE("the kernel ring keeps the contract of a backend") {
        run_all(uring_bed::small_buffers());
    }

    TEST_CASE("the contract holds with a tiny ring and few operations in flight") {
        auto options = uring_bed::small_buffers();
        options.entries = 8;
        options.files_in_flight = 3;
        options.sockets_in_flight = 4;
        options.receive_buffers = 2;
        run_all(options);
    }

    TEST_CASE("who wants to listen may have to wait for others, and so a thread of the pool does") {
        uring_bed bed;
        socklen_t length = 0;
        sockaddr_storage address = bed.any_port(length);
        const std::uint64_t before = bed.pool.statistics().taken;
        const std::int32_t fd = run(bed, op::listen{&address, length});
        REQUIRE(fd >= 0);
        CHECK(bed.pool.statistics().taken == before + 1);
        CHECK(run(bed, op::close{fd}) == 0);
    }

    TEST_CASE("the contract holds on the lower rungs of the ladder") {
        auto options = uring_bed::small_buffers();
        options.defer_taskrun = false;
        SUBCASE("cooperative task work") {
            run_all(options);
        }
        options.cooperative_taskrun = false;
        options.registered_ring = false;
        options.zero_copy = false;
        options.ring_truncate = false;
        options.ring_messages = false;
        SUBCASE("interrupting task work") {
            run_all(options);
        }
    }
}

}  // namespace weir::io
