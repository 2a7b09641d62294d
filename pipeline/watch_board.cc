// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/watch_board.hh>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include <weir/core/coroutine.hh>

namespace weir::pipeline {

struct watch_board::entry {
    unsigned id = 0;
    deployment* run = nullptr;  // null once it was taken down
    instant since{};
    picture drawn{};
    moment last{};
};

namespace {

// Of a ring: what a page can show, whatever is asked for.
constexpr std::size_t elements_max = 16;

bool asked(std::string_view query, std::string_view name) {
    while (!query.empty()) {
        const std::string_view part = query.substr(0, query.find('&'));
        if (part.substr(0, part.find('=')) == name) {
            return true;
        }
        query.remove_prefix(std::min(query.size(), part.size() + 1));
    }
    return false;
}

}  // namespace

watch_board::watch_board() = default;
watch_board::~watch_board() {
    WEIR_ASSERT(_shown.empty());
}

watch_board::shown& watch_board::shown::operator=(shown&& other) noexcept {
    if (this != &other) {
        take_down();
        _board = std::exchange(other._board, nullptr);
        _entry = std::move(other._entry);
    }
    return *this;
}

void watch_board::shown::take_down() noexcept {
    if (_entry) {
        _entry->run = nullptr;
        std::erase(_board->_shown, _entry);
        _entry.reset();
    }
}

watch_board::shown watch_board::show(deployment& run, std::string title) {
    auto made = std::make_shared<entry>();
    made->id = _next_id++;
    made->run = &run;
    made->since = this_shard().now();
    made->drawn = draw(run.laid_out(), std::move(title));
    _shown.push_back(made);
    return {*this, std::move(made)};
}

void watch_board::add_to(net::admin_server& page) {
    page.add_page("/pipeline", "pipelines", [](const net::http_request&) {
        return make_ready_future<net::http_response>(
            net::http_response{200, "text/html; charset=utf-8",
                               std::string(watch_page_head) + "<style>" + picture_style +
                                   "</style>\n<script>\"use strict\";" + picture_script +
                                   "</script>\n" + watch_page_body});
    });
    page.route("/pipeline.json",
               [this](const net::http_request& request) { return json(request); });
    page.route("/pipeline.dot", [this](const net::http_request&) { return dot(); });
}

// A sample holds up the join() of its deployment, so that may not go while it is under way.
future<watch_board::entries> watch_board::look(std::size_t elements) {
    entries seen;
    for (const auto& each : entries(_shown)) {
        if (each->run == nullptr) {
            continue;
        }
        auto stages = co_await each->run->sample(elements);
        if (each->run != nullptr) {
            each->last = {this_shard().now() - each->since, std::move(stages)};
            seen.push_back(each);
        }
    }
    co_return seen;
}

future<net::http_response> watch_board::json(const net::http_request& request) {
    const bool with_pictures = asked(request.query, "pictures");
    const entries all = co_await look(asked(request.query, "elements") ? elements_max : 0);
    std::string out = "{\"deployments\":[";
    for (const auto& each : all) {
        out += each == all.front() ? "" : ",";
        out += fmt::format("{{\"id\":{},\"graph\":{}", each->id, to_json(each->drawn, each->last));
        if (with_pictures) {
            out += ",\"picture\":" + json_quoted(to_svg(each->drawn, each->last));
        }
        out += '}';
    }
    co_return net::http_response{200, "application/json", out + "]}\n"};
}

future<net::http_response> watch_board::dot() {
    const entries all = co_await look(0);
    std::vector<std::pair<const picture*, const moment*>> pictures;
    for (const auto& each : all) {
        pictures.emplace_back(&each->drawn, &each->last);
    }
    co_return net::http_response{200, "text/vnd.graphviz; charset=utf-8", to_dot(pictures)};
}

}  // namespace weir::pipeline
