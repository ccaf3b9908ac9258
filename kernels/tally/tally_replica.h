// One replica's part of tally.h, which is the same on every device.
#pragma once

#include "core/host_device.h"
#include "kernels/tally/tally.h"

namespace tandem::kernels {

template <class T>
TANDEM_HOST_DEVICE void tally_replica(const TallyTerm<T>& term, std::int64_t r, double* loss,
                                      std::int64_t* correct, std::uint8_t* bits) {
  const T* losses = term.losses + r * term.width;
  const std::uint8_t* hits = term.hits + r * term.width;
  const std::int64_t count = term.counts[r];
  double sum = loss[r];
  std::int64_t right = correct[r];
  for (std::int64_t i = 0; i < count; ++i) {
    sum += double(losses[i]);
    right += hits[i] != 0;
  }
  loss[r] = sum;
  correct[r] = right;
  if (bits == nullptr) return;
  std::uint8_t* own = bits + r * term.row_bytes;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t at = term.before[r] + i;
    if (hits[i] != 0) own[at / 8] = static_cast<std::uint8_t>(own[at / 8] | (1u << (at % 8)));
  }
}

}  // namespace tandem::kernels
