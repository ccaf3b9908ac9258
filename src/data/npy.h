// Arrays in NumPy's .npy format (versions 1 to 3): little-endian integers of any width or unsigned
// bytes, in C order. A file that is cut, too long or of another type is a DataError.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

struct NpyHeader {
  std::string type;  // as the file has it: "|u1", "<i8", ...
  std::vector<std::int64_t> dims;
  std::size_t data_begin = 0;  // bytes before the values
};
NpyHeader read_npy_header(const std::string& bytes, const std::string& path);

struct NpyBytes {
  std::vector<std::int64_t> dims;
  std::vector<std::uint8_t> values;
};
NpyBytes read_npy_bytes(const std::string& path);                      // type u1
std::vector<std::int64_t> read_npy_integers(const std::string& path);  // [N] or [N,1]

}  // namespace tandem
