// SPDX-License-Identifier: Apache-2.0
#include <weir/core/closing.hh>

#include <weir/core/error.hh>
#include <weir/core/log.hh>

namespace weir::detail {

void report_second(const std::exception_ptr& failure) noexcept {
    shard& here = this_shard();
    here.log().write(here.log_context(), log_level::warning, "the end of what failed, failed too",
                     {{"cause", what_of(failure)}});
}

}  // namespace weir::detail
