// Alignment in double: the cosine distance against finite differences, where a block's sites lie,
// the shuffled control and the gap.
#include <catch2/catch.hpp>

#include "data/tensor.h"
#include "nn/context.h"

namespace tandem::test::nn_alignment_numeric {

namespace {

using Distance = Alignment::Distance;
using Function = std::function<at::Tensor(const at::Tensor&)>;

const auto kDouble = torch::TensorOptions(torch::kFloat64);

at::Tensor draw(std::int64_t seed, at::IntArrayRef shape) {
  torch::manual_seed(seed);
  return torch::randn(shape, kDouble);
}

// Central differences of a function [R] of x, summed over replicas.
at::Tensor slope(const Function& value, const at::Tensor& x) {
  const double step = 1e-6;
  const at::Tensor result = torch::zeros_like(x);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const auto moved = [&](double by) {
      const at::Tensor copy = x.detach().clone();
      copy.view(-1)[i] += by;
      return value(copy).sum().item<double>();
    };
    result.view(-1)[i] = (moved(step) - moved(-step)) / (2 * step);
  }
  return result;
}

std::vector<at::Tensor> gradients(const at::Tensor& full, const at::Tensor& sparse,
                                  const at::Tensor& full_coefficient,
                                  const at::Tensor& sparse_coefficient, Distance distance) {
  const at::Tensor a = full.clone().requires_grad_(true), b = sparse.clone().requires_grad_(true);
  const at::Tensor value = stream_distance(a, b, full_coefficient, sparse_coefficient, distance);
  return torch::autograd::grad({value.sum()}, {a, b});
}

// Sees what a meeting adds to the loss, and what goes on.
struct Meeting {
  Context context;
  at::Tensor seen_full, seen_sparse;

  explicit Meeting(Alignment::Site site, Distance distance = Distance::kMse) {
    context.plans.weights.wanted = StreamsWanted::kBoth;
    context.plans.weights.site = site;
    context.plans.weights.distance = distance;
    context.plans.weights.full_coefficient = context.plans.weights.sparse_coefficient =
        torch::full({2}, 0.5, kDouble);
    context.observe_site = [this](const Site&, const at::Tensor& full, const at::Tensor& sparse) {
      seen_full = full;
      seen_sparse = sparse;
    };
  }
  at::Tensor run(const at::Tensor& full, const at::Tensor& sparse, const Epilogue& post = {}) {
    return context.align_and_select({Level::kWeights, "layer"}, full, sparse, post);
  }
};

at::Tensor row_cosines(const at::Tensor& a, const at::Tensor& b) {
  return (a * b).sum(-1) / (a.norm(2, {-1}) * b.norm(2, {-1}));
}

}  // namespace

TEST_CASE("the cosine distance and its gradients per direction", "[numeric]") {
  const at::Tensor full = draw(1, {2, 3, 4}), sparse = draw(2, {2, 3, 4});
  const at::Tensor full_coefficient = torch::tensor({0.3, 0.5}, kDouble);
  const at::Tensor sparse_coefficient = torch::tensor({0.7, 0.0}, kDouble);
  const auto plain = [](const at::Tensor& a, const at::Tensor& b) {
    return (1 - row_cosines(a, b)).mean(1);
  };
  const at::Tensor value =
      stream_distance(full, sparse, full_coefficient, sparse_coefficient, Distance::kCosine);
  REQUIRE(torch::allclose(value, (full_coefficient + sparse_coefficient) * plain(full, sparse),
                          1e-12, 1e-14));
  const auto got = gradients(full, sparse, full_coefficient, sparse_coefficient, Distance::kCosine);
  const auto of_full = [&](const at::Tensor& x) { return full_coefficient * plain(x, sparse); };
  const auto of_sparse = [&](const at::Tensor& x) { return sparse_coefficient * plain(full, x); };
  REQUIRE(torch::allclose(got[0], slope(of_full, full), 1e-6, 1e-9));
  REQUIRE(torch::allclose(got[1], slope(of_sparse, sparse), 1e-6, 1e-9));
  REQUIRE(got[0].abs().max().item<double>() > 1e-2);
}

TEST_CASE("with equal pulls the stop-gradients of a symmetric distance are redundant",
          "[numeric]") {
  const at::Tensor full = draw(3, {2, 5, 4}), sparse = draw(4, {2, 5, 4});
  const at::Tensor pull = torch::full({2}, 0.8, kDouble);
  const at::Tensor a = full.clone().requires_grad_(true), b = sparse.clone().requires_grad_(true);
  const auto unstopped = [&](Distance distance) {
    switch (distance) {
      case Distance::kMse:
        return (a - b).square().mean({1, 2});
      case Distance::kCosine:
        return (1 - row_cosines(a, b)).mean(1);
      default:
        return torch::smooth_l1_loss(a, b, at::Reduction::None).mean({1, 2});
    }
  };
  for (const Distance each : {Distance::kSmoothL1, Distance::kMse, Distance::kCosine}) {
    CAPTURE(static_cast<int>(each));
    const auto expected = torch::autograd::grad({0.8 * unstopped(each).sum()}, {a, b});
    const auto got = gradients(full, sparse, pull, pull, each);
    REQUIRE(torch::allclose(got[0], expected[0], 1e-10, 1e-13));
    REQUIRE(torch::allclose(got[1], expected[1], 1e-10, 1e-13));
  }
  // The relative distance is not: its two targets scale the two directions differently.
  const at::Tensor plain = (a - b).square().sum({1, 2}) / b.square().sum({1, 2});
  const auto relative = torch::autograd::grad({0.8 * plain.sum()}, {a, b});
  const auto got = gradients(full, sparse, pull, pull, Distance::kRelativeMse);
  REQUIRE(torch::allclose(got[0], relative[0], 1e-10, 1e-13));
  REQUIRE_FALSE(torch::allclose(got[1], relative[1], 1e-2, 1e-3));
}

TEST_CASE("rows of zeros have no direction", "[numeric]") {
  at::Tensor full = draw(5, {1, 4, 3}), sparse = draw(6, {1, 4, 3});
  full[0][1].zero_();
  sparse[0][2].zero_();
  full[0][3].zero_();
  sparse[0][3].zero_();
  const at::Tensor one = torch::ones({1}, kDouble);
  const at::Tensor value = stream_distance(full, sparse, one, one, Distance::kCosine);
  const double first = 1 - row_cosines(full, sparse)[0][0].item<double>();
  REQUIRE(value.item<double>() == Approx(2 * first / 4));
  for (const at::Tensor& each : gradients(full, sparse, one, one, Distance::kCosine)) {
    REQUIRE(each.isfinite().all().item<bool>());
    REQUIRE(each.slice(1, 1, 4).abs().max().item<double>() == 0);
    REQUIRE(each[0][0].abs().max().item<double>() > 1e-3);
  }
}

TEST_CASE("a site lies before a block's norm, after it, or after all", "[numeric]") {
  const at::Tensor full = draw(7, {2, 3, 4}), sparse = draw(8, {2, 3, 4});
  const auto norm = [](const at::Tensor& x) { return torch::layer_norm(x, {4}); };
  const auto rest = [](const at::Tensor& x) { return torch::relu(x); };
  const Epilogue block = Epilogue::after_norm(norm, rest);
  const auto whole = [&](const at::Tensor& x) { return rest(norm(x)); };
  const auto itself = [](const at::Tensor& x) { return x; };
  const auto require_at = [&](Alignment::Site site, const Function& there, const Epilogue& post,
                              const Function& end) {
    CAPTURE(static_cast<int>(site));
    Meeting meeting(site);
    const at::Tensor on = meeting.run(full, sparse, post);
    REQUIRE(torch::equal(meeting.seen_full, there(full)));
    REQUIRE(torch::equal(meeting.seen_sparse, there(sparse)));
    REQUIRE(torch::equal(on, end(full)));
    const at::Tensor term = (there(full) - there(sparse)).square().mean({1, 2});
    REQUIRE(torch::allclose(meeting.context.alignment(), term, 1e-12, 1e-14));
  };
  require_at(Alignment::Site::kPre, itself, block, whole);
  require_at(Alignment::Site::kNorm, norm, block, whole);
  require_at(Alignment::Site::kPost, whole, block, whole);
  // Without a norm, after it is before everything.
  require_at(Alignment::Site::kNorm, itself, Epilogue::relu(), rest);
  require_at(Alignment::Site::kPost, rest, Epilogue::relu(), rest);
  require_at(Alignment::Site::kNorm, itself, {}, itself);
}

TEST_CASE("a propagated counterpart meets after the norm too", "[numeric]") {
  const at::Tensor full = draw(9, {2, 3, 4}), sparse = draw(10, {2, 3, 4});
  const auto norm = [](const at::Tensor& x) { return torch::layer_norm(x, {4}); };
  const Epilogue block =
      Epilogue::after_norm(norm, [](const at::Tensor& x) { return torch::relu(x); });
  Context first;
  first.plans.weights.site = Alignment::Site::kNorm;
  first.record_sites();
  Meeting second(Alignment::Site::kNorm);
  second.context.align_with(&first, Level::kWeights);
  const Site site{Level::kWeights, "layer"};
  REQUIRE(torch::equal(first.align_and_select(site, full, {}, block), block(full)));
  REQUIRE(torch::equal(second.context.align_and_select(site, {}, sparse, block), block(sparse)));
  REQUIRE(torch::equal(second.seen_full, norm(full)));
  REQUIRE(torch::equal(second.seen_sparse, norm(sparse)));
}

TEST_CASE("shuffled targets are the next example's, in both directions", "[numeric]") {
  const at::Tensor full = draw(11, {2, 6, 4}), sparse = draw(12, {2, 6, 4});
  for (const Distance distance : {Distance::kSmoothL1, Distance::kRelativeMse, Distance::kCosine}) {
    for (const std::int64_t rows : {1, 2}) {  // 6 examples, or 3 of two rows
      CAPTURE(static_cast<int>(distance), rows);
      Meeting meeting(Alignment::Site::kPre, distance);
      meeting.context.plans.weights.shuffled = true;
      meeting.context.rows_per_example = rows;
      const at::Tensor a = full.clone().requires_grad_(true);
      const at::Tensor b = sparse.clone().requires_grad_(true);
      meeting.run(a, b);
      const auto got = torch::autograd::grad({meeting.context.alignment().sum()}, {a, b});
      const auto next = [rows](const at::Tensor& x) {
        return torch::cat({x.slice(1, rows), x.slice(1, 0, rows)}, 1);
      };
      const at::Tensor pull = torch::full({2}, 0.5, kDouble), none = torch::zeros({2}, kDouble);
      REQUIRE(torch::allclose(got[0], gradients(full, next(sparse), pull, none, distance)[0], 1e-12,
                              1e-14));
      REQUIRE(torch::allclose(got[1], gradients(next(full), sparse, none, pull, distance)[1], 1e-12,
                              1e-14));
    }
  }
  // One example has no other: nothing changes.
  const at::Tensor a = full.slice(1, 0, 1), b = sparse.slice(1, 0, 1);
  Meeting alone(Alignment::Site::kPre), plain(Alignment::Site::kPre);
  alone.context.plans.weights.shuffled = true;
  alone.run(a, b);
  plain.run(a, b);
  REQUIRE(torch::allclose(alone.context.alignment(), plain.context.alignment(), 1e-14, 1e-16));
}

TEST_CASE("the gap is the mean over sites of the relative squared difference", "[numeric]") {
  const at::Tensor full = draw(13, {2, 3, 4}), sparse = draw(14, {2, 3, 4});
  const at::Tensor other = draw(15, {2, 3, 7}), nothing = torch::zeros({2, 3, 7}, kDouble);
  Meeting meeting(Alignment::Site::kPost);
  REQUIRE_FALSE(meeting.context.gap(Level::kWeights).defined());
  meeting.context.plans.weights.measures_gap = true;
  meeting.context.plans.weights.shuffled = true;  // which the gap doesn't see
  meeting.run(full.clone().requires_grad_(true), sparse, Epilogue::relu());
  meeting.run(other, nothing);
  meeting.run(nothing, nothing);
  const at::Tensor a = torch::relu(full), b = torch::relu(sparse);
  const at::Tensor first = (a - b).square().sum({1, 2}) / a.square().sum({1, 2});
  REQUIRE(torch::allclose(meeting.context.gap(Level::kWeights), (first + 1) / 3, 1e-12, 1e-14));
  REQUIRE_FALSE(meeting.context.gap(Level::kWeights).requires_grad());
}

}  // namespace tandem::test::nn_alignment_numeric
