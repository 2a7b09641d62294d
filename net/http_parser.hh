// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include <weir/net/http.hh>

namespace weir::net {

/// Takes one request at a time from the front of a stretch of bytes, without copying it.
class http_parser {
  public:
    enum class progress : std::uint8_t { complete, more, bad };
    struct result {
        progress made;
        std::size_t consumed = 0;  ///< complete: bytes of the request
        unsigned status = 0;       ///< bad: what to answer
    };

    explicit http_parser(const http_options& limits);
    ~http_parser();

    /// Parses the request that begins at the front of `bytes`; its views point there.
    result parse(std::string_view bytes, http_request& into);

  private:
    class reader;
    const http_options& _limits;
    std::vector<http_field> _fields;
    std::string _body;  // of a chunked request, put together
};

}  // namespace weir::net
