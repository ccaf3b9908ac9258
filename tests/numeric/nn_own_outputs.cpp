// Distances of logits of which each row has its own outputs, against loops over those outputs alone
// in double; and the slopes by central differences of the loops.
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>

#include "data/tensor.h"
#include "nn/context.h"
#include "nn/own_outputs.h"

namespace tandem::test::nn_own_outputs_numeric {

namespace {

using Distance = Alignment::Distance;
constexpr std::int64_t kReplicas = 2, kRows = 5, kOutputs = 6;
const auto kDouble = torch::TensorOptions(torch::kFloat64);

// Row n of a replica reads outputs [first, last): heads of one, two and three outputs.
std::pair<std::int64_t, std::int64_t> head_of(std::int64_t replica, std::int64_t row) {
  constexpr std::pair<std::int64_t, std::int64_t> kHeads[] = {{0, 2}, {2, 5}, {5, 6}};
  return kHeads[(row + replica) % 3];
}

at::Tensor allowed_outputs() {
  const at::Tensor allowed = torch::zeros({kReplicas, kRows, kOutputs}, torch::kBool);
  for (std::int64_t r = 0; r < kReplicas; ++r) {
    for (std::int64_t n = 0; n < kRows; ++n) {
      const auto [first, last] = head_of(r, n);
      allowed[r][n].slice(0, first, last).fill_(true);
    }
  }
  return allowed;
}

at::Tensor draw(std::int64_t seed) {
  torch::manual_seed(seed);
  return torch::randn({kReplicas, kRows, kOutputs}, kDouble) * 2;
}

std::vector<double> own(const at::Tensor& x, std::int64_t r, std::int64_t n) {
  const auto [first, last] = head_of(r, n);
  std::vector<double> values;
  for (std::int64_t c = first; c < last; ++c) values.push_back(x[r][n][c].item<double>());
  return values;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

std::vector<double> shares(const std::vector<double>& logits) {
  double sum = 0;
  std::vector<double> result;
  for (const double each : logits) sum += std::exp(each);
  for (const double each : logits) result.push_back(std::exp(each) / sum);
  return result;
}

// d(mover, target) of replica r.
double by_hand(const at::Tensor& mover, const at::Tensor& target, std::int64_t r, Distance of) {
  double sum = 0, squares = 0, count = 0;
  for (std::int64_t n = 0; n < kRows; ++n) {
    const std::vector<double> a = own(mover, r, n), b = own(target, r, n);
    const std::vector<double> p = shares(a), q = shares(b);
    if (of == Distance::kCosine) sum += 1 - dot(a, b) / std::sqrt(dot(a, a) * dot(b, b));
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double d = a[i] - b[i];
      if (of == Distance::kSmoothL1) sum += std::abs(d) < 1 ? d * d / 2 : std::abs(d) - 0.5;
      if (of == Distance::kMse || of == Distance::kRelativeMse) sum += d * d;
      if (of == Distance::kLogitKl) sum += q[i] * std::log(q[i] / p[i]);
      squares += b[i] * b[i];
      count += 1;
    }
  }
  if (of == Distance::kRelativeMse) return sum / (squares + 1e-12);
  return sum / (of == Distance::kCosine || of == Distance::kLogitKl ? double(kRows) : count);
}

using Function = std::function<double(const at::Tensor&)>;

at::Tensor slope(const Function& value, const at::Tensor& x) {
  const double step = 1e-5;
  const at::Tensor result = torch::zeros_like(x);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const auto moved = [&](double by) {
      const at::Tensor copy = x.clone();
      copy.view(-1)[i] += by;
      return value(copy);
    };
    result.view(-1)[i] = (moved(step) - moved(-step)) / (2 * step);
  }
  return result;
}

}  // namespace

TEST_CASE("a distance of logits sees each row's own outputs alone", "[numeric]") {
  const at::Tensor full = draw(1), sparse = draw(2), allowed = allowed_outputs();
  const std::vector<double> full_coefficient = {0.3, 1.5}, sparse_coefficient = {0.7, 0.2};
  for (const Distance each : {Distance::kSmoothL1, Distance::kMse, Distance::kRelativeMse,
                              Distance::kCosine, Distance::kLogitKl}) {
    CAPTURE(static_cast<int>(each));
    const at::Tensor a = full.clone().requires_grad_(true), b = sparse.clone().requires_grad_(true);
    const at::Tensor got =
        stream_distance(a, b, torch::tensor(full_coefficient, kDouble),
                        torch::tensor(sparse_coefficient, kDouble), each, allowed);
    // Each direction with the other end held, as the stop-gradients say.
    const auto of_full = [&](const at::Tensor& x) {
      return full_coefficient[0] * by_hand(x, sparse, 0, each) +
             full_coefficient[1] * by_hand(x, sparse, 1, each);
    };
    const auto of_sparse = [&](const at::Tensor& x) {
      return sparse_coefficient[0] * by_hand(x, full, 0, each) +
             sparse_coefficient[1] * by_hand(x, full, 1, each);
    };
    for (std::size_t r = 0; r < 2; ++r) {
      const auto replica = static_cast<std::int64_t>(r);
      REQUIRE(got[replica].item<double>() ==
              Approx(full_coefficient[r] * by_hand(full, sparse, replica, each) +
                     sparse_coefficient[r] * by_hand(sparse, full, replica, each))
                  .epsilon(1e-12));
    }
    const auto slopes = torch::autograd::grad({got.sum()}, {a, b});
    REQUIRE(torch::allclose(slopes[0], slope(of_full, full), 1e-7, 1e-9));
    REQUIRE(torch::allclose(slopes[1], slope(of_sparse, sparse), 1e-7, 1e-9));
    // Not a bit of gradient reaches another task's outputs.
    const at::Tensor others = allowed.logical_not();
    for (const at::Tensor& s : slopes) {
      REQUIRE(s.isfinite().all().item<bool>());
      REQUIRE(s.masked_select(others).eq(0).all().item<bool>());
    }
  }
}

TEST_CASE("where every output is allowed nothing changes but rounding", "[numeric]") {
  const at::Tensor full = draw(3), sparse = draw(4);
  const at::Tensor all = torch::ones({kReplicas, kRows, kOutputs}, torch::kBool);
  const at::Tensor pull = torch::full({kReplicas}, 0.5, kDouble);
  for (const Distance each : {Distance::kSmoothL1, Distance::kMse, Distance::kRelativeMse,
                              Distance::kCosine, Distance::kLogitKl}) {
    CAPTURE(static_cast<int>(each));
    REQUIRE(torch::allclose(stream_distance(full, sparse, pull, pull, each, all),
                            stream_distance(full, sparse, pull, pull, each), 1e-14, 1e-15));
  }
}

TEST_CASE("shares of the allowed outputs add up to one", "[numeric]") {
  const at::Tensor logits = draw(5), allowed = allowed_outputs();
  const at::Tensor logs = log_shares(logits, allowed);
  for (std::int64_t r = 0; r < kReplicas; ++r) {
    for (std::int64_t n = 0; n < kRows; ++n) {
      const std::vector<double> expected = shares(own(logits, r, n));
      const std::vector<double> got = own(logs, r, n);
      for (std::size_t i = 0; i < got.size(); ++i) {
        REQUIRE(got[i] == Approx(std::log(expected[i])).margin(1e-13));
      }
    }
  }
  REQUIRE(logs.masked_select(allowed.logical_not()).eq(0).all().item<bool>());
  REQUIRE(own_outputs(logits, allowed).masked_select(allowed).equal(logits.masked_select(allowed)));
  REQUIRE(own_outputs(logits, {}).equal(logits));
}

}  // namespace tandem::test::nn_own_outputs_numeric
