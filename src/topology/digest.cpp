// Tensors have no unsigned 64-bit arithmetic: int64 wraps to the same bits, and a shift to the
// right is cut to what a logical one leaves.
#include "topology/digest.h"

#include <algorithm>

#include "data/tensor.h"
#include "kernels/digest/digest.h"

namespace tandem {
namespace {

constexpr std::int64_t kStretch = std::int64_t{1} << 21;  // elements mixed at once: 16 MB

std::uint64_t digest_of(const at::Tensor& values) {  // contiguous, on the CPU
  if (values.element_size() == sizeof(std::uint32_t)) {
    return kernels::digest(static_cast<const std::uint32_t*>(values.const_data_ptr()),
                           values.numel());
  }
  TORCH_INTERNAL_ASSERT(values.element_size() == sizeof(std::uint64_t), "digest of ",
                        values.scalar_type());
  return kernels::digest(static_cast<const std::uint64_t*>(values.const_data_ptr()),
                         values.numel());
}

std::int64_t as_signed(std::uint64_t x) { return static_cast<std::int64_t>(x); }

// x <- (x ^ (x >> shift)) * factor
void mix_round(at::Tensor& x, std::int64_t shift, std::uint64_t factor) {
  const std::int64_t kept = (std::int64_t{1} << (64 - shift)) - 1;
  x.bitwise_xor_(x.bitwise_right_shift(shift).bitwise_and_(kept)).mul_(as_signed(factor));
}

}  // namespace

at::Tensor row_digests(const at::Tensor& values) {
  const bool narrow = values.element_size() == sizeof(std::uint32_t);
  const at::Tensor bits = values.view(narrow ? torch::kInt32 : torch::kInt64);
  const std::int64_t rows = bits.size(0), columns = bits.size(1);
  at::Tensor sums = torch::zeros({rows}, bits.options().dtype(torch::kInt64));
  for (std::int64_t c = 0; c < columns; c += kStretch) {
    const std::int64_t width = std::min(kStretch, columns - c);
    const std::int64_t height = std::max<std::int64_t>(1, kStretch / width);
    // One step more than of the place: mix64() begins with one.
    const at::Tensor steps = torch::arange(c + 1, c + width + 1, sums.options())
                                 .mul_(as_signed(kernels::kDigestStep));  // [width]
    for (std::int64_t r = 0; r < rows; r += height) {
      const std::int64_t count = std::min(height, rows - r);
      at::Tensor x = bits.narrow(0, r, count).narrow(1, c, width).to(torch::kInt64, false, true);
      if (narrow) x.bitwise_and_(std::int64_t{0xFFFFFFFF});
      x.add_(steps);
      mix_round(x, 30, 0xBF58476D1CE4E5B9ull);
      mix_round(x, 27, 0x94D049BB133111EBull);
      mix_round(x, 31, 1);
      sums.narrow(0, r, count).add_(x.sum(1));
    }
  }
  return sums;
}

std::vector<std::vector<std::uint64_t>> digests_of(const std::vector<Parameter*>& parameters,
                                                   const std::vector<char>& wanted) {
  at::NoGradGuard no_grad;
  std::vector<std::vector<std::uint64_t>> digests(wanted.size());
  if (parameters.empty()) return digests;
  if (!parameters.front()->value.is_cuda()) {
    for (std::size_t r = 0; r < wanted.size(); ++r) {
      if (!wanted[r]) continue;
      for (const Parameter* parameter : parameters) {
        digests[r].push_back(
            digest_of(parameter->segment(parameter->flat(), static_cast<std::int64_t>(r))));
      }
    }
    return digests;
  }
  std::vector<at::Tensor> sums;
  for (const Parameter* parameter : parameters) {
    sums.push_back(row_digests(parameter->flat().view({parameter->replicas(), -1})));
  }
  const at::Tensor all = torch::stack(sums, 1).to(torch::kCPU);  // [R,parameters]
  const auto* row = all.const_data_ptr<std::int64_t>();
  for (std::size_t r = 0; r < wanted.size(); ++r, row += all.size(1)) {
    if (wanted[r]) digests[r].assign(row, row + all.size(1));
  }
  return digests;
}

}  // namespace tandem
