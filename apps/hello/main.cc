// SPDX-License-Identifier: Apache-2.0
// An HTTP service on every core: the smallest whole application.
#include <exception>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <weir/core/closing.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/sharded.hh>
#include <weir/io/run.hh>
#include <weir/net/http.hh>

namespace {

constexpr const char* about =
    "Answers \"Hello, world!\" over HTTP on every core that it may use. Each core is a shard with\n"
    "its own listener on the same port; the kernel spreads the connections.";

constexpr const char* examples =
    "Examples:\n"
    "  weir-hello --port 8080                  then: curl http://127.0.0.1:8080/\n"
    "  taskset -c 0 weir-hello --shards 1      one core, for a benchmark\n"
    "Ctrl-C stops it: what is under way is answered first, a second Ctrl-C ends it at once.\n";

}  // namespace

// [hello]
using namespace weir;

future<net::http_response> hello(const net::http_request&) {
    return make_ready_future<net::http_response>(
        net::http_response{.content_type = "text/plain", .body = "Hello, world!\n"});
}

// The service is a function of a host: it runs on this machine, or in the simulator.
future<> serve(host& own, net::address at) {
    sharded<net::http_server> servers;
    co_await servers.start(net::http_options{});
    co_await with_closing(servers, [&own, at](auto& all) -> future<> {
        co_await all.invoke_on_all([at](net::http_server& server) {
            server.route("/", hello);
            return server.start(at);
        });
        co_await own.until_stop();
    });
}

int run(int argc, char** argv) {
    io::run_options options;
    auto at = net::address::loopback(8080);
    CLI::App app(about, "weir-hello");
    app.footer(examples);
    app.add_option_function<std::uint16_t>(
        "--port", [&](auto port) { at.set_port(port); }, "Port to listen on; default: 8080");
    app.add_option("--shards", options.placement.shards, "Cores to use; default: all");
    app.add_flag_callback(
        "--no-spin", [&] { options.host.shard.spin_max = {}; }, "Sleep as soon as idle");
    CLI11_PARSE(app, argc, argv);
    return io::run(options, [at](host& own) { return serve(own, at); });
}
// [/hello]

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& e) {
    fmt::print(stderr, "weir-hello: {}\n", e.what());
    return 1;
}
