// Rows go through the selection kernel of their device; double scores on a GPU through sorting.
#include "topology/select_rows.h"

#include <limits>

#include "core/parallel.h"
#include "cuda/plugin.h"
#include "data/tensor.h"
#include "kernels/select/select.h"

namespace tandem {
namespace {

template <class T>
void select_on_cpu(const at::Tensor& scores, const at::Tensor& eligible,
                   const std::vector<std::int64_t>& counts, bool largest, at::Tensor& chosen) {
  const std::int64_t n = scores.size(1);
  for (std::int64_t q = 0; q < scores.size(0); ++q) {
    const auto* flags = eligible.defined() ? eligible.data_ptr<std::uint8_t>() + q * n : nullptr;
    const int error = select_top(scores.data_ptr<T>() + q * n, flags, n, counts[q], largest,
                                 chosen.data_ptr<std::uint8_t>() + q * n);
    TORCH_INTERNAL_ASSERT(error == kSelectDone, "selecting ", counts[q], " of ", n,
                          " positions failed with code ", error);
  }
}

at::Tensor select_on_gpu(const at::Tensor& scores, const at::Tensor& eligible,
                         const std::vector<std::int64_t>& counts, bool largest) {
  const at::Tensor limits = torch::tensor(counts, torch::kLong).to(scores.device());
  at::Tensor chosen = torch::empty(scores.sizes(), scores.options().dtype(torch::kByte));
  check_cuda(cuda_api().select_top(scores.data_ptr<float>(),
                                   eligible.defined() ? eligible.data_ptr<std::uint8_t>() : nullptr,
                                   scores.size(0), scores.size(1), limits.data_ptr<std::int64_t>(),
                                   largest, chosen.data_ptr<std::uint8_t>()),
             "select_top");
  return chosen;
}

void check_rows(const at::Tensor& rows, const std::vector<std::int64_t>& counts) {
  TORCH_INTERNAL_ASSERT(rows.dim() == 2 && rows.size(0) == static_cast<std::int64_t>(counts.size()),
                        "rows of shape ", rows.sizes(), " with ", counts.size(), " counts");
}

}  // namespace

at::Tensor select_rows(const at::Tensor& scores, const at::Tensor& eligible,
                       const std::vector<std::int64_t>& counts, bool largest) {
  check_rows(scores, counts);
  const at::Tensor flags = eligible.defined() ? eligible.contiguous() : eligible;
  if (scores.is_cuda() && scores.scalar_type() == torch::kFloat) {
    return select_on_gpu(scores.contiguous(), flags, counts, largest);
  }
  if (!scores.is_cpu()) return select_rows_by_sort(scores, eligible, counts, largest);
  at::Tensor chosen = torch::empty(scores.sizes(), torch::kByte);
  if (scores.scalar_type() == torch::kDouble) {
    select_on_cpu<double>(scores.contiguous(), flags, counts, largest, chosen);
  } else {
    select_on_cpu<float>(scores.to(torch::kFloat).contiguous(), flags, counts, largest, chosen);
  }
  return chosen;
}

at::Tensor select_rows_by_sort(const at::Tensor& scores, const at::Tensor& eligible,
                               const std::vector<std::int64_t>& counts, bool largest) {
  check_rows(scores, counts);
  const at::Tensor nan = scores.isnan();
  const double infinity = std::numeric_limits<double>::infinity();
  // Adding zero turns -0 into +0, which a radix sort would tell apart.
  const at::Tensor keys = (scores + 0).masked_fill(nan, largest ? -infinity : infinity);
  const at::Tensor by_score = std::get<1>(torch::sort(keys, /*stable=*/true, 1, largest));
  at::Tensor rank = nan.to(torch::kByte);  // 0 number, 1 NaN, 2 and 3 not eligible
  if (eligible.defined()) rank = rank + eligible.eq(0).to(torch::kByte) * 2;
  const at::Tensor by_rank =
      std::get<1>(torch::sort(rank.gather(1, by_score), /*stable=*/true, 1, false));
  const at::Tensor order = by_score.gather(1, by_rank);
  const auto options = torch::TensorOptions(scores.device()).dtype(torch::kLong);
  const at::Tensor limit = torch::tensor(counts, torch::kLong).to(scores.device()).unsqueeze(1);
  const at::Tensor first =
      torch::arange(scores.size(1), options).unsqueeze(0).lt(limit).to(torch::kByte);
  return torch::zeros(scores.sizes(), options.dtype(torch::kByte)).scatter_(1, order, first);
}

namespace {

// The position of rank k is where the running count of eligible positions reaches k + 1.
at::Tensor mark_on_gpu(const at::Tensor& eligible,
                       const std::vector<std::vector<std::int64_t>>& ranks) {
  const std::int64_t rows = eligible.size(0), n = eligible.size(1);
  std::vector<std::int64_t> flat;
  for (std::size_t q = 0; q < ranks.size(); ++q) {
    for (const std::int64_t rank : ranks[q]) {
      flat.push_back(static_cast<std::int64_t>(q) * n + rank);
    }
  }
  const at::Tensor drawn = torch::zeros({rows * n}, eligible.options());
  drawn.index_fill_(0, torch::tensor(flat, torch::kLong).to(eligible.device()), 1);
  at::Tensor chosen = torch::empty_like(eligible);
  for (std::int64_t q = 0; q < rows; ++q) {  // row by row: a rank takes eight bytes a position
    const at::Tensor own = eligible[q].ne(0);
    const at::Tensor rank = own.cumsum(0, torch::kLong).sub_(1).clamp_min_(0);
    chosen[q].copy_(drawn.narrow(0, q * n, n).index_select(0, rank).mul_(own));
  }
  return chosen;
}

}  // namespace

at::Tensor random_rows(const at::Tensor& eligible, const std::vector<std::int64_t>& counts,
                       const std::vector<RandomStream>& streams) {
  check_rows(eligible, counts);
  const at::Tensor held = eligible.ne(0).sum(1).to(torch::kCPU);
  const auto* sizes = held.data_ptr<std::int64_t>();
  const std::vector<std::int64_t> candidates(sizes, sizes + counts.size());
  for (std::size_t q = 0; q < counts.size(); ++q) {
    TORCH_INTERNAL_ASSERT(counts[q] <= candidates[q], "drawing ", counts[q], " of ", candidates[q]);
  }
  std::vector<std::vector<std::int64_t>> ranks(counts.size());
  for_each_index(counts.size(), at::get_num_threads(), [&](std::size_t q) {
    if (counts[q] > 0) ranks[q] = random_ranks(streams[q], candidates[q], counts[q]);
  });
  if (eligible.is_cuda()) return mark_on_gpu(eligible.contiguous(), ranks);
  const at::Tensor flags = eligible.contiguous();
  at::Tensor chosen = torch::zeros(flags.sizes(), torch::kByte);
  const std::int64_t n = flags.size(1);
  for (std::int64_t q = 0; q < flags.size(0); ++q) {
    if (counts[q] == 0) continue;
    mark_ranks(ranks[q], flags.data_ptr<std::uint8_t>() + q * n, n,
               chosen.data_ptr<std::uint8_t>() + q * n);
  }
  return chosen;
}

}  // namespace tandem
