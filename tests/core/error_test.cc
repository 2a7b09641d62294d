// SPDX-License-Identifier: Apache-2.0
#include <cerrno>

#include <doctest/doctest.h>

#include <weir/core/error.hh>

TEST_SUITE("core/error") {
    TEST_CASE("an error names the operation, the subject and the cause") {
        const weir::error failure = weir::error::from_errno("open", "/data/0.log", ENOSPC);
        CHECK(std::string(failure.what()) == "open /data/0.log: No space left on device");
        CHECK(failure.is_errno(ENOSPC));
        CHECK_FALSE(failure.is_errno(EIO));
        CHECK(weir::error("enter", "gate", weir::errc::closed).is(weir::errc::closed));
    }
}
