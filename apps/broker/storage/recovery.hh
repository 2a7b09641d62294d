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
/// in it: segments that join without a gap, all sealed, every byte of them durable.
///     sealed        the last batch is where the index says and ends the file: trusted. Else the
///                   whole file is walked; if it is good, the index files are written again.
///     open, inner   walked; zeros may follow its data, and its end must join the next segment.
///     open, last    walked; what follows the last good batch is a torn commit and is cut, unless
///                   good batches lie farther than one largest commit: then it is damage.
/// marked   what is known to have been acknowledged: nothing is cut below, and nothing at all where
///          the mark was spoilt
/// give_up  once triggered it ends with its reason, between two batches; null: never
/// returns  empty for an empty directory
/// fails    errc::corrupt, naming file and position, where acknowledged data may be lost
/// cost     one page and two index files for a sealed segment; all bytes of an open one, of
///          which there is one after a crash, at most two after a crash within a roll
future<segment_list> recover(std::string directory, const log_options& options,
                             log_metrics& metrics, const found_mark& marked = {},
                             abort_source* give_up = nullptr);

}  // namespace weir::broker
