// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstring>

#include <doctest/doctest.h>
#include <io/conformance.hh>
#include <netinet/in.h>

namespace weir::io::conformance {

namespace {

struct listener {
    explicit listener(test_bed& bed) {
        address = bed.any_port(length);
        fd = run(bed, op::listen{&address, length});
        REQUIRE(fd >= 0);
    }
    sockaddr_storage address;
    socklen_t length = 0;
    int fd = -1;
};

std::uint16_t port_of(const sockaddr_storage& address) {
    sockaddr_in in;
    std::memcpy(&in, &address, sizeof in);
    return ntohs(in.sin_port);
}

std::int32_t send_text(test_bed& bed, int fd, std::string text) {
    const iovec part{text.data(), text.size()};
    return run(bed, op::send{fd, &part, 1});
}

/// Takes the text out of all completions of a receive and gives the buffers back.
std::string take_text(test_bed& bed, waiter& receiving) {
    std::string text;
    for (auto& outcome : receiving.outcomes) {
        if (outcome.result > 0) {
            REQUIRE(outcome.buffer.data != nullptr);
            REQUIRE(outcome.buffer.length == static_cast<std::uint32_t>(outcome.result));
            text.append(reinterpret_cast<const char*>(outcome.buffer.data), outcome.buffer.length);
            bed.tested().release(outcome.buffer);
        }
    }
    receiving.outcomes.clear();
    return text;
}

void close_both(test_bed& bed, connection pair) {
    CHECK(run(bed, op::close{pair.client}) == 0);
    CHECK(run(bed, op::close{pair.server}) == 0);
}

void cancel_and_wait(test_bed& bed, waiter& waiting) {
    bed.tested().cancel(waiting);
    turn_until(bed, [&] { return waiting.done; });
    CHECK(waiting.result() == -ECANCELED);
}

void one_accept_takes_many(test_bed& bed) {
    listener listening(bed);
    CHECK(port_of(listening.address) != 0);
    waiter accepting{op::accept{listening.fd}};
    bed.tested().start(accepting);
    std::vector<int> clients;
    for (int i = 0; i < 3; ++i) {
        clients.push_back(run(bed, op::connect{&listening.address, listening.length}));
        REQUIRE(clients.back() >= 0);
    }
    turn_until(bed, [&] { return accepting.outcomes.size() == 3; });
    for (std::size_t i = 0; i < 3; ++i) {
        const int server = accepting.outcomes[i].result;
        CHECK(accepting.outcomes[i].more);
        REQUIRE(server >= 0);
        sockaddr_storage theirs{}, ours{};
        CHECK(run(bed, op::socket_name{server, true, &theirs}) == 0);
        CHECK(run(bed, op::socket_name{clients[i], false, &ours}) == 0);
        CHECK(port_of(theirs) == port_of(ours));
        CHECK(run(bed, op::socket_name{clients[i], true, &theirs}) == 0);
        CHECK(port_of(theirs) == port_of(listening.address));
        close_both(bed, {clients[i], server});
    }
    CHECK(!accepting.done);
    cancel_and_wait(bed, accepting);
    CHECK(run(bed, op::close{listening.fd}) == 0);
}

void two_listeners_share_a_port(test_bed& bed) {
    listener first(bed);
    auto address = first.address;
    const int second = run(bed, op::listen{&address, first.length});
    CHECK(second >= 0);
    CHECK(port_of(address) == port_of(first.address));
    CHECK(run(bed, op::close{second}) == 0);
    CHECK(run(bed, op::close{first.fd}) == 0);
}

void refused_without_listener(test_bed& bed) {
    listener gone(bed);
    CHECK(run(bed, op::close{gone.fd}) == 0);
    CHECK(run(bed, op::connect{&gone.address, gone.length}) == -ECONNREFUSED);
}

void bytes_arrive_and_end(test_bed& bed) {
    const auto pair = connect_pair(bed);
    waiter receiving{op::receive{pair.server}};
    bed.tested().start(receiving);
    std::string text;
    for (const char* word : {"one ", "two ", "three"}) {
        CHECK(send_text(bed, pair.client, word) == static_cast<std::int32_t>(strlen(word)));
        const auto wanted = text + word;
        turn_until(bed, [&] {
            text += take_text(bed, receiving);
            return text == wanted;
        });
        CHECK(!receiving.done);
    }
    CHECK(run(bed, op::shutdown{pair.client, SHUT_WR}) == 0);
    turn_until(bed, [&] { return receiving.done; });
    CHECK(receiving.result() == 0);
    CHECK(receiving.outcomes.back().buffer.data == nullptr);
    // Half closed: the other direction still works.
    CHECK(send_text(bed, pair.server, "late") == 4);
    std::string late;
    while (late.size() < 4) {  // a stream: the four bytes may come one by one
        char part[8];
        const auto count = run(bed, op::receive_into{pair.client, part, sizeof part});
        REQUIRE(count > 0);
        late.append(part, static_cast<std::size_t>(count));
    }
    CHECK(late == "late");
    CHECK(run(bed, op::close{pair.server}) == 0);
    char more;
    CHECK(run(bed, op::receive_into{pair.client, &more, 1}) == 0);
    CHECK(run(bed, op::close{pair.client}) == 0);
}

void large_sends_arrive_whole(test_bed& bed, bool zero_copy) {
    const auto pair = connect_pair(bed);
    std::string sent(1 << 20, '\0');
    for (std::size_t i = 0; i < sent.size(); ++i) {
        sent[i] = static_cast<char>(i * 2654435761U >> 24);
    }
    std::string received;
    waiter receiving{op::receive{pair.server}};
    bed.tested().start(receiving);
    const auto drain = [&] {
        received += take_text(bed, receiving);
        if (receiving.done) {
            receiving.done = false;
            bed.tested().start(receiving);
        }
    };
    for (std::size_t offset = 0; offset < sent.size();) {
        const auto rest = sent.size() - offset;
        const iovec parts[] = {{&sent[offset], rest / 2},
                               {&sent[offset + rest / 2], rest - rest / 2}};
        waiter sending{op::send{pair.client, parts, 2, zero_copy}};
        bed.tested().start(sending);
        turn_until(bed, [&] {
            drain();
            return sending.done;
        });
        REQUIRE(sending.outcomes.size() == 1);
        REQUIRE(sending.result() > 0);
        offset += static_cast<std::size_t>(sending.result());
    }
    turn_until(bed, [&] {
        drain();
        return received.size() >= sent.size();
    });
    CHECK((received == sent));
    cancel_and_wait(bed, receiving);
    close_both(bed, pair);
}

void copied_sends(test_bed& bed) {
    large_sends_arrive_whole(bed, false);
}

void zero_copy_sends(test_bed& bed) {
    large_sends_arrive_whole(bed, true);
}

void out_of_buffers(test_bed& bed) {
    const auto pair = connect_pair(bed);
    waiter receiving{op::receive{pair.server}};
    bed.tested().start(receiving);
    // The peer sends until every buffer is lent; how many there are is the backend's matter.
    std::string block(64 << 10, 'x');
    const iovec part{block.data(), block.size()};
    waiter sending{op::send{pair.client, &part, 1}};
    std::size_t sent = 0;
    const auto send_more = [&] {
        if (!sending.outcomes.empty()) {
            REQUIRE(sending.result() > 0);
            sent += static_cast<std::size_t>(sending.result());
            sending.outcomes.clear();
            bed.tested().start(sending);
        }
    };
    bed.tested().start(sending);
    turn_until(bed, [&] {
        send_more();
        return receiving.done && receiving.result() == -ENOBUFS;
    });
    REQUIRE(receiving.outcomes.size() > 1);
    auto received = take_text(bed, receiving).size();
    waiter again{op::receive{pair.server}};
    bed.tested().start(again);
    turn_until(bed, [&] {
        received += take_text(bed, again).size();
        return !sending.outcomes.empty();
    });
    sent += static_cast<std::size_t>(sending.result());
    turn_until(bed, [&] {
        received += take_text(bed, again).size();
        if (again.done) {
            again.done = false;
            bed.tested().start(again);
        }
        return received == sent;
    });
    cancel_and_wait(bed, again);
    close_both(bed, pair);
}

void waiting_operations_cancel(test_bed& bed) {
    const auto pair = connect_pair(bed);
    char byte;
    waiter into{op::receive_into{pair.client, &byte, 1}};
    waiter lent{op::receive{pair.server}};
    bed.tested().start(into);
    bed.tested().start(lent);
    // Before it was ever submitted, and after.
    cancel_and_wait(bed, into);
    cancel_and_wait(bed, lent);
    // An operation that has completed takes no notice.
    bed.tested().cancel(lent);
    CHECK(run(bed, op::nop{}) == 0);
    CHECK(lent.outcomes.size() == 1);
    close_both(bed, pair);
}

void broken_pipe(test_bed& bed) {
    const auto pair = connect_pair(bed);
    CHECK(run(bed, op::close{pair.server}) == 0);
    std::int32_t result = 1;
    for (int i = 0; i < 1'000 && result > 0; ++i) {
        result = send_text(bed, pair.client, "to nobody");
    }
    CHECK((result == -EPIPE || result == -ECONNRESET));
    CHECK(run(bed, op::close{pair.client}) == 0);
}

void streams_have_no_offset(test_bed& bed) {
    const auto pair = connect_pair(bed);
    char first[] = "with";
    char second[] = "out";
    const iovec parts[] = {{first, 4}, {second, 3}};
    std::string text;
    waiter reading{op::read_stream{pair.server, first, 4}};
    bed.tested().start(reading);
    CHECK(run(bed, op::nop{}) == 0);
    CHECK(!reading.done);
    cancel_and_wait(bed, reading);
    CHECK(run(bed, op::write_stream{pair.client, parts, 2}) == 7);
    CHECK(run(bed, op::write_stream{pair.client, parts + 1, 1}) == 3);
    CHECK(run(bed, op::shutdown{pair.client, SHUT_WR}) == 0);
    for (;;) {
        char some[3];
        const auto count = run(bed, op::read_stream{pair.server, some, sizeof some});
        REQUIRE(count >= 0);
        if (count == 0) {
            break;
        }
        text.append(some, static_cast<std::size_t>(count));
    }
    CHECK(text == "withoutout");
    close_both(bed, pair);
}

void not_a_socket(test_bed& bed) {
    const auto path = bed.directory() + "/file";
    const int fd = run(bed, op::open{.path = path.c_str(), .create = true});
    char byte;
    CHECK(run(bed, op::receive_into{fd, &byte, 1}) == -ENOTSOCK);
    CHECK(run(bed, op::accept{fd}) == -ENOTSOCK);
    CHECK(run(bed, op::shutdown{fd, SHUT_WR}) == -ENOTSOCK);
    CHECK(run(bed, op::close{fd}) == 0);
    sockaddr_storage address;
    CHECK(run(bed, op::socket_name{fd, false, &address}) == -EBADF);
}

void overlaps_are_refused(test_bed& bed) {
    listener narrow(bed);
    sockaddr_in wide{};
    wide.sin_family = AF_INET;
    wide.sin_port = htons(port_of(narrow.address));
    sockaddr_storage everywhere{};
    std::memcpy(&everywhere, &wide, sizeof wide);
    CHECK(run(bed, op::listen{&everywhere, sizeof wide}) == -EADDRINUSE);
    CHECK(run(bed, op::close{narrow.fd}) == 0);
    const int fd = run(bed, op::listen{&everywhere, sizeof wide});
    CHECK(fd >= 0);
    CHECK(run(bed, op::listen{&narrow.address, narrow.length}) == -EADDRINUSE);
    CHECK(run(bed, op::close{fd}) == 0);
}

constexpr entry cases[] = {
    {"a stream is read and written without an offset, and a wait for it can be cancelled",
     streams_have_no_offset},
    {"one accept takes every connection, and a socket knows its names", one_accept_takes_many},
    {"two listeners share a port", two_listeners_share_a_port},
    {"a listener on an address that takes in another's is refused", overlaps_are_refused},
    {"a connection to nobody is refused", refused_without_listener},
    {"bytes arrive in order, and a half close ends one direction", bytes_arrive_and_end},
    {"a mebibyte in two parts arrives whole", copied_sends},
    {"a mebibyte sent without copies arrives whole and completes once", zero_copy_sends},
    {"a receiver out of buffers is told, and goes on when some came back", out_of_buffers},
    {"operations that wait can be cancelled and still complete", waiting_operations_cancel},
    {"a send to a closed peer fails and raises no signal", broken_pipe},
    {"a file is not a socket", not_a_socket},
};

}  // namespace

connection connect_pair(test_bed& bed) {
    listener listening(bed);
    waiter accepting{op::accept{listening.fd}};
    bed.tested().start(accepting);
    const int client = run(bed, op::connect{&listening.address, listening.length});
    REQUIRE(client >= 0);
    turn_until(bed, [&] { return !accepting.outcomes.empty(); });
    const int server = accepting.outcomes.front().result;
    REQUIRE(server >= 0);
    cancel_and_wait(bed, accepting);
    CHECK(run(bed, op::close{listening.fd}) == 0);
    return {client, server};
}

std::span<const entry> socket_cases() {
    return cases;
}

}  // namespace weir::io::conformance
