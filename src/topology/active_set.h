// An active set is the active positions of one layer of one replica, as packed bits or as a list of
// ascending positions, whichever its storage has. Both forms of one set have the same hash.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

class ActiveSet {
 public:
  ActiveSet() = default;  // nothing known
  // Bit i of bits[i / 8] is position i; bits beyond `positions` are 0.
  static ActiveSet of_bits(std::vector<std::uint8_t> bits);
  static ActiveSet of_positions(std::vector<std::int64_t> ascending);

  bool known() const { return known_; }
  std::int64_t count() const;
  std::vector<std::int64_t> positions() const;  // ascending
  // Returns 16 hex digits of the sum modulo 2^64 of a 64-bit mix (SplitMix64's) of each position.
  // It takes O(count) and is the same in every storage.
  std::string hash() const;

  // These compare two known sets of one layer, in the same form or not. count_without() is
  // |this \ other|.
  std::int64_t count_without(const ActiveSet& other) const;
  std::int64_t count_common(const ActiveSet& other) const;
  ActiveSet united(const ActiveSet& other) const;
  ActiveSet without(const ActiveSet& other) const;

  // Checkpoints keep a form and its numbers.
  std::vector<std::int64_t> save() const;
  static ActiveSet load(const std::vector<std::int64_t>& saved);  // StoreError where damaged

 private:
  bool known_ = false;
  bool listed_ = false;
  std::vector<std::uint8_t> bits_;
  std::vector<std::int64_t> positions_;
};

}  // namespace tandem
