// SPDX-License-Identifier: Apache-2.0
// A compiler that weir's coroutines can trust destroys each temporary of a co_await expression
// exactly once, after the full expression. g++ 12 destroys some of them twice, which frees twice.
// Stands alone: scripts/check builds and runs it with each compiler; the status is the verdict.
#include <coroutine>
#include <cstdio>
#include <exception>
#include <utility>

namespace {

int alive = 0;
bool balanced = true;

// Counts itself, and notices when its destructor runs for an object that is already gone.
struct counted {
    counted() : here(this) { ++alive; }
    counted(const counted&) : here(this) { ++alive; }
    counted(counted&&) noexcept : here(this) { ++alive; }
    ~counted() {
        balanced = balanced && here == this;
        here = nullptr;
        --alive;
    }
    counted& operator=(const counted&) = delete;
    counted* here;
};

struct aggregate {
    counted first;
    int second;
};

struct job {
    struct promise_type {
        job get_return_object() { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };
};

std::coroutine_handle<> waiting;

// Suspends, or is ready at once, and yields what it was given.
template <typename Value>
struct answer {
    Value value;
    bool ready;
    bool await_ready() const noexcept { return ready; }
    void await_suspend(std::coroutine_handle<> caller) noexcept { waiting = caller; }
    Value await_resume() { return std::move(value); }
};

bool ready_at_once = false;

template <typename Function>
answer<int> on(int shard, Function&& function) {
    return {function() + shard, ready_at_once};
}
template <typename Function>
answer<int> by_value(Function function) {
    return {function(), ready_at_once};
}
answer<int> take(const aggregate& given) {
    return {given.second, ready_at_once};
}
answer<int> take(counted /*given*/) {
    return {1, ready_at_once};
}
answer<counted> make(const counted& given) {
    return {given, ready_at_once};
}

struct service {
    counted state;
    answer<int> call(const counted& /*given*/) const { return {1, ready_at_once}; }
};

job capture_in_temporary() {
    const counted s;
    co_await on(1, [s] { return s.here == nullptr ? 1 : 0; });
}
job capture_by_move() {
    counted s;
    co_await on(1, [s = std::move(s)] { return s.here == nullptr ? 1 : 0; });
}
job capture_passed_by_value() {
    const counted s;
    co_await by_value([s] { return s.here == nullptr ? 1 : 0; });
}
job aggregate_argument() {
    co_await take(aggregate{counted(), 1});
}
job braces_argument() {
    co_await take({counted(), 1});
}
job argument_by_value() {
    co_await take(counted());
}
job temporary_object() {
    co_await service{}.call(counted());
}
job value_of_await() {
    const counted kept = co_await make(counted());
    co_await take(kept);
}
job await_in_condition() {
    const counted s;
    if (co_await on(1, [s] { return 1; }) == 2) {
        co_await on(1, [s] { return 2; });
    }
}
job await_in_argument() {
    co_await on(co_await take(counted()), [s = counted()] { return s.here == nullptr ? 1 : 0; });
}
job await_in_conditional_operator() {
    const counted s;
    const int sum = ready_at_once ? co_await on(1, [s] { return 1; }) : co_await take(counted());
    co_await on(sum, [s] { return 1; });
}
job await_in_loop() {
    for (int i = 0; i < 3; ++i) {
        co_await on(i, [s = counted(), i] { return i; });
    }
}

bool passes(const char* name, job (*form)()) {
    bool good = true;
    for (const bool ready : {false, true}) {
        ready_at_once = ready;
        alive = 0;
        balanced = true;
        waiting = nullptr;
        form();
        while (waiting != nullptr) {
            std::exchange(waiting, nullptr).resume();
        }
        if (alive != 0 || !balanced) {
            std::printf("%s, %s: %d objects left%s\n", name, ready ? "ready" : "suspended", alive,
                        balanced ? "" : ", one was destroyed twice");
            good = false;
        }
    }
    return good;
}

}  // namespace

int main() {
    bool good = true;
    good &= passes("a capturing lambda", capture_in_temporary);
    good &= passes("a lambda that captures by move", capture_by_move);
    good &= passes("a lambda passed by value", capture_passed_by_value);
    good &= passes("an aggregate", aggregate_argument);
    good &= passes("an aggregate from braces", braces_argument);
    good &= passes("an argument by value", argument_by_value);
    good &= passes("a temporary service", temporary_object);
    good &= passes("the value of an await", value_of_await);
    good &= passes("an await in a condition", await_in_condition);
    good &= passes("an await in an argument", await_in_argument);
    good &= passes("an await in a conditional operator", await_in_conditional_operator);
    good &= passes("an await in a loop", await_in_loop);
    return good ? 0 : 1;
}
