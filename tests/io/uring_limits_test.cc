// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <deque>
#include <functional>
#include <iostream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>
#include <io/uring_bed.hh>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace weir::io {

namespace {

using conformance::run;
using conformance::turn_until;
using conformance::waiter;

/// Runs `check` in a process of its own, which may give up rights.
/// returns  whether it held; says on stderr what did not
bool in_child(const std::function<std::string()>& check) {
    std::cout.flush();
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        std::string wrong;
        try {
            wrong = check();
        } catch (const std::exception& failure) {
            wrong = failure.what();
        }
        if (!wrong.empty()) {
            std::cerr << "in the child: " << wrong << std::endl;
        }
        _exit(wrong.empty() ? 0 : 1);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool filter_system_calls(std::span<sock_filter> program) {
    const sock_fprog filter{.len = static_cast<unsigned short>(program.size()),
                            .filter = program.data()};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/// Makes io_uring_setup fail with `cause` for this process.
bool forbid_io_uring(int cause) {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(cause)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    return filter_system_calls(program);
}

/// Makes it have no buffer rings, as Linux 5.18.
bool forbid_buffer_rings() {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_register, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IORING_REGISTER_PBUF_RING, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    return filter_system_calls(program);
}

/// Lets nobody start a thread.
bool forbid_threads() {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone3, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    return filter_system_calls(program);
}

/// What is wrong with how a ring is refused.
std::string refusal(bool forbidden, int cause, std::string_view word) {
    if (!forbidden) {
        return "no seccomp here";
    }
    thread_pool pool;
    try {
        make_uring({}, pool, cycle_counter::monotonic());
    } catch (const error& failure) {
        const std::string_view said = failure.what();
        return failure.is_errno(cause) && said.find(word) != said.npos ? "" : std::string(said);
    }
    return "the ring was set up";
}

}  // namespace

TEST_SUITE("io/uring limits") {
    TEST_CASE(
        "operations beyond the limit wait in line, in order, and sockets don't hold up files") {
        auto options = uring_bed::small_buffers();
        options.files_in_flight = 2;
        options.sockets_in_flight = 1;
        uring_bed bed(options);
        int ends[2];
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
        char bytes[2];
        waiter first{op::receive_into{ends[0], &bytes[0], 1}};
        waiter second{op::receive_into{ends[0], &bytes[1], 1}};
        bed.ring->start(first);
        bed.ring->start(second);
        CHECK(bed.statistics().sockets_in_flight == 1);
        CHECK(bed.statistics().waiting == 1);
        std::deque<waiter> files;
        for (int i = 0; i < 10; ++i) {
            bed.ring->start(files.emplace_back(op::nop{}));
        }
        CHECK(bed.statistics().files_in_flight == 2);
        CHECK(bed.statistics().waiting == 9);
        turn_until(bed, [&] { return files.back().done; });
        CHECK(!first.done);
        CHECK(bed.statistics().waiting == 1);
        REQUIRE(send(ends[1], "ab", 2, 0) == 2);
        turn_until(bed, [&] { return second.done; });
        CHECK(bytes[0] == 'a');
        CHECK(bytes[1] == 'b');
        CHECK(bed.statistics().waited == 9);
        CHECK(bed.statistics().waiting == 0);
        for (const int end : ends) {
            CHECK(run(bed, op::close{end}) == 0);
        }
    }

    TEST_CASE("an operation in line can be cancelled") {
        auto options = uring_bed::small_buffers();
        options.sockets_in_flight = 1;
        uring_bed bed(options);
        int ends[2];
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
        char byte;
        waiter first{op::receive_into{ends[0], &byte, 1}};
        waiter second{op::receive_into{ends[0], &byte, 1}};
        bed.ring->start(first);
        bed.ring->start(second);
        bed.ring->cancel(second);
        CHECK(!second.done);
        turn_until(bed, [&] { return second.done; });
        CHECK(second.result() == -ECANCELED);
        CHECK(!first.done);
        bed.ring->cancel_all();
        turn_until(bed, [&] { return first.done; });
        CHECK(first.result() == -ECANCELED);
        for (const int end : ends) {
            CHECK(run(bed, op::close{end}) == 0);
        }
    }

    TEST_CASE("completions beyond the queue are kept, counted and delivered") {
        auto options = uring_bed::small_buffers();
        options.entries = 8;  // and 16 completions
        uring_bed bed(options);
        std::deque<waiter> files;
        for (int i = 0; i < 200; ++i) {
            bed.ring->start(files.emplace_back(op::nop{}));
        }
        turn_until(bed, [&] { return std::ranges::all_of(files, &waiter::done); });
        CHECK(bed.statistics().overflows > 0);
        CHECK(bed.statistics().completed == 200);
    }

    TEST_CASE("stop ends what is under way, drops it, and leaks no descriptor") {
        const int lowest = dup(0);
        REQUIRE(lowest >= 0);
        ::close(lowest);
        {
            uring_bed bed;
            auto pair = conformance::connect_pair(bed);
            char byte;
            waiter into{op::receive_into{pair.client, &byte, 1}};
            waiter lent{op::receive{pair.server}};
            socklen_t length;
            auto address = bed.any_port(length);
            waiter listening{op::listen{&address, length}};
            std::vector<std::string> names;
            const std::string path = bed.directory();
            waiter listing{op::list_directory{path.c_str(), &names}};
            for (auto* each : {&into, &lent, &listening, &listing}) {
                bed.ring->start(*each);
            }
            bed.ring->submit();
            bed.ring->stop();
            CHECK(bed.statistics().abandoned == 4);
            for (const auto* each : {&into, &lent, &listening, &listing}) {
                CHECK(each->outcomes.empty());
            }
            ::close(pair.client);
            ::close(pair.server);
        }
        const int again = dup(0);
        CHECK(again == lowest);
        ::close(again);
    }

    TEST_CASE("a ring that locked memory does not allow is made smaller, and says so") {
        CHECK(in_child([]() -> std::string {
            const rlimit little{64 << 10, 64 << 10};
            // Only a process without CAP_IPC_LOCK has a limit.
            if (setrlimit(RLIMIT_MEMLOCK, &little) != 0 ||
                (getuid() == 0 && setresuid(65'534, 65'534, 65'534) != 0)) {
                return "can't give up rights";
            }
            uring_options options;
            options.entries = 16'384;
            thread_pool pool;
            const auto ring = make_uring(options, pool, cycle_counter::monotonic());
            auto told = ring->description();
            if (told.find("locked memory allows no more") == told.npos) {
                return told;
            }
            waiter waiting{op::nop{}};
            ring->start(waiting);
            ring->park(never);
            ring->poll();
            return waiting.done ? "" : "the small ring does not work";
        }));
    }

    TEST_CASE("limits that can't work are refused by name") {
        thread_pool pool;
        const auto refused = [&](const uring_options& options, std::string_view name) {
            try {
                make_uring(options, pool, cycle_counter::monotonic());
            } catch (const error& failure) {
                return failure.is(errc::malformed) && failure.subject().find(name) != name.npos;
            }
            return false;
        };
        CHECK(refused({.receive_buffers = 3}, "receive_buffers"));
        CHECK(refused({.receive_buffers = 1 << 16}, "receive_buffers"));
        CHECK(refused({.receive_buffer_bytes = 0}, "receive_buffer_bytes"));
        CHECK(refused({.files_in_flight = 0}, "files_in_flight"));
    }

    TEST_CASE("a forbidden io_uring fails with the cause and the remedy") {
        CHECK(in_child([] { return refusal(forbid_io_uring(EPERM), EPERM, "seccomp"); }));
        CHECK(in_child([] { return refusal(forbid_io_uring(ENOSYS), ENOSYS, "Linux 6.1"); }));
        CHECK(in_child([] { return refusal(forbid_io_uring(ENOMEM), ENOMEM, "ulimit -l"); }));
        CHECK(in_child([] { return refusal(forbid_io_uring(EMFILE), EMFILE, "ulimit -n"); }));
    }

    TEST_CASE("where no further thread can be started, the pool's first does the work") {
        CHECK(in_child([]() -> std::string {
            uring_bed bed;
            if (!forbid_threads()) {
                return "no seccomp here";
            }
            std::vector<std::string> names;
            for (int i = 0; i < 3; ++i) {
                if (run(bed, op::list_directory{"/", &names}) != 0 || names.empty()) {
                    return "the list was not made";
                }
            }
            const auto& counted = bed.statistics();
            if (counted.files_in_flight != 0 || counted.started != counted.completed) {
                return "something is under way still";
            }
            return run(bed, op::nop{}) == 0 ? "" : "the ring is of no use";
        }));
    }

    TEST_CASE(
        "a kernel without buffer rings is told by the constructor, not by the first receive") {
        CHECK(in_child([] { return refusal(forbid_buffer_rings(), EINVAL, "buffer rings"); }));
    }
}

}  // namespace weir::io
