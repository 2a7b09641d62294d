// SPDX-License-Identifier: Apache-2.0
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstddef>
#include <ostream>
#include <string>

#include <doctest/doctest.h>

namespace {

/// doctest keeps for a thread the texts of messages and failures, and who is in scope to be
/// named by them, in containers that grow when needed. A simulated host that needed it would lay
/// them into its own memory, which goes with it, so they grow before the first test.
void make_room(int nested) {
    INFO("");
    std::ostream* const texts = doctest::detail::tlssPush();
    if (nested > 0) {
        make_room(nested - 1);
    } else {
        *texts << std::string(std::size_t{1} << 20, ' ');
    }
    doctest::detail::tlssPop();
}

}  // namespace

int main(int argc, char** argv) {
    make_room(63);
    return doctest::Context(argc, argv).run();
}
