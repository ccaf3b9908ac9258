// Rows go through the selection kernel of their device, but double scores on a GPU are sorted.
#include "topology/select_rows.h"

#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "cuda/plugin.h"
#include "data/tensor.h"
#include "data/upload.h"
#include "kernels/select/select.h"
#include "kernels/select/select_cuda.h"

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
  const at::Tensor limits = uploaded(torch::tensor(counts, torch::kLong), scores.device());
  at::Tensor chosen = torch::empty(scores.sizes(), scores.options().dtype(torch::kByte));
  launch_cuda<decltype(select_top_cuda)>(
      "select_top", scores.data_ptr<float>(),
      eligible.defined() ? eligible.data_ptr<std::uint8_t>() : nullptr, scores.size(0),
      scores.size(1), limits.data_ptr<std::int64_t>(), largest, chosen.data_ptr<std::uint8_t>());
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
  const at::Tensor limit =
      uploaded(torch::tensor(counts, torch::kLong), scores.device()).unsqueeze(1);
  const at::Tensor first =
      torch::arange(scores.size(1), options).unsqueeze(0).lt(limit).to(torch::kByte);
  return torch::zeros(scores.sizes(), options.dtype(torch::kByte)).scatter_(1, order, first);
}

namespace {

constexpr std::int64_t kRankedTogether = std::int64_t{1} << 22;  // positions; a rank takes 8 bytes

using Ranks = std::vector<std::vector<std::int64_t>>;

// Returns q n + rank for the ranks of each row q, in memory that a copy to a GPU need not wait for.
at::Tensor flat_ranks(const Ranks& ranks, std::int64_t n) {
  std::vector<std::int64_t> begins = {0};
  for (const auto& own : ranks) {
    begins.push_back(begins.back() + static_cast<std::int64_t>(own.size()));
  }
  const at::Tensor flat =
      torch::empty({begins.back()}, torch::TensorOptions(torch::kLong).pinned_memory(true));
  for_each_index(ranks.size(), host_threads(), [&](std::size_t q) {
    std::int64_t* to = flat.data_ptr<std::int64_t>() + begins[q];
    for (const std::int64_t rank : ranks[q]) *to++ = static_cast<std::int64_t>(q) * n + rank;
  });
  return flat;
}

// The position of rank k is where the running count of eligible positions reaches k + 1; where all
// are eligible it is k.
at::Tensor mark_on_gpu(const at::Tensor& eligible, const Ranks& ranks, bool all) {
  const std::int64_t rows = eligible.size(0), n = eligible.size(1);
  const at::Tensor drawn = torch::zeros({rows * n}, eligible.options());
  const at::Tensor places =
      flat_ranks(ranks, n).to(at::TensorOptions(eligible.device()), /*non_blocking=*/true);
  drawn.index_fill_(0, places, 1);
  if (all) return drawn.view({rows, n});
  at::Tensor chosen = torch::empty_like(eligible);
  const std::int64_t together = std::max<std::int64_t>(1, kRankedTogether / n);
  for (std::int64_t q = 0; q < rows; q += together) {
    const std::int64_t some = std::min(together, rows - q);
    const at::Tensor own = eligible.narrow(0, q, some).ne(0);
    const at::Tensor rank = own.cumsum(1, torch::kLong).sub_(1).clamp_min_(0);
    const at::Tensor taken = drawn.view({rows, n}).narrow(0, q, some).gather(1, rank);
    chosen.narrow(0, q, some).copy_(taken.mul_(own));
  }
  return chosen;
}

std::vector<std::int64_t> held_by(const at::Tensor& eligible) {
  const at::Tensor sums = eligible.ne(0).sum(1).to(torch::kCPU);
  const auto* sizes = sums.data_ptr<std::int64_t>();
  return {sizes, sizes + sums.numel()};
}

}  // namespace

at::Tensor random_rows(const at::Tensor& eligible, const std::vector<std::int64_t>& counts,
                       const std::vector<RandomStream>& streams,
                       const std::vector<std::int64_t>& held) {
  check_rows(eligible, counts);
  const std::vector<std::int64_t> candidates = held.empty() ? held_by(eligible) : held;
  TORCH_INTERNAL_ASSERT(candidates.size() == counts.size(), candidates.size(), " sizes of ",
                        counts.size(), " rows");
  for (std::size_t q = 0; q < counts.size(); ++q) {
    TORCH_INTERNAL_ASSERT(counts[q] <= candidates[q], "drawing ", counts[q], " of ", candidates[q]);
  }
  Ranks ranks(counts.size());
  for_each_index(counts.size(), host_threads(), [&](std::size_t q) {
    if (counts[q] > 0) ranks[q] = random_ranks(streams[q], candidates[q], counts[q]);
  });
  const bool all = std::all_of(candidates.begin(), candidates.end(),
                               [&](std::int64_t each) { return each == eligible.size(1); });
  if (eligible.is_cuda()) return mark_on_gpu(eligible.contiguous(), ranks, all);
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

namespace {

constexpr std::int64_t kShort = 16;  // a group up to here is ranked by comparing all pairs

at::Tensor rows_of_groups(const at::Tensor& groups) {
  return groups.permute({0, 1, 3, 2}).reshape({-1, groups.size(2)});
}

at::Tensor groups_of_rows(const at::Tensor& rows, at::IntArrayRef sizes) {
  return rows.view({sizes[0], sizes[1], sizes[3], sizes[2]}).permute({0, 1, 3, 2});
}

std::vector<std::int64_t> on_host(const at::Tensor& counts) {
  const at::Tensor own = counts.to(torch::kCPU, torch::kLong).contiguous();
  return {own.data_ptr<std::int64_t>(), own.data_ptr<std::int64_t>() + own.numel()};
}

// A position's rank is the number of those that come before it.
at::Tensor select_short_groups(const at::Tensor& scores, const at::Tensor& eligible,
                               const at::Tensor& counts, bool largest) {
  const at::Tensor nan = scores.isnan();
  at::Tensor tier = nan.to(torch::kByte);  // 0 number, 1 NaN, 2 and 3 not eligible
  if (eligible.defined()) tier = tier + eligible.eq(0).to(torch::kByte) * 2;
  const auto values = (largest ? scores : scores.neg()).masked_fill(nan, 0).unbind(2);
  const auto tiers = tier.unbind(2);
  std::vector<at::Tensor> ranks;
  for (const at::Tensor& each : tiers) {  // all that have a smaller index, until compared
    ranks.push_back(torch::full_like(each, static_cast<std::int64_t>(ranks.size())));
  }
  for (std::size_t a = 0; a < ranks.size(); ++a) {
    for (std::size_t b = a + 1; b < ranks.size(); ++b) {
      const at::Tensor overtakes = tiers[b].lt(tiers[a]).logical_or_(
          tiers[b].eq(tiers[a]).logical_and_(values[b].gt(values[a])));
      ranks[a].add_(overtakes.view(torch::kByte));
      ranks[b].sub_(overtakes.view(torch::kByte));
    }
  }
  const at::Tensor limit = uploaded(counts, scores.device()).unsqueeze(2);
  return torch::stack(ranks, 2).lt(limit).to(torch::kByte);
}

}  // namespace

at::Tensor select_groups(const at::Tensor& scores, const at::Tensor& eligible,
                         const at::Tensor& counts, bool largest) {
  if (scores.size(2) <= kShort) return select_short_groups(scores, eligible, counts, largest);
  const at::Tensor flags = eligible.defined() ? rows_of_groups(eligible) : eligible;
  const at::Tensor chosen = select_rows(rows_of_groups(scores), flags, on_host(counts), largest);
  return groups_of_rows(chosen, scores.sizes());
}

at::Tensor random_groups(const at::Tensor& eligible, const at::Tensor& counts,
                         const std::vector<RandomStream>& streams) {
  const std::int64_t groups = eligible.size(1) * eligible.size(3);
  std::vector<RandomStream> own;
  own.reserve(streams.size() * static_cast<std::size_t>(groups));
  for (const RandomStream& stream : streams) {
    for (std::int64_t g = 0; g < groups; ++g) {
      own.push_back({sub_key(stream.key, static_cast<std::uint64_t>(g))});
    }
  }
  const at::Tensor chosen = random_rows(rows_of_groups(eligible), on_host(counts), own);
  return groups_of_rows(chosen, eligible.sizes());
}

}  // namespace tandem
