// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include <unistd.h>

#include <weir/pipeline/bytes.hh>

// Descriptors that the process has already at the ends of pipelines: the standard input and
// output, other pipes. They may be pipes, terminals or files; no shard ever waits for them. They
// are not closed, and only one pipeline may use one at a time.
namespace weir::pipeline {

struct descriptor_options {
    std::string name = "descriptor";        ///< for errors
    std::size_t buffer_bytes = 128 * 1024;  ///< of one read
    line_options lines{};
};

/// For blocks_from() and lines_from(), lines_to() and blocks_to().
make_reader descriptor_reader(int fd, descriptor_options options);
make_writer descriptor_writer(int fd, std::string name);

/// What comes from a descriptor, as soon as it comes. Offsets count from its position now.
source_of<block> descriptor_blocks(int fd, descriptor_options options = {});
source_of<line> descriptor_lines(int fd, descriptor_options options = {});

inline source_of<block> stdin_blocks() {
    return descriptor_blocks(STDIN_FILENO, {.name = "stdin"});
}
inline source_of<line> stdin_lines(line_options lines = {}) {
    return descriptor_lines(STDIN_FILENO, {.name = "stdin", .lines = lines});
}

/// Writes elements, which are text, as lines. Once nobody reads the descriptor any more (EPIPE),
/// the pipeline fails and its source ends.
inline auto stdout_lines() {
    return lines_to("stdout", descriptor_writer(STDOUT_FILENO, "stdout"));
}
inline auto stdout_blocks() {
    return blocks_to("stdout", descriptor_writer(STDOUT_FILENO, "stdout"));
}

}  // namespace weir::pipeline
