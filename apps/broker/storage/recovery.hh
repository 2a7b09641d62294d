// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <broker/storage/log_mark.hh>
#include <broker/storage/options.hh>
#include <broker/storage/segment.hh>

#include <weir/core/future.hh>

namespace weir::broker {

using segment_list = std::vector<std::unique_ptr<segment>>;

/// Makes a partition's directory whole again, whatever stopped its last writer, and says what is
/// in it: segments that join without a gap, every byte of them durable, all sealed but the last,
/// which may be left open.
///     sealed        the last batch is where the index's end says and ends the file: trusted. Else
///                   the whole file is walked; if it is good, the index files are written again.
///     open, inner   walked; zeros, or junk that was to become zeros, may follow its data, and its
///                   end must join the next segment.
///     open, last    walked from the mark, if that can be trusted, and left open: what lies before
///                   is known to be there. Else walked whole; what follows the last good batch is a
///                   torn commit and is cut, unless good batches lie farther than one largest
///                   commit: then it is damage.
/// marked   what is known to have been acknowledged: nothing is cut below, and nothing at all where
///          the mark was spoilt
/// give_up  once triggered it ends with its reason, between two batches; null: never
/// returns  empty for an empty directory
/// fails    errc::corrupt, naming file and position, where acknowledged data may be lost
/// cost     a page of data and one of each index file for a sealed segment; of an open one what is
/// above the
///          mark, and a little; all bytes of one without a mark to trust, or in a crash within a
///          roll
future<segment_list> recover(std::string directory, const log_options& options,
                             log_metrics& metrics, const found_mark& marked = {},
                             abort_source* give_up = nullptr);

/// Looks at all that follows a segment which recover() left open, before anything is written there
/// or it is sealed: judges it as recover() would have, and cuts what is torn.
/// fails    errc::corrupt, likewise
/// cost     reads to the end of the file, a step of zeroes ahead
future<> prove_tail(std::string directory, segment& of, const log_options& options,
                    log_metrics& metrics);

/// Walks what recover() left to the mark. What is damaged there is named in a line and counted; the
/// index knows of the good batches before and behind it.
/// until    segment::unwalked, and its offset
/// pace     if there is one, it is read at log_options::walk_bytes_a_second until this is requested
future<segment_index> index_start(std::string directory, std::int64_t base_offset,
                                  std::uint64_t until, std::int64_t until_offset,
                                  const log_options& options, log_metrics& metrics,
                                  abort_source* pace, abort_source& give_up);

}  // namespace weir::broker
