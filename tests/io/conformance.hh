// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <weir/io/backend.hh>

/// What every backend must do, as cases that any backend's test runs on its own test bed:
///     for (const auto& entry : conformance::file_cases()) {
///         SUBCASE(entry.sentence) { my_bed bed; entry.run(bed); }
///     }
namespace weir::io::conformance {

/// One backend and the little world around it, new for each case.
class test_bed {
  public:
    virtual ~test_bed() = default;
    virtual backend& tested() = 0;
    /// A directory that exists and is empty.
    virtual std::string directory() = 0;
    /// Where to listen, with port 0.
    virtual sockaddr_storage any_port(socklen_t& length) = 0;
    /// One turn: submits, waits for something to complete, polls.
    virtual void turn() = 0;
};

/// An operation that remembers how it completed.
class waiter final : public operation {
  public:
    using operation::operation;
    void complete(const completion& outcome) noexcept override {
        outcomes.push_back(outcome);
        done = !outcome.more;
    }
    /// The result of the last completion.
    std::int32_t result() const { return outcomes.back().result; }

    std::vector<completion> outcomes;
    bool done = false;
};

/// Turns until `condition()`; fails the test after very many turns.
template <typename Condition>
void turn_until(test_bed& bed, Condition condition) {
    for (int turns = 0; !condition(); ++turns) {
        if (turns == 100'000) {
            throw std::runtime_error("the awaited completion does not come");
        }
        bed.turn();
    }
}

/// Starts `what` and turns until it is done.
std::int32_t run(test_bed& bed, any_op what);

/// A connected pair of sockets through a listener of the tested backend.
struct connection {
    int client;
    int server;
};
connection connect_pair(test_bed& bed);

struct entry {
    const char* sentence;
    void (*run)(test_bed& bed);
};
std::span<const entry> file_cases();
std::span<const entry> socket_cases();

}  // namespace weir::io::conformance
