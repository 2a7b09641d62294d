// SPDX-License-Identifier: Apache-2.0
#include <support/pipeline_app.hh>

#include <CLI/CLI.hpp>

#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>

namespace apps {

using namespace weir;

void add_options(CLI::App& to, pipeline_options& options, std::string title) {
    // What these say goes to a terminal, where it is the result that counts.
    options.run.host.logging.level = log_level::warning;
    to.add_option_function<unsigned>(
        "--shards",
        [&options](unsigned count) {
            options.run.placement.shards = count;
            // Stages that wait for more than one another run well on fewer cores, too.
            options.run.placement.allow_overcommit = true;
        },
        "Cores to use, or more shards than there are cores; default: all cores");
    to.add_option("--capacity", options.deploy.capacity, "Elements of each ring")
        ->capture_default_str();
    to.add_option("--batch", options.deploy.batch, "Elements that a stage handles at once")
        ->capture_default_str();
    to.add_flag_callback(
        "--pack", [&options] { options.deploy.where.how = pipeline::placement::policy::pack; },
        "All stages on one core, where neighbours become one; copies of a shard are spread");
    options.watch.recording.title = std::move(title);
    to.add_option("--record", options.watch.record,
                  "SVG file to write, which plays the run in a browser");
    to.add_option("--record-elements", options.watch.recording.elements,
                  "Show the newest so many elements of each ring in it; default: none");
}

future<bool> run_to_end(pipeline::program what, pipeline_options options) {
    host& own = this_host();
    options.deploy.paused = true;  // until who watches is there
    const auto deployed = co_await pipeline::deploy(std::move(what), std::move(options.deploy));
    bool early = false;
    auto stopping = own.until_stop().then([&] {
        early = !deployed->joined();
        return deployed->stop();
    });
    // The stop must not come later than the deployment's end: without a signal, we ask ourselves.
    co_await pipeline::join_watched(*deployed, std::move(options.watch)).finally([&] {
        own.request_stop();
        return std::move(stopping);
    });
    co_return !early;
}

}  // namespace apps
