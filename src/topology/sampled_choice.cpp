// Keys are computed on the host, row by row.
#include "topology/sampled_choice.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "data/tensor.h"

namespace tandem {

double sampling_key(double score, double sharpness, RandomStream stream, std::int64_t position) {
  const double floor = std::numeric_limits<double>::min();  // a NaN stays one
  return sharpness * std::log(std::max(score, floor)) -
         std::log(-std::log(uniform_at(stream, position)));
}

at::Tensor sampling_keys(const at::Tensor& scores, const at::Tensor& eligible,
                         const std::vector<double>& sharpness,
                         const std::vector<RandomStream>& streams) {
  const std::size_t rows = streams.size();
  TORCH_INTERNAL_ASSERT(scores.dim() == 2 && scores.size(0) == static_cast<std::int64_t>(rows) &&
                            sharpness.size() == rows,
                        "scores ", scores.sizes(), " of ", rows, " rows");
  const std::int64_t n = scores.size(1);
  const at::Tensor own = scores.to(torch::kCPU, torch::kDouble).contiguous();
  const at::Tensor flags =
      eligible.defined() ? eligible.to(torch::kCPU).contiguous() : at::Tensor();
  const at::Tensor keys = torch::zeros(scores.sizes(), torch::kDouble);
  const auto* from = own.data_ptr<double>();
  const auto* flag = flags.defined() ? flags.data_ptr<std::uint8_t>() : nullptr;
  auto* to = keys.data_ptr<double>();
  for_each_index(rows, host_threads(), [&](std::size_t q) {
    const std::int64_t first = static_cast<std::int64_t>(q) * n;
    for (std::int64_t i = 0; i < n; ++i) {
      if (flag != nullptr && flag[first + i] == 0) continue;
      to[first + i] = sampling_key(from[first + i], sharpness[q], streams[q], i);
    }
  });
  return keys.to(scores.device());
}

namespace {

void write_uniforms(RandomStream stream, std::int64_t first, std::int64_t n, double* to) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = uniform_at(stream, first + i);
}

}  // namespace

at::Tensor uniforms(RandomStream stream, std::int64_t first, std::int64_t n) {
  const at::Tensor draws = torch::empty({n}, torch::kDouble);
  write_uniforms(stream, first, n, draws.data_ptr<double>());
  return draws;
}

at::Tensor uniform_rows(const std::vector<RandomStream>& streams, std::int64_t n) {
  const at::Tensor draws =
      torch::empty({static_cast<std::int64_t>(streams.size()), n}, torch::kDouble);
  auto* to = draws.data_ptr<double>();
  for_each_index(streams.size(), host_threads(), [&](std::size_t q) {
    write_uniforms(streams[q], 0, n, to + static_cast<std::int64_t>(q) * n);
  });
  return draws;
}

}  // namespace tandem
