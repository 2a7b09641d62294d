// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <weir/net/admin.hh>
#include <weir/pipeline/picture.hh>

namespace weir::pipeline {

/// Where deployments can be seen: `/pipeline` draws them live, `/pipeline.json` and
/// `/pipeline.dot` are for programs. Nothing is sampled unless someone looks.
/// thread   the admin page's shard, which is also the one that deploys what is shown
class watch_board {
    struct entry;

  public:
    watch_board();
    ~watch_board();
    watch_board(const watch_board&) = delete;
    watch_board& operator=(const watch_board&) = delete;

    /// A deployment on the board, for as long as this lives; not longer than both.
    class shown {
      public:
        shown() = default;
        shown(shown&& other) noexcept = default;
        shown& operator=(shown&& other) noexcept;
        ~shown() { take_down(); }

      private:
        friend class watch_board;
        shown(watch_board& board, std::shared_ptr<entry> what)
            : _board(&board), _entry(std::move(what)) {}
        void take_down() noexcept;

        watch_board* _board = nullptr;
        std::shared_ptr<entry> _entry;
    };
    [[nodiscard]] shown show(deployment& run, std::string title);

    /// Adds the board to an admin page, which must go before it does. Before its start().
    void add_to(net::admin_server& page);

  private:
    using entries = std::vector<std::shared_ptr<entry>>;

    /// Samples all that is shown; what is taken down meanwhile is left out.
    future<entries> look(std::size_t elements);
    future<net::http_response> json(const net::http_request& request);
    future<net::http_response> dot();

    entries _shown;
    unsigned _next_id = 0;
};

/// The page, around which its style and scripts go.
extern const char watch_page_head[];
extern const char watch_page_body[];

}  // namespace weir::pipeline
