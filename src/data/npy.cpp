#include "data/npy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>

#include "core/error.h"
#include "core/files.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr char kRemedy[] = "numpy.save writes such files";
const std::string kMagic = "\x93NUMPY";

[[noreturn]] void refuse(const std::string& path, const std::string& expected,
                         const std::string& found) {
  throw DataError(fmt::format("{}: expected {}, found {}. {}", path, expected, found, kRemedy));
}

// What stands after 'KEY': in the header's dictionary, up to the next comma outside of brackets.
std::string entry_of(const std::string& header, const std::string& key, const std::string& path) {
  const std::string quoted = "'" + key + "':";
  const std::size_t at = header.find(quoted);
  if (at == std::string::npos) refuse(path, "a header with " + quoted, header);
  std::string value;
  int depth = 0;
  for (std::size_t i = at + quoted.size(); i < header.size(); ++i) {
    const char c = header[i];
    if ((c == ',' || c == '}') && depth == 0) break;
    depth += (c == '(') - (c == ')');
    value += c;
  }
  return trim(value);
}

std::size_t unsigned_at(const std::string& bytes, std::size_t at, std::size_t width) {
  std::size_t value = 0;
  for (std::size_t i = 0; i < width; ++i) {
    value |= static_cast<std::size_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  }
  return value;
}

std::int64_t count_of(const NpyHeader& header, const std::string& path) {
  std::int64_t count = 1;
  for (const std::int64_t each : header.dims) {
    if (each < 1 || __builtin_mul_overflow(count, each, &count))
      refuse(path, "dimensions of at least 1", fmt::format("{}", fmt::join(header.dims, "x")));
  }
  return count;
}

void expect_size(const NpyHeader& header, const std::string& bytes, std::int64_t width,
                 const std::string& path) {
  const auto there = static_cast<std::int64_t>(bytes.size() - header.data_begin);
  std::int64_t wanted = count_of(header, path);
  if (__builtin_mul_overflow(wanted, width, &wanted) || wanted != there) {
    refuse(path, fmt::format("{} values of {} bytes", fmt::join(header.dims, "x"), width),
           fmt::format("{} bytes of them", there));
  }
}

template <class Integer>
std::vector<std::int64_t> integers_in(const std::string& bytes, std::size_t begin) {
  std::vector<std::int64_t> values;
  for (std::size_t at = begin; at < bytes.size(); at += sizeof(Integer)) {
    Integer value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof(Integer));
    values.push_back(static_cast<std::int64_t>(value));
  }
  return values;
}

}  // namespace

NpyHeader read_npy_header(const std::string& bytes, const std::string& path) {
  constexpr std::size_t kVersion = 6, kLength = 8;
  if (bytes.size() < kLength + 4 || bytes.compare(0, kMagic.size(), kMagic) != 0)
    refuse(path, "a .npy file", "another beginning");
  const int version = bytes[kVersion];
  if (version < 1 || version > 3) refuse(path, "format version 1, 2 or 3", std::to_string(version));
  const std::size_t width = version == 1 ? 2 : 4;
  const std::size_t length = unsigned_at(bytes, kLength, width);
  NpyHeader header;
  header.data_begin = kLength + width + length;
  if (header.data_begin > bytes.size()) refuse(path, "a whole header", "one that is cut");
  const std::string text = bytes.substr(kLength + width, length);
  header.type = entry_of(text, "descr", path);
  if (header.type.size() > 2) header.type = header.type.substr(1, header.type.size() - 2);
  if (entry_of(text, "fortran_order", path) != "False")
    refuse(path, "values in C order (numpy.ascontiguousarray)", "Fortran order");
  std::string shape = entry_of(text, "shape", path);
  if (shape.size() < 2 || shape.front() != '(' || shape.back() != ')')
    refuse(path, "a shape", shape);
  for (const std::string& part : split(shape.substr(1, shape.size() - 2), ',')) {
    if (trim(part).empty()) continue;
    const auto dim = parse_integer(trim(part));
    if (!dim) refuse(path, "a shape of whole numbers", shape);
    header.dims.push_back(*dim);
  }
  return header;
}

NpyBytes read_npy_bytes(const std::string& path) {
  const std::string bytes = read_file(path);
  const NpyHeader header = read_npy_header(bytes, path);
  if (header.type != "|u1" && header.type != "<u1")
    refuse(path, "unsigned bytes (uint8, pixels of 0 to 255)", "type " + header.type);
  expect_size(header, bytes, 1, path);
  NpyBytes array{header.dims, {}};
  array.values.assign(bytes.begin() + static_cast<std::ptrdiff_t>(header.data_begin), bytes.end());
  return array;
}

std::vector<std::int64_t> read_npy_integers(const std::string& path) {
  const std::string bytes = read_file(path);
  const NpyHeader header = read_npy_header(bytes, path);
  const bool column = header.dims.size() == 2 && header.dims[1] == 1;
  if (header.dims.size() != 1 && !column)
    refuse(path, "one dimension, or a second one of 1",
           fmt::format("{}", fmt::join(header.dims, "x")));
  const std::string kind = header.type.size() == 3 ? header.type.substr(1) : header.type;
  if (header.type[0] == '>') refuse(path, "little-endian integers", "type " + header.type);
  const auto read = [&](auto zero) {
    expect_size(header, bytes, sizeof(zero), path);
    return integers_in<decltype(zero)>(bytes, header.data_begin);
  };
  if (kind == "u1") return read(std::uint8_t{0});
  if (kind == "i1") return read(std::int8_t{0});
  if (kind == "u2") return read(std::uint16_t{0});
  if (kind == "i2") return read(std::int16_t{0});
  if (kind == "u4") return read(std::uint32_t{0});
  if (kind == "i4") return read(std::int32_t{0});
  if (kind == "u8") return read(std::uint64_t{0});
  if (kind == "i8") return read(std::int64_t{0});
  refuse(path, "integers", "type " + header.type);
}

}  // namespace tandem
