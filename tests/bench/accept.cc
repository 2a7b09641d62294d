// SPDX-License-Identifier: Apache-2.0
// How soon connections that wait are accepted, on an idle shard and beside tasks that keep it busy.
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include <bench/harness.hh>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weir/core/coroutine.hh>
#include <weir/io/run.hh>
#include <weir/net/listener.hh>

using namespace weir;
using namespace weir::bench;

namespace {

constexpr std::size_t connections = 1000;

class quiet final : public log_sink {
    void write(const log_line&) noexcept override {}
};

/// Connects without a shard: the kernel completes it whether or not somebody accepts.
class waiting_clients {
  public:
    explicit waiting_clients(const net::address& at) {
        for (std::size_t i = 0; i < connections; ++i) {
            const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            _sockets.push_back(fd);
            if (fd < 0 ||
                ::connect(fd, reinterpret_cast<const sockaddr*>(&at.raw()), at.raw_length()) != 0) {
                throw std::runtime_error("connect: is the limit of descriptors below 4096?");
            }
        }
    }
    waiting_clients(const waiting_clients&) = delete;
    waiting_clients& operator=(const waiting_clients&) = delete;
    ~waiting_clients() {
        for (const int fd : _sockets) {
            ::close(fd);
        }
    }

  private:
    std::vector<int> _sockets;
};

/// Steps of this length, and between them others may run.
future<> keep_busy(std::int64_t step_ns, const bool& stop) {
    while (!stop) {
        for (const std::int64_t end = now_ns() + step_ns; now_ns() < end;) {
        }
        co_await yield();
    }
}

future<> accept_all(std::int64_t step_ns, row& into) {
    auto from = co_await net::listener::listen(net::address::loopback(0));
    const waiting_clients clients(from->where());
    bool stop = step_ns == 0;
    future<> busy = keep_busy(step_ns, stop);
    const std::int64_t began = now_ns();
    std::vector<std::unique_ptr<net::connection>> accepted;
    while (accepted.size() < connections) {
        accepted.push_back(co_await from->accept());
    }
    into.ours(static_cast<double>(now_ns() - began) / 1e6);
    stop = true;
    co_await std::move(busy);
    for (auto& each : accepted) {
        co_await each->close();
    }
    co_await from->close();
}

void measure(report& out, const char* name, std::int64_t step_ns) {
    if (!out.wanted(name)) {
        return;
    }
    row& time = out.add(name, "ms", better::lower);
    out.alternate([&] {
        quiet log;
        io::run_options options;
        options.host.log = &log;
        options.placement.shards = 1;
        io::run(options, [&](host&) { return accept_all(step_ns, time); });
    });
}

}  // namespace

int main(int argc, char** argv) {
    report out("accept", "A thousand connections that wait");
    if (const auto status = out.parse(argc, argv)) {
        return *status;
    }
    rlimit files{};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    measure(out, "accept.idle", 0);
    measure(out, "accept.beside.20us", 20'000);
    measure(out, "accept.beside.100us", 100'000);
    measure(out, "accept.beside.1ms", 1'000'000);
    out.note("Milliseconds until all thousand are taken, beside steps of that length that yield.");
    return out.finish();
}
