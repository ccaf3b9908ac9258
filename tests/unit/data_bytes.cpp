// Byte corpora: what goes in, the three ranges, the evaluation windows.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "config/contexts.h"
#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "data/content.h"
#include "data/dataset.h"
#include "data/longer_windows.h"
#include "support/skip.h"
#include "unit/data_files.h"

namespace tandem::test::data_bytes_unit {
namespace {

using Catch::Matchers::Contains;

std::shared_ptr<const Dataset> load(const std::string& corpus, Settings more = {}) {
  more["data"] = "bytes";
  more["corpus"] = corpus;
  return load_dataset(Config::resolve(more));
}

std::string content(const Dataset& data) {
  return {reinterpret_cast<const char*>(data.inputs.data_ptr<std::uint8_t>()),
          static_cast<std::size_t>(data.inputs.numel())};
}

std::string text(std::size_t size, std::uint32_t seed) {
  std::string bytes = test::noise(size, seed);
  for (char& each : bytes) each = static_cast<char>('a' + static_cast<unsigned char>(each) % 26);
  return bytes;
}

}  // namespace

TEST_CASE("a corpus is its files in order, folders sorted by path", "[unit]") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "texts/b");
  const std::string one = text(500, 1), two = text(400, 2), three = text(300, 3);
  atomic_write(folder / "texts/c.txt", three);
  atomic_write(folder / "texts/b/x.txt", two);
  atomic_write(folder / "texts/a.txt", one);
  atomic_write(folder / "texts/.hidden", text(50, 4));
  atomic_write(folder / "texts/image", std::string("a\0b", 3));
  atomic_write(folder / "alone", "the last");
  std::filesystem::create_symlink(folder / "alone", folder / "texts/link");
  for (const char separator : {',', ':'}) {
    const std::string corpus = folder / "texts" + separator + folder.path() + "/alone";
    const auto data = load(corpus, {{"context", "10"}});
    CHECK(content(*data) == one + two + three + "the last");
    REQUIRE(data->files.size() == 1);
    CHECK(data->files[0].path == corpus);
    CHECK(data->files[0].sha256 == sha256(one + two + three + "the last"));
    CHECK(data->files[0].bytes == 1208);
  }
}

TEST_CASE("a corpus is cut 90/5/5 and read in windows that don't overlap", "[unit]") {
  const TemporaryFolder folder;
  atomic_write(folder / "corpus", text(2000, 5));
  const auto data = load(folder / "corpus", {{"context", "9"}});
  CHECK(data->kind == Dataset::Kind::kBytes);
  CHECK(data->classes == 256);
  CHECK(data->train == std::vector<std::int64_t>{0, 1800});
  CHECK(data->validation ==
        std::vector<std::int64_t>{1800, 1810, 1820, 1830, 1840, 1850, 1860, 1870, 1880, 1890});
  CHECK(data->test.front() == 1900);
  CHECK(data->test.back() == 1990);
  const auto few = load(folder / "corpus", {{"context", "9"}, {"evaluation_windows", "4"}});
  CHECK(few->validation == std::vector<std::int64_t>{1800, 1820, 1850, 1870});
  CHECK(few->test.size() == 4);
  const auto many = load(folder / "corpus", {{"context", "9"}, {"evaluation_windows", "99"}});
  CHECK(many->validation == data->validation);
}

TEST_CASE("parts of a corpus are cut each for itself, one behind the other", "[unit]") {
  const TemporaryFolder folder;
  const std::string one = text(1000, 6), two = text(600, 7), three = text(400, 8);
  atomic_write(folder / "one", one);
  atomic_write(folder / "two", two);
  atomic_write(folder / "three", three);
  const std::string a = folder / "one", b = folder / "two", c = folder / "three";
  const auto data = load(a + "," + b + " | " + c, {{"context", "9"}});
  CHECK(content(*data) == one + two + three);
  CHECK(data->train == std::vector<std::int64_t>{0, 1440, 1600, 1960});
  CHECK(data->validation ==
        std::vector<std::int64_t>{1440, 1450, 1460, 1470, 1480, 1490, 1500, 1510, 1960, 1970});
  CHECK(data->test ==
        std::vector<std::int64_t>{1520, 1530, 1540, 1550, 1560, 1570, 1580, 1590, 1980, 1990});
  REQUIRE(data->files.size() == 2);
  CHECK(data->files[0].sha256 == sha256(one + two));
  CHECK(data->files[1].sha256 == sha256(three));
  // The same bytes in other parts are other data.
  const auto hash = [&](const std::string& corpus) {
    return content_of(Config::resolve({{"data", "bytes"}, {"corpus", corpus}, {"context", "9"}}),
                      ContentMemory(""));
  };
  CHECK(hash(a + "," + b + "|" + c) != hash(a + "|" + b + "," + c));
  CHECK(hash(a + "," + b + "," + c) == sha256(one + two + three));
  CHECK_THROWS_WITH(load(a + "||" + c), Contains("none in part 2"));
  CHECK_THROWS_WITH(load(a + "|" + c, {{"context", "40"}}), Contains("three") && Contains("400"));
}

TEST_CASE("packed documents begin where files do, and are other data than one text", "[unit]") {
  const TemporaryFolder folder;
  const std::string one = text(1000, 6), two = text(600, 7), three = text(400, 8);
  atomic_write(folder / "one", one);
  atomic_write(folder / "two", two);
  atomic_write(folder / "three", three);
  atomic_write(folder / "none", "");
  atomic_write(folder / "onetwo", one + two);
  const std::string a = folder / "one", b = folder / "two", c = folder / "three",
                    nothing = folder / "none", joined = folder / "onetwo";
  const std::string corpus = a + "," + nothing + "," + b + "|" + c;
  const auto join = load(corpus, {{"context", "9"}});
  const auto pack = load(corpus, {{"context", "9"}, {"documents", "pack"}});
  CHECK(join->documents.empty());
  CHECK(pack->documents == std::vector<std::int64_t>{0, 1000, 1600});
  CHECK(content(*pack) == content(*join));
  CHECK(pack->train == join->train);
  CHECK(pack->validation == join->validation);
  const auto hash = [](const std::string& files, const std::string& documents) {
    return content_of(
        Config::resolve(
            {{"data", "bytes"}, {"corpus", files}, {"context", "9"}, {"documents", documents}}),
        ContentMemory(""));
  };
  CHECK(hash(a + "," + b, "join") == hash(joined, "join"));
  CHECK(hash(a + "," + b, "pack") != hash(joined, "pack"));
  CHECK(hash(a + "," + b, "pack") != hash(a + "," + b, "join"));
  CHECK(hash(joined, "pack") == hash(joined, "join"));
}

TEST_CASE("longer windows are of the same bytes, and a corpus must hold one", "[unit]") {
  const TemporaryFolder folder;
  atomic_write(folder / "one", text(2000, 5));
  atomic_write(folder / "two", text(1000, 6));
  const std::string corpus = folder / "one|" + (folder / "two");
  const Config config = Config::resolve(
      {{"data", "bytes"}, {"corpus", corpus}, {"context", "9"}, {"eval_contexts", "3,1,3"}});
  CHECK(context_multiples(config) == std::vector<std::int64_t>{3});
  const auto data = load_dataset(config);
  CHECK(data->validation_ranges == std::vector<std::int64_t>{1800, 1900, 2900, 2950});
  CHECK(data->test_ranges == std::vector<std::int64_t>{1900, 2000, 2950, 3000});
  const auto windows = [&](const std::vector<std::int64_t>& train, const std::string& split) {
    return longer_windows(config, *data, train, split, 3);
  };
  CHECK(windows({0, 1800}, "validation") == std::vector<std::int64_t>{1800, 1828, 1856});
  CHECK(windows({2000, 2900}, "test") == std::vector<std::int64_t>{2950});
  CHECK(windows({2000, 2900, 0, 1800}, "validation") ==
        std::vector<std::int64_t>{1800, 1828, 1856, 2900});
  CHECK(windows({0, 1800}, "train").empty());
  CHECK_NOTHROW(load(corpus, {{"context", "9"}, {"eval_contexts", "5"}}));
  CHECK_THROWS_WITH(
      load(corpus, {{"context", "9"}, {"eval_contexts", "1,6"}}),
      Contains("two") && Contains("6 (--eval-contexts) x context + 1 = 55") && Contains("1000"));
}

TEST_CASE("sizes that don't divide still give valid windows", "[unit]") {
  const TemporaryFolder folder;
  for (const std::size_t size : {401u, 409u, 417u, 433u}) {
    const std::string path = folder / ("corpus" + std::to_string(size));
    atomic_write(path, text(size, 6));
    const auto data = load(path, {{"context", "19"}});
    REQUIRE(!data->test.empty());
    CHECK(data->train[1] == static_cast<std::int64_t>(size * 9 / 10));
    CHECK(data->validation.front() == data->train[1]);
    CHECK(data->validation.back() + 20 <= data->test.front());
    CHECK(data->test.back() + 20 <= static_cast<std::int64_t>(size));
  }
}

TEST_CASE("a corpus that can't serve is refused", "[unit]") {
  const TemporaryFolder folder;
  atomic_write(folder / "corpus", text(390, 7));
  CHECK_THROWS_AS(load(folder / "corpus", {{"context", "19"}}), DataError);
  CHECK_THROWS_WITH(load(folder / "corpus", {{"context", "19"}}),
                    Contains("at least 400 bytes") && Contains("found 390"));
  CHECK_THROWS_WITH(load(folder / "absent"), Contains(folder / "absent") && Contains("--corpus"));
  CHECK_THROWS_AS(load(folder / "corpus", {{"context", "9"}, {"train_examples", "3"}}),
                  ConfigError);
}

TEST_CASE("what a corpus doesn't read is refused by name, and its ids stay", "[unit]") {
  const Settings bytes = {{"data", "bytes"}};
  const auto with = [&](const char* name, const char* value) {
    Settings said = bytes;
    said[name] = value;
    return said;
  };
  const std::pair<const char*, const char*> unread[] = {{"validation", "0.4"},
                                                        {"validation", "0"},
                                                        {"normalize", "standardized"},
                                                        {"train_examples", "100"},
                                                        {"data_dir", "/tmp"}};
  for (const auto& [name, value] : unread) {
    INFO(name << " = " << value);
    CHECK_THROWS_WITH(Config::resolve(with(name, value)), Contains("'" + std::string(name) + "'") &&
                                                              Contains("data=bytes") &&
                                                              Contains("data=fashion_mnist"));
    CHECK(Config::resolve(with(name, value), false).id() == Config::resolve(bytes).id());
  }
  const Config said = Config::resolve(with("validation", "0.1"));
  CHECK(said.id() == Config::resolve(bytes).id());
  CHECK(said.canonical().find("\nvalidation=0.1\n") != std::string::npos);
  CHECK(Config::resolve(said.values()).values() == said.values());
  CHECK_THROWS_WITH(Config::resolve({{"data", "mnist"}, {"corpus", "x"}}),
                    Contains("'corpus'") && Contains("data=bytes"));
}

TEST_CASE("the default corpus is the Python standard library's sources", "[unit]") {
  if (!std::filesystem::is_directory("/usr/lib/python3.11")) {
    return test::skip("no /usr/lib/python3.11");
  }
  const auto data = load("", {{"evaluation_windows", "100"}});
  CHECK(data->inputs.numel() > 5'000'000);
  CHECK_THAT(data->files[0].path, Contains("/usr/lib/python3.11"));
  CHECK(data->validation.size() == 100);
  CHECK(content(*data).find("class OrderedDict") != std::string::npos);
}

}  // namespace tandem::test::data_bytes_unit
