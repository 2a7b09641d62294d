// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <exception>
#include <memory>
#include <string>
#include <string_view>

#include <broker/server/request.hh>

#include <weir/core/abort.hh>
#include <weir/core/future.hh>
#include <weir/core/semaphore.hh>
#include <weir/net/connection.hh>

namespace weir::broker {

class broker;

/// One client: reads requests, has them dispatched as they come, and sends the answers in the
/// order of the requests. Many requests may be under way; their number is limited.
/// thread   the shard that accepted the connection
class client_connection {
  public:
    client_connection(broker& here, net::connection& socket);
    /// Serves until either side ends.
    future<> serve();

  private:
    /// A request from its last byte until its answer is sent.
    struct pending {
        std::unique_ptr<request> asked{};
        instant since{};  // its last byte was there
        semaphore_units slot{};
        future<answer> result{};
        answer made{};  // what came of it
    };
    /// At the front of the line.
    struct ready_answers {
        std::size_t count = 0;
        std::size_t bytes = 0;
        bool close = false;
    };

    future<> read_requests();
    future<> write_answers();
    void disorder() noexcept;
    ready_answers take_ready() noexcept;
    void take_result(pending& of) noexcept;
    void refuse_request(const pending& failed, const char* why) noexcept;
    future<> send(std::size_t count);
    void note_end(const std::exception_ptr& why) noexcept;
    void note_unsent(const std::exception& why) noexcept;
    void refuse(const char* message, std::string_view detail = {},
                const request* asked = nullptr) noexcept;

    broker& _broker;
    net::connection& _socket;
    semaphore _slots;
    client _client;
    std::deque<pending> _pending;  // in the order of the requests
    promise<> _more;               // open while write_answers() has nothing to do
    bool _reading = true;
    bool _broken = false;  // sending failed: answers are awaited and dropped
};

}  // namespace weir::broker
