// SPDX-License-Identifier: Apache-2.0
#include <support/pipeline_app.hh>

#include <memory>

#include <CLI/CLI.hpp>

#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>

namespace apps {

using namespace weir;

void add_options(CLI::App& to, pipeline_options& options) {
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
}

future<bool> run_to_end(pipeline::program what, pipeline::deploy_options how) {
    host& own = this_host();
    const auto deployed = co_await pipeline::deploy(std::move(what), std::move(how));
    bool over = false;
    bool early = false;
    auto stopping = own.until_stop().then([&] {
        early = !over;
        return deployed->stop();
    });
    // It must not come later than the deployment's end: without a signal, we ask ourselves.
    auto joined = deployed->join().finally([&] {
        over = true;
        own.request_stop();
    });
    co_await std::move(joined).finally([&] { return std::move(stopping); });
    co_return !early;
}

}  // namespace apps
