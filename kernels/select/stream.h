// The k largest or smallest of scores that arrive in blocks, in the order of select_top: exact,
// ties to the smaller position, NaN after every number. It keeps at most about 2k scores and their
// positions: what is not better than the k-th of an earlier moment is not kept, and a full buffer
// is cut to its k best as select_top finds them. Scores in random order fill it log2(n / k) times;
// where they keep improving, or positions do not ascend from block to block, it costs more.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/select/select.h"
#include "kernels/select/sieve.h"

namespace tandem {

template <class T>  // float or double
class TopStream {
 public:
  TopStream(std::int64_t k, bool largest);

  // Offers positions first_position..first_position + n - 1. Blocks may have any size and come in
  // any order, but no position twice. eligible: flags (zero or not); null = all. Returns
  // kSelectDone, or kSelectBadArguments, also for a k below 0; nothing is then taken.
  int add(std::int64_t first_position, const T* scores, const std::uint8_t* eligible,
          std::int64_t n);

  // Replaces `positions` by the k chosen ones in ascending order and leaves the stream empty, or
  // returns kSelectTooFew, where fewer than k were offered, or kSelectBadArguments and changes
  // nothing.
  int finish(std::vector<std::int64_t>& positions);

 private:
  void add_block(std::int64_t first_position, const T* scores, const std::uint8_t* eligible,
                 std::int64_t n);
  bool mark_sorted(selecting::KeyOf<T>* worst);
  void cut();
  void cut_by_sorting();

  std::int64_t k_;
  bool largest_;
  selecting::Scratch<T> scores_;
  selecting::Scratch<std::int64_t> positions_;
  selecting::Scratch<std::uint64_t> marks_;
  std::int64_t size_ = 0;
  bool sorted_ = true;      // positions_ ascend
  bool has_worst_ = false;  // what is not better than the worst is not needed
  selecting::KeyOf<T> worst_key_ = 0;
  std::int64_t worst_position_ = 0;
};

extern template class TopStream<float>;
extern template class TopStream<double>;

}  // namespace tandem
