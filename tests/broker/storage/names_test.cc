// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/names.hh>
#include <doctest/doctest.h>

namespace weir::broker {

TEST_SUITE("broker/storage/names") {
    TEST_CASE("a topic name follows Kafka's rule") {
        CHECK(is_topic_name("a"));
        CHECK(is_topic_name("a.b_c-D9"));
        CHECK(is_topic_name("..."));
        CHECK(is_topic_name(std::string(249, 'x')));
        for (const char* bad : {"", ".", "..", "a/b", "a b", "\xc3\xa9", "a:b", "a\n"}) {
            CHECK_FALSE(is_topic_name(bad));
        }
        CHECK_FALSE(is_topic_name(std::string(250, 'x')));
        CHECK_FALSE(is_topic_name(std::string_view("a\0b", 3)));
    }

    TEST_CASE("a partition's directory gives the partition back") {
        for (const topic_partition& each :
             {topic_partition{"a", 0}, topic_partition{"a-b", 12}, topic_partition{"a-1", 2},
              topic_partition{"-", 7}, topic_partition{"x.y", 2147483647}}) {
            CHECK(partition_of_directory(directory_name(each)) == each);
        }
    }

    TEST_CASE("other names are no partition's") {
        for (const char* bad : {"", "a", "a-", "-1", "a--", "a-01", "a-1x", "a-+1", "a/b-1",
                                "a-2147483648", "a- 1", "meta.properties"}) {
            CHECK_FALSE(partition_of_directory(bad));
        }
    }

    TEST_CASE("a segment's files bear its first offset in twenty digits") {
        CHECK(segment_path("d", 368769, log_suffix) == "d/00000000000000368769.log");
        CHECK(segment_of_file("00000000000000368769.log", log_suffix) == 368769);
        CHECK_FALSE(segment_of_file("00000000000000368769.log", index_suffix));
        CHECK_FALSE(segment_of_file("0000000000000036876x.log", log_suffix));
        CHECK_FALSE(segment_of_file("-0000000000000000001.log", log_suffix));
        CHECK_FALSE(segment_of_file("99999999999999999999.log", log_suffix));
        CHECK_FALSE(segment_of_file("1.log", log_suffix));
    }

    TEST_CASE("what this program left unfinished is told from what others call so") {
        for (const char* ours :
             {"topics", "meta.properties", "probe", "acknowledged", "00000000000000368769.log",
              "00000000000000368769.index", "00000000000000368769.timeindex"}) {
            CHECK(is_unfinished(std::string(ours) + ".unfinished"));
            CHECK_FALSE(is_unfinished(ours));
        }
        for (const char* others : {".unfinished", "thesis.unfinished", "1.log.unfinished"}) {
            CHECK_FALSE(is_unfinished(others));
        }
    }
}

}  // namespace weir::broker
