// The kernels of attention_passes.cuh with exact products: a file of its own, so that it compiles
// beside that of the others.
#include "kernels/attention/attention_passes.cuh"

namespace tandem::attention_cuda {

#define TANDEM_INSTANCE(width) template struct Launches<width, true>;
TANDEM_ATTENTION_EXACT_WIDTHS(TANDEM_INSTANCE)

}  // namespace tandem::attention_cuda
