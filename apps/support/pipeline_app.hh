// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <weir/io/run.hh>
#include <weir/pipeline/watch.hh>

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11's
class App;       // NOLINT(readability-identifier-naming): CLI11's
}

// What the small applications that each run pipelines have in common.
namespace apps {

struct pipeline_options {
    weir::io::run_options run;
    weir::pipeline::deploy_options deploy;
    weir::pipeline::watching watch;
};

/// Adds the options of the machine, of the deployment and of its recorder.
/// title    of a recording
void add_options(CLI::App& to, pipeline_options& options, std::string title);

/// Deploys a program on the host's shards, recorded if that was asked for, and waits for its end,
/// or, once the host is asked to stop, ends its source early; then the host is to stop, too. Once
/// for each host.
/// returns  false if it was ended early
weir::future<bool> run_to_end(weir::pipeline::program what, pipeline_options options);

}  // namespace apps
