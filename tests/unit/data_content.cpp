// What the hash of a run's data sees, what is remembered of it, and what it does to an id.
#include <catch2/catch.hpp>
#include <filesystem>
#include <iostream>

#include "config/known_content.h"
#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "data/content.h"
#include "data/idx.h"
#include "unit/data_files.h"

namespace tandem::test::data_content_unit {
namespace {

using Catch::Matchers::Contains;

Config images(const std::string& folder, Settings more = {}) {
  more["data"] = "mnist";
  more["data_dir"] = folder;
  return Config::resolve(more);
}

Config corpus(const std::string& path) {
  return Config::resolve({{"data", "bytes"}, {"corpus", path}, {"context", "9"}});
}

const ContentMemory kNoMemory("");

std::string hash(const Config& config) { return content_of(config, kNoMemory); }

std::string little_endian(const std::string& labels) {
  std::string bytes;
  for (const char label : labels) bytes += label + std::string(7, '\0');
  return bytes;
}

}  // namespace

TEST_CASE("the content of an image set is its sizes, pixels and labels", "[unit]") {
  const TemporaryFolder folder;
  test::write_image_set(folder / "a", 40, 10);
  const std::string expected =
      sha256("images 40 10 6\n" + test::noise(240, 1) + test::noise(60, 2) +
             little_endian(test::cyclic_labels(40) + test::cyclic_labels(10)));
  CHECK(hash(images(folder / "a")) == expected);
  CHECK(hash(images(folder / "a", {{"validation", "0.5"}, {"train_examples", "7"}})) == expected);

  test::write_image_set(folder / "plain", 40, 10);
  for (const char* name : {"train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}) {
    const std::string path = folder / "plain/" + name;
    const bool images = std::string(name).find("images") != std::string::npos;
    atomic_write(path, images ? test::idx_bytes({40, 2, 3}, test::noise(240, 1))
                              : test::idx_bytes({10}, test::cyclic_labels(10)));
    std::filesystem::remove(path + ".gz");
  }
  CHECK(hash(images(folder / "plain")) == expected);

  test::write_image_set(folder / "b", 40, 10, 5);
  CHECK(hash(images(folder / "b")) != expected);
  std::string labels = test::cyclic_labels(40);
  labels[17] = 3;
  test::write_image_set(folder / "c", 40, 10);
  atomic_write(folder / "c/train-labels-idx1-ubyte.gz",
               test::gzipped(test::idx_bytes({40}, labels)));
  CHECK(hash(images(folder / "c")) != expected);
}

TEST_CASE("a file that is written anew in place is seen", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "corpus", first(400, 'a'), second(400, 'b');
  const ContentMemory memory(folder / "cache/content.json");
  atomic_write(path, first);
  CHECK(content_of(corpus(path), memory) == sha256(first));
  atomic_write(path, second);
  CHECK(content_of(corpus(path), memory) == sha256(second));
  test::write_image_set(folder / "images", 40, 10);
  const std::string before = content_of(images(folder / "images"), memory);
  test::write_image_set(folder / "images", 40, 10, 9);
  CHECK(content_of(images(folder / "images"), memory) != before);
}

TEST_CASE("hashes are remembered by paths, sizes and times", "[unit]") {
  const TemporaryFolder folder;
  const std::string file = folder / "cache/content.json", hash = sha256("x"), other = sha256("y");
  const ContentMemory memory(file);
  CHECK(memory.find({"a", true}).empty());
  memory.remember({"a", false}, hash);  // so young that a later write may not show
  CHECK_FALSE(std::filesystem::exists(file));
  memory.remember({"a", true}, hash);
  memory.remember({"b", true}, other);
  CHECK(ContentMemory(file).find({"a", false}) == hash);
  CHECK(ContentMemory(file).find({"b", true}) == other);
  CHECK(ContentMemory(file).find({"c", true}).empty());
  atomic_write(file, "{\"revision\": 1, \"contents\": 3}");
  CHECK(memory.find({"a", true}).empty());
  memory.remember({"a", true}, hash);
  CHECK(memory.find({"a", true}) == hash);

  atomic_write(folder / "x", "one");
  const FileStamp stamp = stamp_of({folder / "x"});
  CHECK_FALSE(stamp.settled);
  CHECK_THAT(stamp.text, Contains(folder / "x"));
  atomic_write(folder / "x", "four");
  CHECK(stamp_of({folder / "x"}).text != stamp.text);
  CHECK_THROWS_WITH(stamp_of({folder / "absent"}), Contains(folder / "absent"));
}

TEST_CASE("a remembered hash is believed without reading", "[unit]") {
  const TemporaryFolder folder;
  atomic_write(folder / "corpus", std::string(400, 'a'));
  const Config run = corpus(folder / "corpus");
  const ContentMemory memory(folder / "content.json");
  FileStamp stamp = stamp_of({folder / "corpus"});
  stamp.text = "bytes\n" + stamp.text;
  stamp.settled = true;
  memory.remember(stamp, sha256("told"));
  CHECK(content_of(run, memory) == sha256("told"));
}

TEST_CASE("content is part of an id, the known one by its absence", "[unit]") {
  const Config plain = Config::resolve({{"data", "mnist"}});
  const std::string other = sha256("other"), known = known_content("mnist");
  REQUIRE(known.size() == 64);
  CHECK(with_content(plain, known).id() == plain.id());
  CHECK(with_content(with_content(plain, other), known).id() == plain.id());
  const Config own = with_content(plain, other);
  CHECK(own.id() != plain.id());
  CHECK_THAT(own.canonical(), Contains("\ndata_hash=" + other + "\n"));
  CHECK(Config::from_canonical(own.canonical()).id() == own.id());
  CHECK(own.id() != with_content(plain, sha256("third")).id());
  // Named files are on nobody's word the default corpus.
  const Config named = Config::resolve({{"data", "bytes"}, {"corpus", "/x"}});
  CHECK(with_content(named, known_content("bytes")).text("data_hash") == known_content("bytes"));
  CHECK(with_content(Config::resolve({{"data", "bytes"}}), known_content("bytes"))
            .text("data_hash")
            .empty());
}

TEST_CASE("other data than a run's are refused with both hashes", "[unit]") {
  const TemporaryFolder folder;
  test::write_image_set(folder / "a", 40, 10);
  test::write_image_set(folder / "b", 40, 10, 5);
  const std::string a = hash(images(folder / "a")), b = hash(images(folder / "b"));
  CHECK_NOTHROW(expect_content(images(folder / "a", {{"data_hash", a}})));
  CHECK_THROWS_AS(expect_content(images(folder / "b", {{"data_hash", a}})), DataError);
  CHECK_THROWS_WITH(expect_content(images(folder / "b", {{"data_hash", a}})),
                    Contains(a) && Contains(b));
  CHECK_THROWS_WITH(expect_content(images(folder / "b")),
                    Contains(known_content("mnist")) && Contains(b));
  Settings kana = {{"data", "kmnist"}, {"data_dir", folder / "a"}};
  CHECK_NOTHROW(expect_content(Config::resolve(kana)));
}

TEST_CASE("the known content is that of the files that results are of", "[unit]") {
  const auto check = [](const Settings& said) {
    try {
      CHECK(hash(Config::resolve(said)) == known_content(said.at("data")));
    } catch (const DataError& error) {
      std::cout << "SKIPPED: " << error.what() << "\n";
    }
  };
  check({{"data", "fashion_mnist"}});
  const std::string digits = std::string(TANDEM_SOURCE_DIR) + "/../shared/data";
  if (!path_exists(digits)) {
    std::cout << "SKIPPED: there is no " << digits << "\n";
    return;
  }
  check({{"data", "mnist"}, {"data_dir", digits}});
}

}  // namespace tandem::test::data_content_unit
