// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <weir/pipeline/element.hh>
#include <weir/pipeline/kernel.hh>
#include <weir/pipeline/stream.hh>

namespace weir::pipeline {

/// How many elements come out.
enum class rate : std::uint8_t {
    one,   ///< one for each that goes in
    once,  ///< one at the end, however many went in
    any,   ///< nobody knows
};

struct node;
using node_ptr = std::shared_ptr<const node>;

/// Elements that lie in columns and outlive whoever looks at them.
struct constants {
    std::size_t count = 0;
    std::vector<const std::byte*> columns{};
    std::shared_ptr<const void> owner{};
};

/// A pipeline as data: what combinators build, and what is deployed, drawn and taken apart. It
/// never changes once it is built, so that all shards can read it.
struct node {
    enum class form : std::uint8_t {
        id,
        work,       ///< a stage with a kernel
        async,      ///< a stage with an async_kernel
        sequence,   ///< of[0], then of[1]
        both,       ///< of[0] on the first half of each pair, of[1] on the second
        fanout,     ///< of[0] and of[1] on the same elements
        choose,     ///< of[0] on the left ones, of[1] on the right ones
        merge,      ///< as choose, and their results as one
        shard,      ///< copies of of[0], dealt to by place
        key_shard,  ///< copies of of[0], dealt to by tag; `make` makes the tags
        loop,       ///< of[0], with the second half of its results fed back
        group,      ///< of[0] under a name
    };

    form kind = form::id;
    std::string name{};
    const element_type* in = nullptr;
    const element_type* out = nullptr;
    std::vector<node_ptr> of{};

    /// work: its kernel; sequence: that of both as one loop, if there is one; key_shard: element to
    /// tag; loop: copies what is fed back.
    /// thread   the shard where the stage will run
    std::function<std::unique_ptr<kernel>()> make{};
    std::function<std::unique_ptr<async_kernel>()> make_async{};
    bool fuses = false;                    ///< work: never gives more than it gets
    bool holds = false;                    ///< work: gives what it kept at the end
    std::size_t window = 0;                ///< async: elements under way
    bool ordered = true;                   ///< async
    dealing deal{};                        ///< shard, key_shard (block unused)
    constants initial{};                   ///< loop
    const element_type* copied = nullptr;  ///< loop: what is fed back
    node_ptr copier{};  ///< choose, merge, shard, key_shard: gives what it gets; null: no copies
};

/// A source, a pipeline and a sink: what can be deployed.
struct program {
    std::string source_name{};
    std::function<std::unique_ptr<source>()> make_source{};
    node_ptr body{};
    std::string sink_name{};
    std::function<std::unique_ptr<sink>()> make_sink{};
    /// All of it as one loop; null where that can't be.
    std::function<std::unique_ptr<program_loop>()> make_loop{};
};

}  // namespace weir::pipeline
