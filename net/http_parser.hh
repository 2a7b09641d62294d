// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include <weir/net/http.hh>

namespace weir::net {

/// Takes requests, one after the other, from the front of bytes that arrive bit by bit. It looks
/// at each byte once, however the bytes were cut, and copies only the body of a chunked request.
class http_parser {
  public:
    enum class progress : std::uint8_t { complete, more, bad };
    struct result {
        progress made;
        std::size_t consumed = 0;  ///< complete: bytes of the request
        unsigned status = 0;       ///< bad: what to answer
        /// more: the client waits for "100 Continue", and the head of the request is there, without
        /// its body; told once
        bool wants_continue = false;
        bool begun = false;  ///< more: there is more than empty lines
    };

    /// limits   borrowed
    explicit http_parser(const http_options& limits);
    ~http_parser();

    /// Bytes that it looks at, at most, for one request.
    static std::size_t request_bytes_max(const http_options& limits) noexcept;

    /// Goes on with the request that begins at the front of `bytes`: those of the last call, which
    /// may have moved, and more behind them. After a complete request the next one begins.
    /// into     when complete: views into `bytes`, and of a chunked body into this, until the next
    ///          call
    result parse(std::string_view bytes, http_request& into);
    /// Frees what a large body needed; views into it end.
    void forget() noexcept;

    /// Bytes of the request under way: what its header says; request_bytes_max() as long as that
    /// isn't there, and of a chunked one.
    std::size_t bytes_expected() const noexcept;
    /// Whether its body is copied, as far as one can know.
    bool copies_body() const noexcept;

  private:
    class reader;
    struct state;

    void begin();
    result take_header(std::string_view bytes);
    std::optional<std::size_t> find_end(std::string_view bytes);
    result put(std::string_view bytes);
    result go_on(std::string_view bytes);
    void fill_head(std::string_view bytes, http_request& into) const;
    void fill_body(std::string_view bytes, http_request& into) const;

    const http_options& _limits;
    std::unique_ptr<state> _state;
};

}  // namespace weir::net
