// Adds the scores of some examples to running tallies, of each of R replicas in the order of its
// rows, so that a tally's bits depend neither on the device nor on how the rows came in parts:
//   loss[r] += sum over i < counts[r] of losses[r, i]       (one after the other, in double)
//   correct[r] += how many of hits[r, i] are set
//   bits[r], where there are any, gets hits[r, i] as bit (before[r] + i) of its row, from the
//   lowest
// One bit is of one row: rows of a byte each are counted alone.
#pragma once

#include <cstdint>

namespace tandem::kernels {

template <class T>
struct TallyTerm {
  const T* losses = nullptr;             // [R, width]
  const std::uint8_t* hits = nullptr;    // [R, width]; 0 or 1
  const std::int64_t* counts = nullptr;  // [R], at most `width`
  const std::int64_t* before = nullptr;  // [R] rows that are in the tally already
  std::int64_t width = 0, replicas = 0;
  std::int64_t row_bytes = 0;  // of a replica's bits
};

// bits [R, row_bytes] may be null; those that are not written yet must be zero.
template <class T>
void add_tally(const TallyTerm<T>& term, double* loss, std::int64_t* correct, std::uint8_t* bits);

}  // namespace tandem::kernels
