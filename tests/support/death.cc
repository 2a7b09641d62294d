// SPDX-License-Identifier: Apache-2.0
#include <tests/support/death.hh>

#include <tests/support/child.hh>

namespace weir::test {

std::string last_words(const std::function<void()>& deed) {
    const child_end end = in_child([&deed] {
        deed();
        return 0;
    });
    // A sanitizer that finds the deed first ends the process with a status instead.
    return end.signal != 0 || end.exit_status != 0 ? end.said : "it lives";
}

}  // namespace weir::test
