// The GPU kernels against the CPU's. What is only selected or counted must agree in every bit; what
// is computed, to the roundings in which they may differ (a GPU contracts a*b + c), as stated at
// each case. Arrays lie between guard bands; `lead` moves them off their 16-byte boundary.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "core/error.h"
#include "core/philox.h"
#include "cuda/plugin.h"
#include "data/tensor.h"
#include "kernels/cone/cone_cuda.h"
#include "kernels/masked/masked.h"
#include "kernels/masked/masked_cuda.h"
#include "kernels/pull/pull_cuda.h"
#include "kernels/select/select.h"
#include "kernels/select/select_cuda.h"
#include "kernels/tally/tally_cuda.h"
#include "kernels/update/update_cuda.h"
#include "support/gpu_support.h"

namespace tandem::test::cuda_kernels_gpu {
namespace {

using namespace kernels;

struct Shape {
  std::int64_t n, replicas;
  std::size_t lead;
  std::size_t size() const { return static_cast<std::size_t>(n * replicas); }
};

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const std::int64_t n : {1, 3, 4, 1000, 4097, 313600}) {
    for (const std::int64_t replicas : {1, 3, 17}) all.push_back({n, replicas, 0});
  }
  all.push_back({1000, 3, 1});
  return all;
}

template <class T>
std::vector<T> normals(std::size_t size, unsigned seed) {
  std::minstd_rand random(seed);
  std::normal_distribution<float> normal;
  std::vector<T> values(size);
  for (T& value : values) value = static_cast<T>(normal(random));
  return values;
}

Bytes flags(std::size_t size, unsigned seed) {  // a third is set, and not to 1 alone
  std::minstd_rand random(seed);
  constexpr std::uint8_t kSet[] = {1, 2, 255};
  Bytes values(size);
  for (auto& value : values) value = random() % 3 == 0 ? kSet[random() % 3] : 0;
  return values;
}

// Replicas that differ in every number; of 17 each combination of masks occurs.
std::vector<ReplicaUpdate> updates_of(std::int64_t replicas, int kind) {
  std::vector<ReplicaUpdate> all(static_cast<std::size_t>(replicas));
  for (int r = 0; r < static_cast<int>(replicas); ++r) {
    ReplicaUpdate& update = all[static_cast<std::size_t>(r)];
    const int masks = (kind + r) % 8;
    update.lr = 0.01 + 0.005 * (r % 7);
    update.momentum = 0.9 - 0.1 * (r % 3);
    update.weight_decay = 0.01 * (1 + r % 4);
    update.scale = 1.0 / (1 + r % 3);
    update.mask_gradient = masks & 1;
    update.mask_update = masks & 2;
    update.keep_dormant = masks & 4 ? 0.9 : 1;
    update.apply = r % 5 != 3;
    update.step = 1 + (r * 37) % 1000;
  }
  return all;
}

std::vector<int> kinds_of(const Shape& shape) {
  if (shape.size() > 400000) return {7};
  return {0, 1, 2, 3, 4, 5, 6, 7};
}

struct Masks {
  Bytes active, gradient_set, update_set, may_change;
  explicit Masks(std::size_t size)
      : active(flags(size, 11)),
        gradient_set(flags(size, 12)),
        update_set(flags(size, 13)),
        may_change(flags(size, 14)) {}
  UpdateMasks host() const {
    return {active.data(), gradient_set.data(), update_set.data(), may_change.data()};
  }
};

// The same on the GPU.
struct MasksOnGpu {
  OnGpu<std::uint8_t> active, gradient_set, update_set, may_change;
  MasksOnGpu(const Masks& masks, std::int64_t lead)
      : active(masks.active, lead),
        gradient_set(masks.gradient_set, lead),
        update_set(masks.update_set, lead),
        may_change(masks.may_change, lead) {}
  UpdateMasks device() {
    return {active.data(), gradient_set.data(), update_set.data(), may_change.data()};
  }
};

// 1 where the update must keep every bit.
Bytes kept_of(const Shape& shape, const std::vector<ReplicaUpdate>& updates,
              const UpdateMasks& masks) {
  Bytes kept(shape.size());
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const ReplicaUpdate& update = updates[i / static_cast<std::size_t>(shape.n)];
    kept[i] = !update.apply || (masks.may_change != nullptr && masks.may_change[i] == 0) ||
              (update.mask_update && masks.update_set != nullptr && masks.update_set[i] == 0);
  }
  return kept;
}

// Within tolerance (1 + |before| + |wanted|), and bit for bit as before where kept.
template <class T>
void require_near(const std::vector<T>& got, const std::vector<T>& wanted,
                  const std::vector<T>& before, const Bytes& kept, double tolerance) {
  REQUIRE(got.size() == wanted.size());
  std::size_t wrong = 0, first = 0;
  for (std::size_t i = got.size(); i-- > 0;) {
    const double limit = tolerance * (1 + std::abs(before[i]) + std::abs(wanted[i]));
    const bool fine = kept[i] ? std::memcmp(&got[i], &before[i], sizeof(T)) == 0
                              : std::abs(double(got[i]) - double(wanted[i])) <= limit;
    if (fine) continue;
    ++wrong;
    first = i;
  }
  if (wrong == 0) return;
  CAPTURE(wrong, first, got[first], wanted[first], before[first], int(kept[first]));
  FAIL("the GPU's values differ from the CPU's");
}

void* stream() { return cuda_api().current_stream(); }

template <class T>
struct Arrays {
  std::vector<T> weight, gradient, first, second, count;
  explicit Arrays(std::size_t size)
      : weight(normals<T>(size, 1)),
        gradient(normals<T>(size, 2)),
        first(normals<T>(size, 3)),
        second(normals<T>(size, 4)),
        count(size) {
    // Not near zero: dividing by its root would magnify a rounding of the first moment.
    for (T& value : second) value = T(0.1) + std::abs(value);
    constexpr int kAges[] = {0, 1, 2, 4, 999};
    for (std::size_t i = 0; i < size; ++i) count[i] = T(kAges[i * 7 % 5]);
  }
};

// A path along a step with numbers of its own.
template <class T>
struct Path {
  std::vector<T> along, path;
  explicit Path(std::size_t size) : along(normals<T>(size, 21)), path(normals<T>(size, 22)) {}
};

template <class T>
void compare_sgd(const Shape& shape, const Arrays<T>& arrays, const Masks& masks, int kind,
                 bool with_masks, bool with_momentum, SgdRule rule) {
  CAPTURE(shape.n, shape.replicas, shape.lead, kind, with_masks, with_momentum, rule.nesterov,
          rule.decoupled_decay, rule.decays);
  const auto updates = updates_of(shape.replicas, kind);
  const std::vector<T>& slot = rule.adagrad ? arrays.second : arrays.first;  // squares: positive
  std::vector<T> weight = arrays.weight, momentum = slot;
  const UpdateMasks host = with_masks ? masks.host() : UpdateMasks{};
  Path<T> path(shape.size());
  OnGpu<T> along(path.along, shape.lead), way(path.path, shape.lead);
  const std::vector<T> start = path.path;
  using Term = PathTerm<T>;
  sgd_update(weight.data(), arrays.gradient.data(), with_momentum ? momentum.data() : nullptr, host,
             shape.n, updates.data(), shape.replicas, rule,
             with_masks ? Term{path.along.data(), path.path.data()} : Term{});
  OnGpu<T> w(arrays.weight, shape.lead), g(arrays.gradient, shape.lead), m(slot, shape.lead);
  OnGpu<ReplicaUpdate> u(updates);
  MasksOnGpu there(masks, shape.lead);
  const auto gpu = cuda_kernel<decltype(kernels::sgd_update_cuda<T>)>("sgd_update");
  REQUIRE(gpu(w.data(), g.data(), with_momentum ? m.data() : nullptr,
              with_masks ? there.device() : UpdateMasks{}, shape.n, u.data(), shape.replicas, rule,
              with_masks ? Term{along.data(), way.data()} : Term{}, stream()) == 0);
  // At most eight operations on values of this size, half a unit of the last place each, twice.
  const double tolerance = 16 * std::numeric_limits<T>::epsilon();
  const Bytes kept = kept_of(shape, updates, host);
  require_near(w.read(), weight, arrays.weight, kept, tolerance);
  require_near(m.read(), momentum, slot, kept, tolerance);
  require_near(way.read(), path.path, start, Bytes(shape.size()), 4 * tolerance);
  REQUIRE(same_bits(g.read(), arrays.gradient));
}

template <class T>
void compare_adam(const Shape& shape, const Arrays<T>& arrays, const Masks& masks, int kind,
                  bool with_masks, bool counted, AdamRule rule) {
  CAPTURE(shape.n, shape.replicas, shape.lead, kind, with_masks, counted, rule.decoupled_decay,
          rule.decays);
  const auto updates = updates_of(shape.replicas, kind);
  Arrays<T> cpu = arrays;
  const UpdateMasks host = with_masks ? masks.host() : UpdateMasks{};
  Path<T> path(shape.size());
  OnGpu<T> along(path.along, shape.lead), way(path.path, shape.lead);
  const std::vector<T> start = path.path;
  using Term = PathTerm<T>;
  adam_update(cpu.weight.data(), arrays.gradient.data(), cpu.first.data(), cpu.second.data(),
              counted ? cpu.count.data() : nullptr, host, shape.n, updates.data(), shape.replicas,
              rule, with_masks ? Term{path.along.data(), path.path.data()} : Term{});
  OnGpu<T> w(arrays.weight, shape.lead), g(arrays.gradient, shape.lead),
      m(arrays.first, shape.lead), v(arrays.second, shape.lead), t(arrays.count, shape.lead);
  OnGpu<ReplicaUpdate> u(updates);
  MasksOnGpu there(masks, shape.lead);
  const auto gpu = cuda_kernel<decltype(kernels::adam_update_cuda<T>)>("adam_update");
  REQUIRE(gpu(w.data(), g.data(), m.data(), v.data(), counted ? t.data() : nullptr,
              with_masks ? there.device() : UpdateMasks{}, shape.n, u.data(), shape.replicas, rule,
              with_masks ? Term{along.data(), way.data()} : Term{}, stream()) == 0);
  // As for SGD, and the corrections: expm1 to a unit of the last place here, there a power by up to
  // 1,000 multiplications, which in double may cost 1,000 roundings.
  const double tolerance = std::max<double>(64 * std::numeric_limits<T>::epsilon(), 1e-12);
  const Bytes kept = kept_of(shape, updates, host);
  require_near(w.read(), cpu.weight, arrays.weight, kept, tolerance);
  require_near(m.read(), cpu.first, arrays.first, kept, tolerance);
  require_near(v.read(), cpu.second, arrays.second, kept, tolerance);
  require_near(way.read(), path.path, start, Bytes(shape.size()), 4 * tolerance);
  REQUIRE(same_bits(t.read(), cpu.count));
}

// compare(shape, arrays, masks, kind, with masks, decoupled, decays, either flag) for every shape,
// combination of masks and kind of decay: coupled, decoupled, none.
template <class T, class Compare>
void for_every_case(const Compare& compare) {
  for (const Shape& shape : shapes()) {
    const Arrays<T> arrays(shape.size());
    const Masks masks(shape.size());
    for (const int kind : kinds_of(shape)) {
      for (int decay = 0; decay < 3; ++decay) {
        for (const bool flag : {false, true}) {
          compare(shape, arrays, masks, kind, true, decay > 0, decay < 2, flag);
        }
      }
    }
    compare(shape, arrays, masks, 7, false, true, true, true);
  }
}

// Kinds of scores in which selection goes wrong first: 0 normal, 1 few values, 2 one value,
// 3 subnormal, 4 special values of both signs.
std::vector<float> scores_of(std::size_t size, int kind) {
  using Limits = std::numeric_limits<float>;
  constexpr float kSpecial[] = {
      0, 1, Limits::quiet_NaN(), Limits::infinity(), Limits::max(), Limits::denorm_min()};
  if (kind == 0) return normals<float>(size, 9);
  std::minstd_rand random(10);
  std::vector<float> scores(size);
  for (float& score : scores) {
    const auto draw = static_cast<int>(random() >> 8);
    if (kind == 1) score = static_cast<float>(draw % 5 - 2);
    if (kind == 2) score = 0.25f;
    if (kind == 3) score = Limits::denorm_min() * static_cast<float>(draw % 7);
    if (kind == 4) score = (draw % 2 ? -1.0f : 1.0f) * kSpecial[draw / 2 % 6];
  }
  return scores;
}

void compare_select(const Shape& shape, const std::vector<float>& scores, const Bytes* eligible,
                    bool largest) {
  CAPTURE(shape.n, shape.replicas, shape.lead, largest, eligible != nullptr);
  const auto row = static_cast<std::size_t>(shape.n);
  std::vector<std::int64_t> counts;
  Bytes wanted(shape.size(), 9);
  for (std::size_t r = 0; r < static_cast<std::size_t>(shape.replicas); ++r) {
    const std::uint8_t* own = eligible != nullptr ? eligible->data() + r * row : nullptr;
    std::int64_t candidates = shape.n;
    if (own != nullptr) candidates -= std::count(own, own + row, std::uint8_t{0});
    const std::int64_t choices[] = {candidates / 3, candidates / 2, 1, candidates, 0,
                                    candidates - 1, shape.n + 7};
    counts.push_back(std::max<std::int64_t>(0, choices[r % 7]));
    const std::int64_t k = std::min(counts.back(), candidates);
    REQUIRE(select_top(scores.data() + r * row, own, shape.n, k, largest,
                       wanted.data() + r * row) == kSelectDone);
  }
  OnGpu<float> s(scores, shape.lead);
  OnGpu<std::uint8_t> e(eligible != nullptr ? *eligible : Bytes{}, shape.lead);
  OnGpu<std::uint8_t> chosen(Bytes(shape.size(), 9), shape.lead);
  OnGpu<std::int64_t> k(counts);
  REQUIRE(cuda_kernel<decltype(select_top_cuda)>("select_top")(
              s.data(), eligible != nullptr ? e.data() : nullptr, shape.replicas, shape.n, k.data(),
              largest, chosen.data(), stream()) == 0);
  REQUIRE(same_bits(chosen.read(), wanted));
}

}  // namespace

TEMPLATE_TEST_CASE("SGD on the GPU equals the CPU", "[gpu]", float, double) {
  if (gpu_missing()) return;
  for_every_case<TestType>([](const Shape& shape, const auto& arrays, const Masks& masks, int kind,
                              bool with_masks, bool decoupled, bool decays, bool nesterov) {
    const SgdRule rule{nesterov, decoupled, decays};
    compare_sgd<TestType>(shape, arrays, masks, kind, with_masks, true, rule);
    SgdRule adagrad = rule;
    adagrad.adagrad = true;
    adagrad.epsilon = 1e-3;
    compare_sgd<TestType>(shape, arrays, masks, kind, with_masks, true, adagrad);
    if (!nesterov) compare_sgd<TestType>(shape, arrays, masks, kind, with_masks, false, rule);
  });
}

TEMPLATE_TEST_CASE("AdamW on the GPU equals the CPU", "[gpu]", float, double) {
  if (gpu_missing()) return;
  for_every_case<TestType>([](const Shape& shape, const auto& arrays, const Masks& masks, int kind,
                              bool with_masks, bool decoupled, bool decays, bool counted) {
    const AdamRule rule{0.9, 0.999, 1e-8, decoupled, decays};
    compare_adam<TestType>(shape, arrays, masks, kind, with_masks, counted, rule);
  });
}

TEMPLATE_TEST_CASE("a newborn weight's first Adam step on the GPU is lr", "[gpu]", float, double) {
  if (gpu_missing()) return;
  ReplicaUpdate update;
  update.lr = 0.01;
  update.step = 100000;
  const std::vector<TestType> zero(5, 0);
  OnGpu<TestType> w(zero), g(std::vector<TestType>(5, TestType(0.3))), m(zero), v(zero), t(zero);
  OnGpu<ReplicaUpdate> u({update});
  const auto gpu = cuda_kernel<decltype(kernels::adam_update_cuda<TestType>)>("adam_update");
  REQUIRE(gpu(w.data(), g.data(), m.data(), v.data(), t.data(), {}, 5, u.data(), 1,
              AdamRule{0.9, 0.999, 0.0, true, true}, PathTerm<TestType>{}, stream()) == 0);
  // lr m/(1 - b1) / sqrt(v/(1 - b2)): in float, 1 - b2 as such would be off by 1e-5.
  const double tolerance = 16 * std::numeric_limits<TestType>::epsilon();
  for (const TestType weight : w.read()) REQUIRE(std::abs(weight / -0.01 - 1) < tolerance);
  for (const TestType age : t.read()) REQUIRE(age == 1);
}

TEMPLATE_TEST_CASE("sums of squares on the GPU equal the CPU's", "[gpu]", float, double) {
  if (gpu_missing()) return;
  const auto gpu = cuda_kernel<decltype(kernels::sum_squares_cuda<TestType>)>("sum_squares");
  for (const Shape& shape : shapes()) {
    CAPTURE(shape.n, shape.replicas, shape.lead);
    auto gradient = normals<TestType>(shape.size(), 5);
    const Bytes set = flags(shape.size(), 6);
    const auto rows = static_cast<std::size_t>(shape.replicas);
    std::vector<StepNumbers> numbers(rows);
    std::vector<double> before(rows);
    for (std::size_t r = 0; r < rows; ++r) {
      numbers[r].mask_gradient = r % 2 == 0;
      numbers[r].runs = r % 7 != 5;
      numbers[r].steps = r % 7 != 6;
      before[r] = 0.5 + double(r);
      const std::size_t last = (r + 1) * static_cast<std::size_t>(shape.n) - 1;
      if (numbers[r].mask_gradient != 0 && set[last] == 0) {
        gradient[last] = std::numeric_limits<TestType>::quiet_NaN();
      }
    }
    std::vector<std::vector<double>> results;  // alike whether twice or off the boundary
    for (const std::size_t lead : {0, 0, 1}) {
      OnGpu<TestType> g(gradient, lead);
      OnGpu<std::uint8_t> s(set, lead);
      OnGpu<StepNumbers> on(numbers);
      const std::vector<double> poison(rows * kSquaresParts, std::nan(""));
      OnGpu<double> scratch(poison), squares(before);
      REQUIRE(gpu(g.data(), s.data(), shape.n, on.data(), shape.replicas, scratch.data(),
                  squares.data(), stream()) == 0);
      results.push_back(squares.read());
    }
    REQUIRE(same_bits(results[0], results[1]));
    REQUIRE(same_bits(results[0], results[2]));
    for (std::size_t r = 0; r < rows; ++r) {
      if (numbers[r].runs == 0 || numbers[r].steps == 0) continue;
      const std::size_t offset = r * static_cast<std::size_t>(shape.n);
      const double sum =
          sum_squares(gradient.data() + offset,
                      numbers[r].mask_gradient != 0 ? set.data() + offset : nullptr, shape.n);
      // Sums of positive terms: n/8 roundings on the CPU, fewer here.
      REQUIRE(results[0][r] == Approx(before[r] + sum).epsilon(1e-11));
    }
  }
}

TEST_CASE("settling on the GPU equals the CPU in every bit", "[gpu]") {
  if (gpu_missing()) return;
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kSquares[] = {0, 0.3, 4, 1e300, kInfinity, kNan, 2};
  for (const std::size_t replicas : {1, 3, 17, 1000}) {
    for (const auto& [clips, nets] : {std::pair{false, 1}, {true, 1}, {true, 2}}) {
      CAPTURE(replicas, clips, nets);
      std::vector<StepNumbers> numbers(replicas);
      std::vector<ReplicaConstants> constants(replicas);
      std::vector<ReplicaState> state(replicas);
      const std::size_t all = replicas * static_cast<std::size_t>(nets);
      std::vector<ReplicaUpdate> updates(all);
      std::vector<double> loss(replicas), alignment(replicas), rest(replicas), squares(all);
      for (std::size_t r = 0; r < replicas; ++r) {
        const double x = double(r);
        numbers[r].runs = r % 5 != 1;
        numbers[r].steps = r % 3 != 2;
        numbers[r].lr = 0.1 + x / 7;
        numbers[r].keep_dormant = r % 2 ? 0.9 : 1;
        numbers[r].mask_gradient = r % 4 == 0;
        numbers[r].mask_update = r % 4 < 2;
        constants[r] = {0.9, x / 9, r % 6 == 4 ? 0 : 0.7};
        state[r] = {r % 11 != 10 ? 1.0 : 0.0, x, x / 3, x / 5, x + 1};
        loss[r] = r % 13 == 7 ? kNan : 2.3 + x / 11;
        alignment[r] = r % 17 == 16 ? -kInfinity : x / 19;
        rest[r] = r % 19 == 18 ? kNan : x / 23;
      }
      for (std::size_t i = 0; i < all; ++i) squares[i] = kSquares[i % 7];
      OnGpu<StepNumbers> n(numbers);
      OnGpu<ReplicaConstants> c(constants);
      OnGpu<ReplicaState> s(state);
      OnGpu<ReplicaUpdate> u(updates);
      OnGpu<double> l(loss), a(alignment), q(squares), t(rest);
      const bool taught = nets == 2;
      StepOutcome outcome{.numbers = n.data(),
                          .constants = c.data(),
                          .loss = l.data(),
                          .alignment = a.data(),
                          .rest = taught ? t.data() : nullptr,
                          .squares = clips ? q.data() : nullptr,
                          .replicas = static_cast<std::int64_t>(replicas),
                          .nets = nets};
      REQUIRE(cuda_kernel<decltype(finish_step_cuda)>("finish_step")(outcome, s.data(), u.data(),
                                                                     stream()) == 0);
      outcome.numbers = numbers.data();
      outcome.constants = constants.data();
      outcome.loss = loss.data();
      outcome.alignment = alignment.data();
      outcome.rest = taught ? rest.data() : nullptr;
      outcome.squares = clips ? squares.data() : nullptr;
      finish_step(outcome, state.data(), updates.data());
      REQUIRE(same_bits(s.read(), state));
      const auto got = u.read();
      std::size_t wrong = 0;
      for (std::size_t r = 0; r < all; ++r) {
        const ReplicaUpdate &x = got[r], &y = updates[r];
        wrong += x.lr != y.lr || x.momentum != y.momentum || x.weight_decay != y.weight_decay ||
                 x.keep_dormant != y.keep_dormant || x.apply != y.apply || x.step != y.step ||
                 x.mask_gradient != y.mask_gradient || x.mask_update != y.mask_update ||
                 (y.apply && x.scale != y.scale);
      }
      REQUIRE(wrong == 0);
    }
  }
}

TEST_CASE("a projection onto a cone on the GPU equals the CPU's in every bit", "[gpu]") {
  if (gpu_missing()) return;
  std::size_t inside = 0;
  for (const std::int64_t n : {1, 4, 19}) {
    constexpr std::int64_t kReplicas = 70, kFeatures = 25;
    std::vector<double> gram, along, part, margin;
    std::uint64_t draw = 0;
    const auto next = [&draw] { return RandomStream{11}.uniform(draw++) - 0.5; };
    for (std::int64_t r = 0; r < kReplicas; ++r) {
      std::vector<double> rows(static_cast<std::size_t>((n + 1) * kFeatures));
      for (double& each : rows) each = next();
      const auto dot = [&rows](std::int64_t a, std::int64_t b) {
        double sum = 0;
        for (std::int64_t i = 0; i < kFeatures; ++i) {
          sum += rows[static_cast<std::size_t>(a * kFeatures + i)] *
                 rows[static_cast<std::size_t>(b * kFeatures + i)];
        }
        return sum;
      };
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < n; ++j) gram.push_back(dot(i, j));
        along.push_back(dot(i, n));
        part.push_back(r % 5 != i % 7);
      }
      margin.push_back(r % 3 == 0 ? 0 : 0.5);
    }
    std::vector<double> expected(along.size(), -1), v(along.size(), -1);
    OnGpu<double> g(gram), a(along), p(part), m(margin), out(v);
    ConeProblem problem{.gram = g.data(),
                        .along = a.data(),
                        .part = p.data(),
                        .margin = m.data(),
                        .replicas = kReplicas,
                        .n = n};
    REQUIRE(cuda_kernel<decltype(project_onto_cone_cuda)>("project_onto_cone")(problem, out.data(),
                                                                               stream()) == 0);
    problem.gram = gram.data();
    problem.along = along.data();
    problem.part = part.data();
    problem.margin = margin.data();
    project_onto_cone(problem, expected.data());
    CAPTURE(n);
    REQUIRE(same_bits(out.read(), expected));
    inside +=
        std::count_if(expected.begin(), expected.end(), [](double each) { return each > 0.5; });
  }
  REQUIRE(inside > 10);
}

// Each product is rounded before it is added in both, so that gradients agree in every bit; sums
// are taken in other orders.
TEMPLATE_TEST_CASE("a tally on the GPU has the CPU's bits", "[gpu]", float, double) {
  if (gpu_missing()) return;
  using T = TestType;
  const auto gpu = cuda_kernel<decltype(kernels::add_tally_cuda<T>)>("add_tally");
  for (const std::int64_t replicas : {1, 33, 300}) {
    constexpr std::int64_t kWidth = 37, kRowBytes = 12;
    const auto size = static_cast<std::size_t>(replicas * kWidth);
    const std::vector<T> losses = normals<T>(size, 1);
    Bytes hits = flags(size, 2);
    std::vector<std::int64_t> counts, before, right(static_cast<std::size_t>(replicas), 3);
    for (std::int64_t r = 0; r < replicas; ++r) {
      counts.push_back(r * 5 % (kWidth + 1));
      before.push_back(r * 11 % 50);
    }
    std::vector<double> sums(static_cast<std::size_t>(replicas), 0.25);
    Bytes bits(static_cast<std::size_t>(replicas * kRowBytes), 0);
    OnGpu<T> there(losses);
    OnGpu<std::uint8_t> hit(hits), all_bits(bits);
    OnGpu<std::int64_t> count(counts), first(before), correct(right);
    OnGpu<double> sum(sums);
    for (const bool with_bits : {true, false}) {
      add_tally(TallyTerm<T>{losses.data(), hits.data(), counts.data(), before.data(), kWidth,
                             replicas, kRowBytes},
                sums.data(), right.data(), with_bits ? bits.data() : nullptr);
      REQUIRE(gpu(TallyTerm<T>{there.data(), hit.data(), count.data(), first.data(), kWidth,
                               replicas, kRowBytes},
                  sum.data(), correct.data(), with_bits ? all_bits.data() : nullptr,
                  stream()) == 0);
      REQUIRE(same_bits(sum.read(), sums));
      REQUIRE(correct.read() == right);
      REQUIRE(all_bits.read() == bits);
    }
  }
}

TEMPLATE_TEST_CASE("a pull on the GPU equals the CPU's", "[gpu]", float, double) {
  if (gpu_missing()) return;
  using T = TestType;
  for (const Shape& shape : shapes()) {
    const std::size_t size = shape.size();
    const std::vector<T> weight = normals<T>(size, 1), center = normals<T>(size, 2),
                         importance = normals<T>(size, 3), gradient = normals<T>(size, 4),
                         factor = normals<T>(static_cast<std::size_t>(shape.replicas), 5);
    const Bytes set = flags(size, 6);
    OnGpu<T> w(weight, shape.lead), c(center, shape.lead), i(importance, shape.lead),
        g(gradient, shape.lead), out(std::vector<T>(size), shape.lead), f(factor);
    OnGpu<std::uint8_t> s(set, shape.lead);
    const auto pull = cuda_kernel<decltype(kernels::add_pull_cuda<T>)>("add_pull");
    for (const bool flagged : {false, true}) {
      for (const bool has_gradient : {false, true}) {
        CAPTURE(shape.n, shape.replicas, shape.lead, flagged, has_gradient);
        std::vector<T> expected(size);
        std::vector<double> sums(static_cast<std::size_t>(shape.replicas), 0.5);
        OnGpu<double> all(sums);
        OnGpu<double> scratch(std::vector<double>(sums.size() * kPullParts));
        add_pull(
            PullTerm<T>{weight.data(), center.data(), importance.data(),
                        has_gradient ? gradient.data() : nullptr, flagged ? set.data() : nullptr,
                        factor.data(), shape.n, shape.replicas},
            expected.data(), sums.data());
        REQUIRE(pull(PullTerm<T>{w.data(), c.data(), i.data(), has_gradient ? g.data() : nullptr,
                                 flagged ? s.data() : nullptr, f.data(), shape.n, shape.replicas},
                     out.data(), all.data(), scratch.data(), stream()) == 0);
        REQUIRE(same_bits(out.read(), expected));
        const std::vector<double> there = all.read();
        for (std::size_t r = 0; r < sums.size(); ++r) {
          REQUIRE(there[r] == Approx(sums[r]).epsilon(1e-10).margin(1e-9));
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("a masked copy on the GPU selects and doesn't multiply", "[gpu]", float,
                   double) {
  if (gpu_missing()) return;
  const auto gpu = cuda_kernel<decltype(masked_copy_cuda<TestType>)>("masked_copy");
  for (const Shape& shape : shapes()) {
    for (const bool some_full : {false, true}) {
      CAPTURE(shape.n, shape.replicas, shape.lead, some_full);
      auto weight = normals<TestType>(shape.size(), 7);
      const Bytes mask = flags(shape.size(), 8);
      for (std::size_t i = 0; i < weight.size(); i += 5) {
        weight[i] = i % 2 ? std::numeric_limits<TestType>::quiet_NaN()
                          : -std::numeric_limits<TestType>::infinity();
      }
      Bytes full(static_cast<std::size_t>(shape.replicas));
      for (std::size_t r = 0; r < full.size(); ++r) full[r] = some_full && r % 3 == 0 ? 4 : 0;
      std::vector<TestType> wanted(shape.size(), TestType(9));
      OnGpu<TestType> w(weight, shape.lead), out(wanted, shape.lead);
      OnGpu<std::uint8_t> m(mask, shape.lead), f(full);
      REQUIRE(masked_copy_selected(weight.data(), mask.data(), shape.replicas, shape.n, full.data(),
                                   wanted.data()) == 0);
      REQUIRE(gpu(w.data(), m.data(), shape.replicas, shape.n, some_full ? f.data() : nullptr,
                  out.data(), stream()) == 0);
      REQUIRE(same_bits(out.read(), wanted));
    }
  }
}

TEST_CASE("selection on the GPU equals the CPU's", "[gpu]") {
  if (gpu_missing()) return;
  for (const Shape& shape : shapes()) {
    const Bytes some = flags(shape.size(), 12), none(shape.size(), 0);
    for (int kind = 0; kind < 5; ++kind) {
      CAPTURE(kind);
      const auto scores = scores_of(shape.size(), kind);
      for (const bool largest : {false, true}) {
        compare_select(shape, scores, nullptr, largest);
        compare_select(shape, scores, &some, largest);
      }
      compare_select(shape, scores, &none, true);
    }
  }
}

TEST_CASE("a captured update replays; released and failed captures leave no trace", "[gpu]") {
  if (gpu_missing()) return;
  const CudaApi& api = cuda_api();
  api.enter_stream(0);
  const Shape shape{1000, 3, 0};
  const Arrays<float> arrays(shape.size());
  const auto updates = updates_of(shape.replicas, 0);
  OnGpu<ReplicaUpdate> u(updates);
  OnGpu<float> g(arrays.gradient);
  const auto step = [&](OnGpu<float>& w, OnGpu<float>& m) {
    return cuda_kernel<decltype(sgd_update_cuda<float>)>("sgd_update")(
        w.data(), g.data(), m.data(), {}, shape.n, u.data(), shape.replicas, {}, {}, stream());
  };
  OnGpu<float> warm(arrays.weight), warm_too(arrays.first);
  REQUIRE(step(warm, warm_too) == 0);  // loads the kernel, which a capture does not allow
  at::Tensor total = torch::zeros({4}, torch::kCUDA);
  total.add_(total * 2);
  api.synchronize();

  auto weight = arrays.weight, momentum = arrays.first;
  for (int i = 0; i < 3; ++i) {
    sgd_update(weight.data(), arrays.gradient.data(), momentum.data(), {}, shape.n, updates.data(),
               shape.replicas, {});
  }
  const Bytes kept = kept_of(shape, updates, {});
  for (int round = 0; round < 2; ++round) {  // the second in a new pool of memory
    OnGpu<float> w(arrays.weight), m(arrays.first);
    total.fill_(1);
    void* graph = api.graph_begin();
    const int code = step(w, m);
    total.add_(total * 2);
    api.graph_end(graph);
    REQUIRE(code == 0);
    REQUIRE(same_bits(w.read(), arrays.weight));  // captured, not run
    for (int i = 0; i < 3; ++i) api.graph_replay(graph);
    // Three times the roundings of one update.
    require_near(w.read(), weight, arrays.weight, kept, 48 * 1.2e-7);
    REQUIRE(total.to(torch::kCPU).eq(27).all().item<bool>());
    api.graph_release(graph);

    void* failed = api.graph_begin();
    REQUIRE_THROWS(api.synchronize());  // not allowed in a capture
    api.graph_release(failed);
  }
}

TEST_CASE("a kernel that the plug-in doesn't have is our own mistake", "[gpu]") {
  if (gpu_missing()) return;
  CHECK_THROWS_AS(cuda_kernel<void()>("sgd_update"), std::logic_error);  // of another type
  CHECK_THROWS_AS(cuda_kernel<decltype(finish_step_cuda)>("no_such"), std::logic_error);
}

TEST_CASE("a kernel's error becomes a DeviceError that names it", "[gpu]") {
  if (gpu_missing()) return;
  const int code = cuda_kernel<decltype(masked_copy_cuda<float>)>("masked_copy")(
      nullptr, nullptr, 1, -1, nullptr, nullptr, stream());
  REQUIRE(code != 0);
  REQUIRE_NOTHROW(check_cuda(0, "masked_copy"));
  REQUIRE_THROWS_AS(check_cuda(code, "masked_copy"), DeviceError);
  REQUIRE_THROWS_WITH(check_cuda(code, "masked_copy"),
                      Catch::Contains("masked_copy failed") && Catch::Contains("invalid argument"));
}

}  // namespace tandem::test::cuda_kernels_gpu
