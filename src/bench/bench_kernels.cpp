// `tandem bench kernels`: the kernels of the sparse storage beside what else computes the same, on
// one thread. A layer's products beside dense and CSR matrices of LibTorch and sparse ones of
// Eigen; selection beside one read of the scores. GFLOP/s count the connections that exist: 2 per
// connection and sample forward, 4 backward (dx and dw).
// Eigen has no run-time dispatch: it is compiled for the build's baseline, SSE2 by default.
#include <fmt/format.h>

#include <Eigen/Core>
#include <Eigen/SparseCore>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <optional>
#include <random>

#include "bench/bench.h"
#include "data/tensor.h"
#include "jobs/provenance.h"
#include "kernels/select/one_read.h"
#include "kernels/select/select.h"
#include "kernels/select/stream.h"
#include "kernels/spmm/spmm.h"

namespace tandem {
namespace {

using Dense = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using EigenSparse = Eigen::SparseMatrix<float, Eigen::RowMajor>;
using Index = std::uint16_t;

constexpr std::int64_t kBatch = 128;
constexpr std::int64_t kRounds = 11;

// A row of the report, at once.
template <class... Values>
void say(fmt::format_string<Values...> format, Values&&... values) {
  fmt::print(format, std::forward<Values>(values)...);
  std::fflush(stdout);
}

struct Work {
  std::function<void()> step;
  std::string target = {};  // the instruction set of our kernels

  // Choosing a set asks the processor, which takes microseconds: once in a round.
  BenchSide side(std::int64_t steps) const {
    return {.run =
                [work = *this](std::int64_t times) {
                  kernels::spmm_use_target(work.target);
                  for (std::int64_t t = 0; t < times; ++t) work.step();
                  return std::int64_t{0};
                },
            .warm_up = 2,
            .steps = steps};
  }
};

// One layer's connections and activations, as each side wants them. Feature-major x [in,B] and
// dy [out,B] but for dense LibTorch, which has x [B,in], W [in,out] and dy [B,out].
class LayerBench {
 public:
  LayerBench(std::int64_t inputs, std::int64_t outputs, double density)
      : inputs_(inputs), outputs_(outputs), by_input_(inputs + 1), by_output_(outputs + 1) {
    std::mt19937_64 random(1);
    std::bernoulli_distribution exists(density);
    for (std::int64_t p = 0; p < inputs * outputs; ++p) {
      if (exists(random)) positions_.push_back(p);
    }
    output_of_.resize(positions_.size());
    input_of_.resize(positions_.size());
    place_.resize(positions_.size());
    kernels::build_pattern<Index>(
        positions_.data(), nnz(), inputs, outputs,
        {by_input_.data(), output_of_.data(), by_output_.data(), input_of_.data(), place_.data()},
        &pattern_);
    values_ = at::randn({nnz()});
    by_output_values_ = values_.index_select(0, indices(place_).to(at::kLong));
    x_ = at::randn({inputs, kBatch});
    dy_ = at::randn({outputs, kBatch});
    y_ = at::empty({outputs, kBatch});
    dx_ = at::empty({inputs, kBatch});
    dvalues_ = at::empty({nnz()});
    bias_ = at::zeros({outputs});
  }

  std::int64_t nnz() const { return static_cast<std::int64_t>(positions_.size()); }

  void forward() {
    kernels::spmm_forward(pattern_, of(by_output_values_), of(bias_), of(x_), kBatch, kBatch, false,
                          of(y_));
  }
  void backward() {
    kernels::spmm_backward(pattern_, of(values_), of(x_), of(dy_), kBatch, kBatch, false, of(dx_),
                           of(dvalues_));
  }

  void make_dense() {
    weight_ = at::zeros({inputs_, outputs_});
    const at::Tensor at_positions = at::tensor(positions_, at::kLong);
    weight_.view(-1).index_copy_(0, at_positions, values_);
    rows_ = x_.t().contiguous();
    drows_ = dy_.t().contiguous();
    out_ = at::empty({kBatch, outputs_});
    din_ = at::empty({kBatch, inputs_});
    dweight_ = at::empty({inputs_, outputs_});
  }
  void dense_forward() { at::mm_out(out_, rows_, weight_); }
  void dense_backward() {
    at::mm_out(din_, drows_, weight_.t());
    at::mm_out(dweight_, rows_.t(), drows_);
  }

  void make_csr() {
    csr_ = at::sparse_csr_tensor(indices(by_output_), indices(input_of_), by_output_values_,
                                 {outputs_, inputs_}, at::TensorOptions(at::kFloat));
    csr_by_input_ = at::sparse_csr_tensor(indices(by_input_), indices(output_of_), values_,
                                          {inputs_, outputs_}, at::TensorOptions(at::kFloat));
  }
  void csr_forward() { at::mm_out(y_, csr_, x_); }
  void csr_backward() {
    at::mm_out(dx_, csr_by_input_, dy_);
    csr_dvalues_ = at::sparse_sampled_addmm(csr_by_input_, x_, dy_.t(), 0, 1);
  }

  void make_eigen() {
    eigen_ = eigen_of(outputs_, inputs_, by_output_, input_of_, by_output_values_);
    eigen_by_input_ = eigen_of(inputs_, outputs_, by_input_, output_of_, values_);
  }
  void eigen_forward() { map(y_).noalias() = eigen_ * map(x_); }
  void eigen_backward() {  // dw by one dot product per connection
    map(dx_).noalias() = eigen_by_input_ * map(dy_);
    const auto x = map(x_), dy = map(dy_);
    float* dvalues = of(dvalues_);
    for (std::int64_t i = 0; i < inputs_; ++i) {
      for (std::int64_t e = by_input_[i]; e < by_input_[i + 1]; ++e) {
        dvalues[e] = x.row(i).dot(dy.row(output_of_[e]));
      }
    }
  }

 private:
  static float* of(const at::Tensor& tensor) { return tensor.data_ptr<float>(); }
  static Eigen::Map<Dense> map(const at::Tensor& tensor) {
    return {of(tensor), tensor.size(0), tensor.size(1)};
  }
  template <class From>
  static at::Tensor indices(const std::vector<From>& from) {
    return at::tensor(std::vector<std::int64_t>(from.begin(), from.end()), at::kLong).to(at::kInt);
  }
  static EigenSparse eigen_of(std::int64_t rows, std::int64_t columns,
                              const std::vector<std::int64_t>& begins,
                              const std::vector<Index>& column_of, const at::Tensor& values) {
    std::vector<Eigen::Triplet<float>> entries;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t e = begins[r]; e < begins[r + 1]; ++e) {
        entries.emplace_back(static_cast<int>(r), column_of[e], of(values)[e]);
      }
    }
    EigenSparse matrix(rows, columns);
    matrix.setFromTriplets(entries.begin(), entries.end());
    return matrix;
  }

  std::int64_t inputs_, outputs_;
  std::vector<std::int64_t> positions_, by_input_, by_output_;
  std::vector<Index> output_of_, input_of_;
  std::vector<std::uint32_t> place_;
  kernels::SparsePattern<Index> pattern_;
  at::Tensor values_, by_output_values_, dvalues_, bias_, x_, y_, dx_, dy_;
  at::Tensor weight_, rows_, drows_, out_, din_, dweight_;  // dense
  at::Tensor csr_, csr_by_input_, csr_dvalues_;
  EigenSparse eigen_, eigen_by_input_;
};

// The names of the columns; the first one is the best instruction set, which a run uses.
std::vector<std::string> columns() {
  std::vector<std::string> names = kernels::spmm_targets();
  names.insert(names.end(), {"dense", "CSR", "Eigen"});
  return names;
}

// Tries a step once; nothing where the library has no such operation.
std::optional<Work> available(const std::function<void()>& step) {
  try {
    step();
  } catch (const c10::Error&) {
    return std::nullopt;
  }
  return Work{step};
}

// Steps of about four milliseconds.
BenchSide round_of(const Work& work) {
  paired_medians({work.side(1)}, 1);
  const double once = paired_medians({work.side(4)}, 3).front();
  return work.side(std::max<std::int64_t>(1, std::llround(4e-3 / once)));
}

// Seconds of each column; nothing where there is no such operation.
std::vector<std::optional<double>> measure(LayerBench& layer, bool forward) {
  std::vector<std::optional<Work>> works;
  for (const std::string& target : kernels::spmm_targets()) {
    works.push_back(
        Work{[&layer, forward] { forward ? layer.forward() : layer.backward(); }, target});
  }
  const auto either = [forward](auto one, auto other) {
    return available([=] { forward ? one() : other(); });
  };
  works.push_back(
      either([&layer] { layer.dense_forward(); }, [&layer] { layer.dense_backward(); }));
  works.push_back(either([&layer] { layer.csr_forward(); }, [&layer] { layer.csr_backward(); }));
  works.push_back(
      either([&layer] { layer.eigen_forward(); }, [&layer] { layer.eigen_backward(); }));

  std::vector<BenchSide> sides;
  for (const auto& work : works) {
    if (work) sides.push_back(round_of(*work));
  }
  const std::vector<double> seconds = paired_medians(sides, kRounds);
  kernels::spmm_use_target("");
  std::vector<std::optional<double>> all;
  std::size_t next = 0;
  for (const auto& work : works) {
    work ? all.emplace_back(seconds[next++]) : all.emplace_back(std::nullopt);
  }
  return all;
}

struct Ratio {
  double density, ours_over_dense;
};

// Where ours takes as long as dense, between the two measured densities about it.
std::string break_even(const std::vector<Ratio>& ratios) {  // density descending
  if (ratios.front().ours_over_dense < 1)
    return "none: the sparse kernel is faster at every density";
  for (std::size_t i = 1; i < ratios.size(); ++i) {
    const Ratio &dear = ratios[i - 1], &cheap = ratios[i];
    if (cheap.ours_over_dense >= 1) continue;
    const double from = std::log(dear.ours_over_dense), to = std::log(cheap.ours_over_dense);
    const double along = from / (from - to);
    const double density = dear.density * std::pow(cheap.density / dear.density, along);
    return fmt::format("{:.1f}% (sparsity {:.1f}%)", 100 * density, 100 * (1 - density));
  }
  return "below every density measured";
}

void bench_layer(std::int64_t inputs, std::int64_t outputs) {
  const std::vector<std::string> names = columns();
  say("\n{} x {} (in x out), batch {}, float: ms (GFLOP/s)\n", inputs, outputs, kBatch);
  std::string header = fmt::format("{:<9} {:<9}", "sparsity", "pass");
  for (const std::string& name : names) header += fmt::format(" {:>16}", name);
  say("{}\n", header);
  const std::size_t dense_at = names.size() - 3;
  std::vector<Ratio> ratios[3];
  for (const double sparsity : {0.0, 25.0, 50.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.9}) {
    const double density = 1 - sparsity / 100;
    LayerBench layer(inputs, outputs, density);
    layer.make_dense();
    layer.make_csr();
    layer.make_eigen();
    double ours = 0, dense = 0;
    for (const bool forward : {true, false}) {
      const auto seconds = measure(layer, forward);
      std::string line = fmt::format("{:<9} {:<9}", fmt::format("{:g}%", sparsity),
                                     forward ? "forward" : "backward");
      for (const auto& each : seconds) {
        const double flops = (forward ? 2.0 : 4.0) * static_cast<double>(layer.nnz() * kBatch);
        line += each ? fmt::format(" {:>16}",
                                   fmt::format("{:.3f} ({:.1f})", 1e3 * *each, flops / *each / 1e9))
                     : fmt::format(" {:>16}", "not available");
      }
      say("{}\n", line);
      ratios[forward ? 0 : 1].push_back({density, *seconds[0] / *seconds[dense_at]});
      ours += *seconds[0];
      dense += *seconds[dense_at];
    }
    ratios[2].push_back({density, ours / dense});
  }
  const char* const passes[] = {"forward", "backward", "both"};
  for (int i = 0; i < 3; ++i) {
    say("break-even density against dense LibTorch, {}: {}\n", passes[i], break_even(ratios[i]));
  }
}

double available_bytes() {
  std::ifstream lines("/proc/meminfo");
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("MemAvailable:", 0) == 0) return 1024 * std::stod(line.substr(13));
  }
  return 0;
}

void bench_selection(std::int64_t n) {
  constexpr std::int64_t kBlockSize = std::int64_t{1} << 18;
  if (available_bytes() < 25 * static_cast<double>(n)) {  // the scores, a copy, 2k keys and places
    say("{:>10}  not enough memory\n", n);
    return;
  }
  const auto size = static_cast<std::size_t>(n);
  std::vector<float> scores(size), copy(size);
  std::vector<std::uint8_t> chosen(size);
  std::vector<std::int64_t> positions;
  std::mt19937_64 random(1);
  for (float& score : scores) {  // magnitudes over eight orders, as gradients have
    const auto draw = static_cast<double>(random() >> 11) * 0x1p-53;
    score = static_cast<float>(std::exp(-18 * draw));
  }
  volatile float total = 0;
  for (const double per_cent : {0.3, 3.0, 30.0}) {
    const auto k = static_cast<std::int64_t>(std::llround(static_cast<double>(n) * per_cent / 100));
    const std::function<void()> works[] = {
        [&] { total = read_once(scores.data(), n); },
        [&] { select_top(scores.data(), nullptr, n, k, true, chosen.data()); },
        [&] {
          TopStream<float> stream(k, true);
          for (std::int64_t i = 0; i < n; i += kBlockSize) {
            stream.add(i, scores.data() + i, nullptr, std::min(kBlockSize, n - i));
          }
          stream.finish(positions);
        },
        [&] {
          std::copy(scores.begin(), scores.end(), copy.begin());
          std::nth_element(copy.begin(), copy.begin() + (k - 1), copy.end(), std::greater<>());
        }};
    std::vector<BenchSide> sides;
    const std::int64_t steps = std::max<std::int64_t>(1, 4'000'000 / n);
    for (const auto& work : works) sides.push_back(Work{work}.side(steps));
    sides[0].steps *= 4;
    const auto s = paired_medians(sides, n > 20'000'000 ? 3 : 9);
    const auto cell = [&](double seconds) {
      return fmt::format("{:.2f} ({:.1f})", 1e3 * seconds, seconds / s[0]);
    };
    say("{:>10} {:>6} {:>18} {:>16} {:>16} {:>16}\n", n, fmt::format("{:g}%", per_cent),
        fmt::format("{:.3f} ms, {:.0f} GB/s", 1e3 * s[0], 4e-9 * static_cast<double>(n) / s[0]),
        cell(s[1]), cell(s[2]), cell(s[3]));
  }
}

}  // namespace

void bench_kernels() {
  const torch::NoGradGuard no_grad;
  at::manual_seed(1);
  say("processor {}, one thread; instruction set in use: {}\n", processor_name(),
      kernels::spmm_target());
  say("columns: the sparse layer on each instruction set, dense LibTorch, LibTorch's CSR, Eigen's "
      "sparse matrix (compiled for the build's baseline)\n");
  bench_layer(784, 1000);
  bench_layer(1000, 1000);
  say("\nselection of the k largest of n floats: ms (reads of the scores)\n");
  say("{:>10} {:>6} {:>18} {:>16} {:>16} {:>16}\n", "n", "k", "one read", "select_top", "TopStream",
      "nth_element");
  for (const std::int64_t n : {1'000'000, 10'000'000, 100'000'000}) bench_selection(n);
}

}  // namespace tandem
