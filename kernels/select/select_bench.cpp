// Selection against one plain read of the same scores in the same run. Columns: GB/s of scores, and
// `reads`, the time over that of a vectorised sum of the array (the best of several).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "kernels/select/one_read.h"
#include "kernels/select/select.h"
#include "kernels/select/stream.h"

namespace tandem {
namespace {

double seconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

std::vector<float> magnitudes(std::int64_t n) {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> scores(static_cast<std::size_t>(n));
  for (float& score : scores) score = std::abs(normal(random));
  return scores;
}

// Times work(scores, k), range(0) scores and k range(1) per cent of them.
template <class Work>
void against_read(benchmark::State& state, const Work& work) {
  const std::int64_t n = state.range(0), k = n * state.range(1) / 100;
  const auto scores = magnitudes(n);
  double read = std::numeric_limits<double>::infinity();
  for (int repeat = 0; repeat < 30; ++repeat) {
    const double start = seconds();
    benchmark::DoNotOptimize(read_once(scores.data(), n));
    read = std::min(read, seconds() - start);
  }
  double best = std::numeric_limits<double>::infinity();
  for (auto _ : state) {
    const double start = seconds();
    work(scores, k);
    benchmark::ClobberMemory();
    best = std::min(best, seconds() - start);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * n * 4);
  state.counters["read_ms"] = read * 1e3;
  state.counters["best_ms"] = best * 1e3;
  state.counters["reads"] = best / read;
}

void bench_select_top(benchmark::State& state) {
  std::vector<std::uint8_t> chosen(static_cast<std::size_t>(state.range(0)));
  against_read(state, [&](const std::vector<float>& scores, std::int64_t k) {
    const auto n = static_cast<std::int64_t>(scores.size());
    if (select_top(scores.data(), nullptr, n, k, true, chosen.data()) != kSelectDone) {
      state.SkipWithError("select_top failed");
    }
  });
}

void bench_nth_element(benchmark::State& state) {
  std::vector<float> copy(static_cast<std::size_t>(state.range(0)));
  against_read(state, [&](const std::vector<float>& scores, std::int64_t k) {
    std::copy(scores.begin(), scores.end(), copy.begin());
    std::nth_element(copy.begin(), copy.begin() + (k - 1), copy.end(), std::greater<>());
  });
}

void bench_top_stream(benchmark::State& state) {
  std::vector<std::int64_t> positions;
  against_read(state, [&](const std::vector<float>& scores, std::int64_t k) {
    constexpr std::int64_t kSize = 65536;
    const auto n = static_cast<std::int64_t>(scores.size());
    TopStream<float> stream(k, true);
    for (std::int64_t i = 0; i < n; i += kSize) {
      stream.add(i, scores.data() + i, nullptr, std::min(kSize, n - i));
    }
    if (stream.finish(positions) != kSelectDone) state.SkipWithError("TopStream failed");
  });
}

const std::vector<std::vector<std::int64_t>> kSizes = {{100000, 1000000, 10000000},
                                                       {1, 10, 30, 50}};
BENCHMARK(bench_select_top)->ArgsProduct(kSizes)->Unit(benchmark::kMillisecond);
BENCHMARK(bench_nth_element)->ArgsProduct(kSizes)->Unit(benchmark::kMillisecond);
BENCHMARK(bench_top_stream)->ArgsProduct(kSizes)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tandem
