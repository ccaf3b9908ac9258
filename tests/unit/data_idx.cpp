// The IDX reader: what it reads, and that it believes nothing.
#include <catch2/catch.hpp>
#include <filesystem>

#include "core/error.h"
#include "data/idx.h"
#include "unit/data_files.h"

namespace tandem::test::data_idx_unit {
namespace {

using Catch::Matchers::Contains;
using test::gzipped;
using test::idx_bytes;

constexpr const char* kRemedy = "Fetch it again.";

// What read_idx says about a file with these bytes; "" if it reads it.
std::string refusal(const std::string& bytes, int rank = 3) {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  atomic_write(path, bytes);
  try {
    read_idx(path, rank, kRemedy);
  } catch (const DataError& error) {
    const std::string message = error.what();
    CHECK_THAT(message, Contains(path + ": expected "));
    CHECK_THAT(message, Contains(kRemedy));
    return message;
  }
  return "";
}

std::string pair_refusal(const std::string& images, const std::string& labels) {
  const TemporaryFolder folder;
  atomic_write(folder / "images", images);
  atomic_write(folder / "labels", labels);
  try {
    read_labelled_images(folder / "images", folder / "labels", 10, kRemedy);
  } catch (const DataError& error) {
    CHECK_THAT(error.what(), Contains(folder / "labels"));
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("an IDX file is read plain and gzipped", "[unit]") {
  const TemporaryFolder folder;
  const std::string bytes = idx_bytes({2, 2, 3}, std::string("abcdefghijk\xff"));
  atomic_write(folder / "plain", bytes);
  atomic_write(folder / "zipped.gz", gzipped(bytes));
  for (const char* name : {"plain", "zipped.gz"}) {
    const IdxArray array = read_idx(folder / name, 3, kRemedy);
    CHECK(array.dims == std::vector<std::int64_t>{2, 2, 3});
    CHECK(array.values.size() == 12);
    CHECK(array.values[1] == 'b');
    CHECK(array.values[11] == 255);
  }
}

TEST_CASE("an IDX file larger than the reader's chunk is read whole", "[unit]") {
  const TemporaryFolder folder;
  const std::string values = test::noise((1u << 20) + 12345, 7);
  atomic_write(folder / "big.gz",
               gzipped(idx_bytes({static_cast<std::uint32_t>(values.size())}, values)));
  const IdxArray array = read_idx(folder / "big.gz", 1, kRemedy);
  CHECK(std::string(array.values.begin(), array.values.end()) == values);
}

TEST_CASE("an IDX header that is wrong is refused", "[unit]") {
  CHECK_THAT(refusal("PNG image, or whatever"),
             Contains("magic number 0x00000803, found 0x504e47"));
  CHECK_THAT(refusal(idx_bytes({1, 2, 2}, "abcd", 0x0d)), Contains("found 0x0d"));
  CHECK_THAT(refusal(idx_bytes({4}, "abcd")), Contains("expected 3 dimensions, found 1"));
  CHECK_THAT(refusal(""), Contains("found a file of 0 bytes"));
  CHECK_THAT(refusal(idx_bytes({1, 2, 2}, "").substr(0, 10)), Contains("found a file of 10 bytes"));
  CHECK_THAT(refusal(idx_bytes({0, 2, 2}, "")), Contains("found 0x2x2"));
}

TEST_CASE("IDX dimensions that promise what isn't there are refused", "[unit]") {
  CHECK_THAT(refusal(idx_bytes({2, 2, 2}, "abcde")),
             Contains("expected 8 values (2x2x2), found 5"));
  const std::uint32_t large = 0xffffffffu;
  CHECK_THAT(refusal(idx_bytes({large, large, large}, "abcd")), Contains("fits in 64 bits"));
  // 4.6e18 bytes: to believe the header would be to run out of memory.
  CHECK_THAT(refusal(idx_bytes({0x7fffffffu, 0x7fffffffu, 1}, "abcd")), Contains("found 4."));
  CHECK_THAT(refusal(idx_bytes({1, 2, 2}, "abcde")), Contains("found more bytes after them"));
  CHECK_THAT(refusal(gzipped(idx_bytes({1, 2, 2}, "abcde"))), Contains("more bytes after them"));
}

TEST_CASE("a cut or damaged gzip stream is refused", "[unit]") {
  const std::string whole = gzipped(idx_bytes({10, 10, 10}, test::noise(1000, 3)));
  REQUIRE(refusal(whole).empty());
  CHECK_THAT(refusal(whole.substr(0, whole.size() / 2)), Contains("cut short"));
  CHECK_THAT(refusal(whole.substr(0, whole.size() - 4)), Contains("cut short"));
  std::string damaged = whole;
  damaged[damaged.size() - 6] ^= 1;  // in the checksum
  CHECK_THAT(refusal(damaged), Contains("expected undamaged data"));
}

TEST_CASE("a missing IDX file and a folder in its place are refused", "[unit]") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(read_idx(folder / "absent", 1, kRemedy),
                    Contains("No such file") && Contains(kRemedy));
  CHECK_THROWS_AS(read_idx(folder.path(), 1, kRemedy), DataError);
}

TEST_CASE("labels must fit their images and their range", "[unit]") {
  const std::string images = idx_bytes({3, 1, 2}, "abcdef");
  CHECK(pair_refusal(images, idx_bytes({3}, std::string("\0\x09\x01", 3))).empty());
  CHECK_THAT(pair_refusal(images, idx_bytes({3}, std::string("\0\x01\x0a", 3))),
             Contains("expected labels 0..9, found 10 at position 2"));
  CHECK_THAT(pair_refusal(images, idx_bytes({2}, std::string("\0\x01", 2))),
             Contains("expected 3 labels") && Contains("found 2"));
}

TEST_CASE("an IDX file is found under each of its usual names", "[unit]") {
  const TemporaryFolder folder;
  const std::string name = "train-images-idx3-ubyte";
  CHECK(find_idx(folder.path(), name).empty());
  atomic_write(folder / "train-images.idx3-ubyte", "x");
  CHECK(find_idx(folder.path(), name) == folder / "train-images.idx3-ubyte");
  atomic_write(folder / name, "x");
  CHECK(find_idx(folder.path(), name) == folder / name);
  atomic_write(folder / (name + ".gz"), "x");
  CHECK(find_idx(folder.path(), name) == folder / (name + ".gz"));
}

}  // namespace tandem::test::data_idx_unit
