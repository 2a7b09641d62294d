// SPDX-License-Identifier: Apache-2.0
// A service built against the installed library in each of the three ways: it says where it is,
// answers one request and stops.
#include <cstdio>

#include <weir/core/coroutine.hh>
#include <weir/io/run.hh>
#include <weir/net/http.hh>

using namespace weir;

future<> serve(host& own) {
    net::http_server server;
    server.route("/", [&own](const net::http_request&) {
        own.request_stop();
        return make_ready_future<net::http_response>(net::http_response{.body = "installed\n"});
    });
    co_await server.start(net::address::loopback(0));
    std::puts(server.where().to_string().c_str());
    std::fflush(stdout);
    co_await own.until_stop().finally([&server] { return server.stop(); });
}

int main() {
    io::run_options options;
    options.placement.shards = 1;
    return io::run(options, serve);
}
