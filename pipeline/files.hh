// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include <weir/io/stream.hh>
#include <weir/pipeline/bytes.hh>

// Files at the ends of pipelines. They are opened when the pipeline begins, on the shard of the
// source or sink; what goes wrong fails the pipeline with an error that names operation and path.
namespace weir::pipeline {

struct file_options {
    std::uint64_t offset = 0;  ///< where to begin: the next_offset() of a block or line, say
    io::stream_options read{.buffer_bytes = 256 * 1024, .depth = 4};  ///< sizes of blocks, ahead
    line_options lines{};
};

/// The blocks of a file, in order, some of them read ahead. The ring behind the source holds
/// `capacity` of them: choose it by the memory that they may take.
source_of<block> file_blocks(std::string path, file_options options = {});
/// The lines of a file.
source_of<line> file_lines(std::string path, file_options options = {});

/// For lines_to() and blocks_to().
make_writer file_writer(std::string path, io::stream_options options = {});

/// Writes elements, which are text, as the lines of a file, which is made or replaced. Once the
/// pipeline has ended well they are durable.
inline auto lines_to_file(std::string path, io::stream_options options = {}) {
    return lines_to("file", file_writer(std::move(path), options));
}
/// Writes blocks, or other texts, one after the other to a file.
inline auto blocks_to_file(std::string path, io::stream_options options = {}) {
    return blocks_to("file", file_writer(std::move(path), options));
}

}  // namespace weir::pipeline
