// The safetensors format: what is written reads back, and every flaw of a header is refused.
#include <catch2/catch.hpp>
#include <cstring>

#include "core/error.h"
#include "core/files.h"
#include "core/safetensors.h"

namespace tandem::test::core_safetensors_unit {

using Catch::Matchers::Contains;

namespace {

std::string file_of(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

SafetensorsFile parsed(const std::string& header, const std::string& data) {
  return SafetensorsFile::from_bytes(file_of(header, data), "test file");
}

std::string refusal(const std::string& header, const std::string& data) {
  try {
    parsed(header, data);
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

}  // namespace

TEST_CASE("tensors and metadata read back from bytes and from a file", "[unit]") {
  const std::vector<float> weights = {1.5f, -2, 0, 3, 4, 5};
  const std::vector<std::int64_t> steps = {7, -1};
  const std::vector<unsigned char> flags = {1, 0, 1};
  const std::vector<TensorView> tensors = {{"z.flags", DType::kU8, {3}, flags.data()},
                                           {"a.weights", DType::kF32, {2, 3}, weights.data()},
                                           {"m.steps", DType::kI64, {2}, steps.data()},
                                           {"empty", DType::kF64, {0, 4}, nullptr},
                                           {"scalar", DType::kBool, {}, flags.data()}};
  const TensorMetadata metadata = {{"step", "12"}, {"note", "a \"b\"\n"}};
  const TemporaryFolder folder;
  write_safetensors(folder / "x.safetensors", tensors, metadata);
  CHECK(read_file(folder / "x.safetensors") == safetensors_bytes(tensors, metadata));

  SafetensorsFile file = SafetensorsFile::open(folder / "x.safetensors");
  SafetensorsFile moved = std::move(file);
  REQUIRE(moved.tensors().size() == 5);
  CHECK(moved.metadata() == metadata);
  CHECK(moved.tensors().front().name == "a.weights");
  CHECK(moved.tensors().back().name == "z.flags");
  const TensorView& read = moved.at("a.weights");
  CHECK(read.dtype == DType::kF32);
  CHECK(read.shape == std::vector<std::int64_t>{2, 3});
  CHECK(std::memcmp(read.data, weights.data(), 24) == 0);
  CHECK(std::memcmp(moved.at("m.steps").data, steps.data(), 16) == 0);
  CHECK(std::memcmp(moved.at("z.flags").data, flags.data(), 3) == 0);
  CHECK(moved.at("empty").elements() == 0);
  CHECK(moved.at("scalar").elements() == 1);
  CHECK(moved.find("nothing") == nullptr);
  CHECK_THROWS_WITH(moved.at("a.weight"), Contains("did you mean a.weights?"));
}

TEST_CASE("written tensors are aligned and their order doesn't change a byte", "[unit]") {
  const std::vector<double> values(8, 1.0);
  const std::vector<TensorView> tensors = {{"a", DType::kU8, {3}, values.data()},
                                           {"b", DType::kF64, {2}, values.data()},
                                           {"c", DType::kF16, {1}, values.data()},
                                           {"d", DType::kF32, {1}, values.data()}};
  const std::string bytes = safetensors_bytes(tensors);
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  CHECK(length % 8 == 0);
  CHECK(safetensors_bytes({tensors.rbegin(), tensors.rend()}) == bytes);
  const TemporaryFolder folder;
  write_safetensors(folder / "x", tensors);
  const auto file = SafetensorsFile::open(folder / "x");
  for (const auto& tensor : file.tensors()) {
    CHECK(reinterpret_cast<std::uintptr_t>(tensor.data) % size_bytes(tensor.dtype) == 0);
  }
}

TEST_CASE("the bytes of a small file are as the format says", "[unit]") {
  const float one = 1;
  const std::string header =
      R"({"__metadata__":{"k":"v"},"x":{"data_offsets":[0,4],"dtype":"F32","shape":[1]}})";
  std::string padded = header;
  padded.append((8 - header.size() % 8) % 8, ' ');
  CHECK(safetensors_bytes({{"x", DType::kF32, {1}, &one}}, {{"k", "v"}}) ==
        file_of(padded, std::string("\0\0\x80\x3f", 4)));
}

TEST_CASE("a writer's own mistakes are invalid arguments", "[unit]") {
  const float one = 1;
  const TensorView good{"x", DType::kF32, {1}, &one};
  CHECK_THROWS_AS(safetensors_bytes({good, good}), std::invalid_argument);
  CHECK_THROWS_AS(safetensors_bytes({{"__metadata__", DType::kF32, {1}, &one}}),
                  std::invalid_argument);
  CHECK_THROWS_AS(safetensors_bytes({{"x", DType::kF32, {-1}, &one}}), std::invalid_argument);
  CHECK_THROWS_AS(safetensors_bytes({{"x", DType::kF32, {1}, nullptr}}), std::invalid_argument);
}

TEST_CASE("files in another order of data, with spaces, read well", "[unit]") {
  const auto file = parsed(R"({"b": )" + entry("U8", "[2]", "[1,3]") + R"(, "a": )" +
                               entry("U8", "[1]", "[0,1]") + "}   ",
                           "xyz");
  CHECK(std::memcmp(file.at("b").data, "yz", 2) == 0);
  CHECK(parsed("{}", "").tensors().empty());
}

TEST_CASE("flaws of the frame are refused", "[unit]") {
  CHECK_THROWS_AS(SafetensorsFile::from_bytes("", "x"), DataError);
  CHECK_THROWS_AS(SafetensorsFile::from_bytes("1234567", "x"), DataError);
  CHECK_THROWS_AS(SafetensorsFile::from_bytes(std::string(8, '\xff') + "{}", "x"), DataError);
  CHECK_THROWS_AS(SafetensorsFile::from_bytes(file_of("{}", "").substr(0, 9), "x"), DataError);
  CHECK_THAT(refusal("", ""), Contains("'{'"));
  CHECK_THAT(refusal("[]", ""), Contains("'{'"));
  CHECK_THAT(refusal("{", ""), Contains("no JSON"));
  CHECK_THAT(refusal("{}x", ""), Contains("no JSON"));
  CHECK_THAT(refusal("{}", "x"), Contains("cover 0 of 1"));
  const TemporaryFolder folder;
  atomic_write(folder / "empty", "");
  CHECK_THROWS_AS(SafetensorsFile::open(folder / "empty"), DataError);
  CHECK_THROWS_AS(SafetensorsFile::open(folder / "missing"), DataError);
}

TEST_CASE("flaws of an entry are refused and the tensor named", "[unit]") {
  const auto flawed = [](const std::string& dtype, const std::string& shape,
                         const std::string& offsets) {
    return refusal(R"({"t":)" + entry(dtype, shape, offsets) + "}", "abcd");
  };
  CHECK(flawed("F32", "[1]", "[0,4]").empty());
  CHECK_THAT(flawed("F8", "[1]", "[0,4]"), Contains("tensor 't' has dtype 'F8'"));
  CHECK_THAT(flawed("F32", "[2]", "[0,4]"), Contains("needs 8 bytes"));
  CHECK_THAT(flawed("F32", "[1]", "[0,5]"), Contains("4 bytes of data"));
  CHECK_THAT(flawed("F32", "[1]", "[4,0]"), Contains("data_offsets [4, 0]"));
  CHECK_THAT(flawed("F32", "[1]", "[0]"), Contains("two integers"));
  CHECK_THAT(flawed("F32", "[1]", "[-4,0]"), Contains("two integers"));
  CHECK_THAT(flawed("F32", "[1]", "[0.0,4.0]"), Contains("two integers"));
  CHECK_THAT(flawed("F32", "[-1]", "[0,4]"), Contains("0 or more"));
  CHECK_THAT(flawed("F32", "[1.5]", "[0,4]"), Contains("0 or more"));
  CHECK_THAT(flawed("F32", "1", "[0,4]"), Contains("needs exactly"));
  CHECK_THAT(flawed("F32", "[4611686018427387904,2,2]", "[0,4]"), Contains("overflows"));
  CHECK_THAT(flawed("U8", "[18446744073709551615]", "[0,4]"), Contains("0 or more"));
  CHECK_THAT(refusal(R"({"t":1})", ""), Contains("needs exactly"));
  CHECK_THAT(refusal(R"({"__metadata__":{"a":1}})", ""), Contains("no text: a"));
  CHECK_THAT(refusal(R"({"__metadata__":1})", ""), Contains("no object"));
}

TEST_CASE("overlaps, gaps and doubled names are refused", "[unit]") {
  const auto two = [](const std::string& first, const std::string& second, const char* name) {
    return refusal(R"({"a":)" + entry("U8", "[2]", first) + R"(,")" + name + R"(":)" +
                       entry("U8", "[2]", second) + "}",
                   "abcd");
  };
  CHECK(two("[0,2]", "[2,4]", "b").empty());
  CHECK_THAT(two("[0,2]", "[1,3]", "b"), Contains("'b' overlaps"));
  CHECK_THAT(two("[0,2]", "[0,2]", "b"), Contains("overlaps"));
  CHECK_THAT(two("[0,2]", "[2,4]", "a"), Contains("twice"));
  const std::string with_gap = refusal(
      R"({"a":)" + entry("U8", "[1]", "[0,1]") + R"(,"b":)" + entry("U8", "[2]", "[2,4]") + "}",
      "abcd");
  CHECK_THAT(with_gap, Contains("gap before tensor 'b'"));
}

}  // namespace tandem::test::core_safetensors_unit
