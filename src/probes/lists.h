// A probe's memory is saved as integer lists; these functions turn numbers into such lists and
// back.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace tandem {

inline const std::string kRunList = ".run";  // where a layer's name stands: what a run has once

using NamedLists = std::vector<std::pair<std::string, std::vector<std::int64_t>>>;

inline std::int64_t as_integer(double value) { return std::bit_cast<std::int64_t>(value); }
inline double as_real(std::int64_t value) { return std::bit_cast<double>(value); }

// The list begins with the number of floats, and each number after it holds two of them.
inline std::vector<std::int64_t> packed_floats(const std::vector<float>& values) {
  std::vector<std::int64_t> packed = {static_cast<std::int64_t>(values.size())};
  for (std::size_t i = 0; i < values.size(); i += 2) {
    const std::uint64_t low = std::bit_cast<std::uint32_t>(values[i]);
    const std::uint64_t high =
        i + 1 < values.size() ? std::bit_cast<std::uint32_t>(values[i + 1]) : 0;
    packed.push_back(static_cast<std::int64_t>(high << 32 | low));
  }
  return packed;
}
inline std::vector<float> unpacked_floats(const std::vector<std::int64_t>& packed) {
  const auto count = packed.empty() ? 0 : static_cast<std::size_t>(packed[0]);
  std::vector<float> values;
  for (std::size_t i = 0; i < count && i / 2 + 1 < packed.size(); ++i) {
    const auto both = static_cast<std::uint64_t>(packed[i / 2 + 1]);
    values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(both >> (i % 2 * 32))));
  }
  return values;
}

[[noreturn]] inline void refuse_list(const std::string& name, const std::string& expected) {
  throw StoreError("list '" + name + "' of a probe's memory in a checkpoint: expected " + expected +
                   "; use the program that wrote it, or train anew");
}

// Takes the name "LAYER/WHAT" of a memory that is kept per layer apart; another name is a
// StoreError.
inline std::pair<std::string, std::string> layer_and_what(const std::string& name) {
  const std::size_t slash = name.rfind('/');
  if (slash == std::string::npos) refuse_list(name, "a name LAYER/WHAT");
  return {name.substr(0, slash), name.substr(slash + 1)};
}

}  // namespace tandem
