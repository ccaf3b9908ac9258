// The CPU version of tally.h.
#include "kernels/tally/tally.h"

#include "kernels/tally/tally_replica.h"

namespace tandem::kernels {

template <class T>
void add_tally(const TallyTerm<T>& term, double* loss, std::int64_t* correct, std::uint8_t* bits) {
  for (std::int64_t r = 0; r < term.replicas; ++r) tally_replica(term, r, loss, correct, bits);
}

template void add_tally<float>(const TallyTerm<float>&, double*, std::int64_t*, std::uint8_t*);
template void add_tally<double>(const TallyTerm<double>&, double*, std::int64_t*, std::uint8_t*);

}  // namespace tandem::kernels
