// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>

#include <broker/storage/topics_file.hh>

#include "files.hh"

namespace weir::broker {

using namespace storage_test;

namespace {

std::string first_error(std::string_view text) {
    try {
        decode_topics(text, "/data/topics");
    } catch (const error& e) {
        CHECK(e.is(errc::corrupt));
        return e.what();
    }
    return "";
}

future<> touch(std::string path) {
    co_await replace_file(path, std::vector<std::byte>(10, std::byte{'x'}));
}

}  // namespace

TEST_SUITE("broker/storage/topics file") {
    TEST_CASE("an id in text is Kafka's, and comes back") {
        // Kafka's Uuid.METADATA_TOPIC_ID: fifteen zeros and a one.
        uuid one;
        one.bytes[15] = std::byte{1};
        CHECK(to_text(one) == "AAAAAAAAAAAAAAAAAAAAAQ");
        CHECK(uuid_of("AAAAAAAAAAAAAAAAAAAAAQ") == one);
        for (const char* bad : {"", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAR",
                                "AAAAAAAAAAAAAAAAAAAA+Q", "AAAAAAAAAAAAAAAAAAAAAQA"}) {
            CHECK(!uuid_of(bad));
        }
    }

    TEST_CASE("what is written comes back, and no changed byte passes") {
        uuid one;
        one.bytes[15] = std::byte{1};
        const std::vector<topic_entry> topics{{"hello", one, 4}, {"a-1", one, 1}};
        const std::string text = encode_topics(topics);
        CHECK(text ==
              "weir-topics 1\n"
              "AAAAAAAAAAAAAAAAAAAAAQ 4 hello\n"
              "AAAAAAAAAAAAAAAAAAAAAQ 1 a-1\n"
              "end a51f43f2\n");
        CHECK(decode_topics(text, "") == topics);
        CHECK(decode_topics(encode_topics({}), "").empty());
        for (std::size_t i = 0; i < text.size(); ++i) {
            std::string bad = text;
            bad[i] ^= 1;
            CHECK(first_error(bad) != "");
            CHECK(first_error(text.substr(0, i)) != "");
        }
        CHECK(first_error("weir-topics 2\nwhatever").find("version") != std::string::npos);
    }

    TEST_CASE("numbers in a file with a right checksum are not believed") {
        uuid one;
        for (const std::int32_t partitions : {0, -1, 1'000'001, INT32_MAX}) {
            CHECK(first_error(encode_topics(std::vector<topic_entry>{{"t", one, partitions}})) !=
                  "");
        }
        CHECK(first_error(encode_topics(std::vector<topic_entry>{{"t", one, 1}, {"t", one, 1}})) !=
              "");
        CHECK(first_error(encode_topics(std::vector<topic_entry>{{"../t", one, 1}})) != "");
    }

    TEST_CASE("no list is written that a start would refuse") {
        bed on(96);
        on.run([]() -> future<> {
            co_await io::make_directories("/data");
            const std::vector<topic_entry> known{{"t", uuid{}, 1}};
            co_await write_topics("/data", known);
            std::vector<topic_entry> many{{"t", uuid{}, 1'000'000}};
            co_await write_topics("/data", many);
            CHECK((co_await read_topics("/data"))->at(0).partitions == 1'000'000);
            co_await write_topics("/data", known);
            many.push_back({"u", uuid{}, 1});
            CHECK((co_await failure_of(write_topics("/data", many))).is(errc::limit_exceeded));
            CHECK(*co_await read_topics("/data") == known);
        });
    }

    TEST_CASE("a directory without a list gets one from what its directories prove") {
        bed on(91);
        on.run([]() -> future<> {
            for (const char* made : {"whole-0", "whole-1", "whole-2", "half-2", "half-3", "lossy-0",
                                     "lossy-2", "backup-20241128", "old-7", "other-0"}) {
                co_await io::make_directories(std::string("/data/") + made);
            }
            co_await with_log("/data/lossy-2", small_options(),
                              [](log& to) -> future<> { co_await to.append(batch_of(1, 1)); });
            co_await touch("/data/notes-1");
            co_await touch("/data/other-0/picture.jpg");
            const std::vector<topic_entry> topics = co_await learn_topics("/data", 10'000);
            CHECK(topics.size() == 2);
            CHECK(topics.at(0).name == "lossy");
            CHECK(topics.at(0).partitions == 3);
            CHECK(topics.at(1).name == "whole");
            CHECK(topics.at(1).partitions == 3);
            CHECK(topics.at(0).id != topics.at(1).id);
            const auto found = co_await find_topics("/data", 10'000);
            CHECK(found.missing == std::vector<std::string>{"lossy-1"});
            CHECK(found.strays.size() == 6);
            // From now on the list says it, whatever the directories do.
            co_await io::make_directory("/data/whole-3");
            CHECK(co_await learn_topics("/data", 10'000) == topics);
            const auto strays = co_await find_strays("/data", topics);
            CHECK(strays.size() == 7);
            CHECK(std::count(strays.begin(), strays.end(), "whole-3") == 1);
        });
    }

    TEST_CASE("what an adoption may not look into is named and ends it, and nothing is forgotten") {
        bed on(93);
        on.run([&on]() -> future<> {
            for (const char* made : {"/data/t-0", "/data/t-1", "/data/t-2"}) {
                co_await io::make_directories(made);
            }
            on.forbid("/data/t-2");
            const error refused = co_await failure_of(learn_topics("/data", 10'000));
            CHECK(refused.is_errno(EACCES));
            CHECK(std::string(refused.what()).find("/data/t-2") != std::string::npos);
            CHECK(!co_await read_topics("/data"));
            on.forbid("/data/t-2", false);
            CHECK((co_await learn_topics("/data", 10'000)).at(0).partitions == 3);
        });
    }

    TEST_CASE("a partition's directory that holds a file of somebody else's is one all the same") {
        bed on(94);
        on.run([]() -> future<> {
            for (const char* made : {"log-0", "log-1", "none-0", "none-1", "some-0", "some-1"}) {
                co_await io::make_directories(std::string("/data/") + made);
            }
            co_await with_log("/data/log-1", small_options(),
                              [](log& to) -> future<> { co_await to.append(batch_of(1, 1)); });
            co_await touch("/data/log-1/leader-epoch-checkpoint");
            co_await touch("/data/some-0/notes.txt");
            const std::vector<topic_entry> topics = co_await learn_topics("/data", 10'000);
            CHECK(topics.size() == 3);
            CHECK(topics.at(0).name == "log");
            CHECK(topics.at(0).partitions == 2);
            CHECK(topics.at(1).name == "none");
            CHECK(topics.at(2).name == "some");
            CHECK(topics.at(2).partitions == 2);
        });
    }

    TEST_CASE("an adoption that can't tell whether a directory is a partition is refused") {
        // The last partition or somebody's own; and records of which a limit would make none.
        for (const bool too_large : {false, true}) {
            bed on(95);
            on.run([too_large]() -> future<> {
                const std::string doubtful = too_large ? "/data/t-500" : "/data/t-1";
                co_await io::make_directories("/data/t-0");
                co_await io::make_directories(doubtful);
                if (too_large) {
                    co_await with_log(doubtful, small_options(), [](log& to) -> future<> {
                        co_await to.append(batch_of(1, 1));
                    });
                } else {
                    co_await touch(doubtful + "/picture.jpg");
                }
                const error refused = co_await failure_of(learn_topics("/data", 100));
                CHECK(std::string(refused.what()).find(doubtful) != std::string::npos);
                CHECK(!co_await read_topics("/data"));
            });
        }
    }

    TEST_CASE("an adoption that is cut short at any moment is done again") {
        for (int step = 1; step < 40; ++step) {
            bed on(92);
            on.run([]() -> future<> {
                co_await io::make_directories("/data/t-0");
                co_await io::make_directories("/data/t-1");
                co_await io::sync_directory("/data");
            });
            on.start([]() -> future<> { co_await learn_topics("/data", 100); });
            on.world.run_for(std::chrono::microseconds(step * 100));
            if (on.host.running()) {
                step % 2 == 0 ? on.world.kill(on.host) : on.world.power_cut(on.host);
            }
            on.run([]() -> future<> {
                const auto topics = co_await learn_topics("/data", 100);
                CHECK(topics.size() == 1);
                CHECK(topics.at(0).partitions == 2);
                CHECK(co_await learn_topics("/data", 100) == topics);
            });
        }
    }
}

}  // namespace weir::broker
