// The sparse layer against plain loops in double precision, and against itself on each instruction
// set. Data are small integers where the result has to be exact whatever the order of additions.
#include "kernels/spmm/spmm.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace tandem::test::spmm_test {

using namespace kernels;
namespace {

using Random = std::mt19937_64;

// n values from a multiple of 64 bytes on.
template <class T>
class Aligned {
 public:
  explicit Aligned(std::int64_t n, T value = T(0)) : size_(n), room_(n * sizeof(T) + 64) {
    void* from = room_.data();
    std::size_t room = room_.size();
    data_ = static_cast<T*>(std::align(64, n * sizeof(T), from, room));
    std::fill_n(data_, n, value);
  }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  T* data() { return data_; }
  T& operator[](std::int64_t i) { return data_[i]; }
  std::vector<T> values() const { return {data_, data_ + size_}; }
  std::vector<double> wide() const { return {data_, data_ + size_}; }

 private:
  std::int64_t size_;
  std::vector<unsigned char> room_;
  T* data_;
};

std::vector<std::int64_t> draw_positions(std::int64_t inputs, std::int64_t outputs, double density,
                                         Random& random) {
  std::vector<std::int64_t> positions;
  std::bernoulli_distribution exists(density);
  for (std::int64_t p = 0; p < inputs * outputs; ++p) {
    const std::int64_t i = p / outputs, o = p % outputs;
    const bool empty = density < 1 && (i % 5 == 3 || o % 7 == 2);  // whole rows and columns
    if (!empty && exists(random)) positions.push_back(p);
  }
  return positions;
}

template <class I>
struct Pattern {
  std::vector<std::int64_t> by_input, by_output;
  std::vector<I> output_of, input_of;
  std::vector<std::uint32_t> place;
  SparsePattern<I> view;

  Pattern(const std::vector<std::int64_t>& positions, std::int64_t inputs, std::int64_t outputs)
      : by_input(inputs + 1),
        by_output(outputs + 1),
        output_of(positions.size()),
        input_of(positions.size()),
        place(positions.size()) {
    const auto nnz = static_cast<std::int64_t>(positions.size());
    REQUIRE(build_pattern<I>(positions.data(), nnz, inputs, outputs, arrays(), &view) == 0);
  }
  SparsePatternArrays<I> arrays() {
    return {by_input.data(), output_of.data(), by_output.data(), input_of.data(), place.data()};
  }
};

template <class T>
struct Layer {
  std::int64_t inputs, outputs, batch, stride;
  std::vector<std::int64_t> positions;
  std::vector<T> values, bias;
  Aligned<T> x, dy;

  // Beyond the batch lies NaN. whole: small integers, else normal.
  Layer(std::int64_t in, std::int64_t out, std::int64_t b, double density, bool whole,
        Random& random)
      : inputs(in),
        outputs(out),
        batch(b),
        stride((b + kSpmmAlign - 1) / kSpmmAlign * kSpmmAlign),
        positions(draw_positions(in, out, density, random)),
        values(positions.size()),
        bias(out),
        x(in * stride, std::numeric_limits<T>::quiet_NaN()),
        dy(out * stride, std::numeric_limits<T>::quiet_NaN()) {
    std::normal_distribution<double> normal;
    const auto draw = [&] {
      return static_cast<T>(whole ? static_cast<double>(random() % 7) - 3 : normal(random));
    };
    for (auto& v : values) v = draw();
    for (auto& v : bias) v = draw();
    for (std::int64_t n = 0; n < in * stride; ++n) {
      if (n % stride < b) x[n] = draw();
    }
    for (std::int64_t n = 0; n < out * stride; ++n) {
      if (n % stride < b) dy[n] = draw();
    }
  }
  std::int64_t nnz() const { return static_cast<std::int64_t>(positions.size()); }
};

template <class T>
struct Results {
  std::vector<T> y, dx, dvalues, dvalues_alone, db;
};

template <class T, class I>
Results<T> compute(Layer<T>& l, bool relu, bool with_bias) {
  const Pattern<I> pattern(l.positions, l.inputs, l.outputs);
  std::vector<T> by_output(l.values.size()), db(l.outputs);
  REQUIRE(reorder(l.values.data(), pattern.place.data(), l.nnz(), by_output.data()) == 0);
  const T stale = std::numeric_limits<T>::quiet_NaN();
  Aligned<T> y(l.outputs * l.stride, stale), dx(l.inputs * l.stride, stale);
  std::vector<T> dvalues(l.nnz(), stale), alone(l.nnz(), stale);
  REQUIRE(spmm_forward(pattern.view, by_output.data(), with_bias ? l.bias.data() : nullptr,
                       l.x.data(), l.stride, l.batch, relu, y.data()) == 0);
  REQUIRE(spmm_backward(pattern.view, l.values.data(), l.x.data(), l.dy.data(), l.stride, l.batch,
                        relu, dx.data(), dvalues.data()) == 0);
  REQUIRE(spmm_backward<T, I>(pattern.view, l.values.data(), l.x.data(), l.dy.data(), l.stride,
                              l.batch, relu, nullptr, alone.data()) == 0);
  REQUIRE(bias_gradient(l.dy.data(), l.outputs, l.stride, l.batch, db.data()) == 0);
  return {y.values(), dx.values(), dvalues, alone, db};
}

template <class T>
Results<double> reference(const Layer<T>& l, bool relu, bool with_bias) {
  Results<double> r{std::vector<double>(l.outputs * l.stride),
                    std::vector<double>(l.inputs * l.stride),
                    std::vector<double>(l.nnz()),
                    {},
                    std::vector<double>(l.outputs)};
  const std::vector<double> values(l.values.begin(), l.values.end());
  const std::vector<double> bias(l.bias.begin(), l.bias.end()), x = l.x.wide(), dy = l.dy.wide();
  spmm_forward_ref(l.positions.data(), l.nnz(), l.inputs, l.outputs, values.data(),
                   with_bias ? bias.data() : nullptr, x.data(), l.stride, l.batch, relu,
                   r.y.data());
  spmm_backward_ref(l.positions.data(), l.nnz(), l.inputs, l.outputs, values.data(), x.data(),
                    dy.data(), l.stride, l.batch, relu, r.dx.data(), r.dvalues.data());
  for (std::int64_t o = 0; o < l.outputs; ++o) {
    for (std::int64_t b = 0; b < l.batch; ++b) r.db[o] += dy[o * l.stride + b];
  }
  r.dvalues_alone = r.dvalues;
  return r;
}

template <class T>
bool near(const std::vector<T>& a, const std::vector<double>& b, double tolerance) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!(std::abs(static_cast<double>(a[i]) - b[i]) <= tolerance)) return false;
  }
  return true;
}

template <class T>
void check_near(const Results<T>& a, const Results<double>& b, double tolerance) {
  CHECK(near(a.y, b.y, tolerance));
  CHECK(near(a.dx, b.dx, tolerance));
  CHECK(near(a.dvalues, b.dvalues, tolerance));
  CHECK(near(a.dvalues_alone, b.dvalues_alone, tolerance));
  CHECK(near(a.db, b.db, tolerance));
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T>
bool same_bits(const Results<T>& a, const Results<T>& b) {
  return same_bits(a.y, b.y) && same_bits(a.dx, b.dx) && same_bits(a.dvalues, b.dvalues) &&
         same_bits(a.dvalues_alone, b.dvalues_alone) && same_bits(a.db, b.db);
}

struct BestTargetAgain {
  ~BestTargetAgain() { spmm_use_target(""); }
};

template <class T, class I>
void check_sizes(Random& random) {
  const std::int64_t sizes[][2] = {{0, 0}, {0, 5}, {5, 0}, {1, 1}, {1, 40}, {40, 1}, {37, 53}};
  for (const auto& [in, out] : sizes) {
    for (const std::int64_t batch : {1, 3, 15, 16, 17, 64, 100, 128, 200}) {
      for (const double density : {0.0, 0.1, 0.6, 1.0}) {
        const bool relu = random() % 2 == 0, with_bias = random() % 2 == 0;
        CAPTURE(in, out, batch, density, relu, with_bias);
        Layer<T> layer(in, out, batch, density, true, random);
        check_near(compute<T, I>(layer, relu, with_bias), reference(layer, relu, with_bias), 0);
      }
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("a sparse layer's products are exact on whole numbers", "[parity]", float,
                   double) {
  const BestTargetAgain again;
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  for (const std::string& target : spmm_targets()) {
    REQUIRE(spmm_use_target(target));
    REQUIRE(spmm_target() == target);
    CAPTURE(target);
    Random random(seed);
    check_sizes<TestType, std::uint16_t>(random);
    check_sizes<TestType, std::uint32_t>(random);
  }
}

TEMPLATE_TEST_CASE("a sparse layer in blocks: rounding, and the same bits for every vector width",
                   "[parity]", float, double) {
  using T = TestType;
  const BestTargetAgain again;
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  Random random(seed);
  const double tolerance = 2000 * std::numeric_limits<T>::epsilon();
  struct Shape {
    std::int64_t inputs, outputs, batch;
    double density;
  };
  // Blocks of the first cache level, of the second, and rows fetched ahead.
  for (const Shape& s :
       {Shape{300, 281, 64, 0.5}, Shape{281, 300, 200, 1.0}, Shape{40, 4200, 64, 0.1},
        Shape{4200, 40, 128, 0.1}, Shape{40, 4200, 64, 0.02}, Shape{4200, 40, 100, 0.02}}) {
    CAPTURE(s.inputs, s.outputs, s.batch, s.density);
    Layer<T> layer(s.inputs, s.outputs, s.batch, s.density, false, random);
    const Results<double> expected = reference(layer, true, true);
    std::vector<Results<T>> wide;
    for (const std::string& target : spmm_targets()) {
      CAPTURE(target);
      REQUIRE(spmm_use_target(target));
      auto narrow = compute<T, std::uint16_t>(layer, true, true);
      check_near(narrow, expected, tolerance);
      CHECK(same_bits(narrow, compute<T, std::uint32_t>(layer, true, true)));
      if (target.rfind("AVX", 0) == 0) wide.push_back(std::move(narrow));
    }
    for (const auto& each : wide) CHECK(same_bits(each, wide.front()));
  }
}

TEMPLATE_TEST_CASE("NaN and infinity inside the batch come through", "[parity]", float, double) {
  using T = TestType;
  const T nan = std::numeric_limits<T>::quiet_NaN(), inf = std::numeric_limits<T>::infinity();
  const Pattern<std::uint16_t> pattern({0, 1}, 1, 3);  // output 2 has no connection
  Aligned<T> x(16, T(1)), y(48), dy(48), dx(16);
  const std::vector<T> values = {nan, inf}, bias = {0, 0, T(-0.0)};
  REQUIRE(spmm_forward(pattern.view, values.data(), bias.data(), x.data(), 16, 1, true, y.data()) ==
          0);
  CHECK(std::isnan(y[0]));
  CHECK(y[16] == inf);
  CHECK((y[32] == 0 && !std::signbit(y[32])));
  dy[0] = 1;
  std::vector<T> dvalues(2);
  REQUIRE(spmm_backward(pattern.view, values.data(), x.data(), dy.data(), 16, 1, true, dx.data(),
                        dvalues.data()) == 0);
  CHECK(std::isnan(dx[0]));
  CHECK((dvalues[0] == 1 && dvalues[1] == 0));
}

TEMPLATE_TEST_CASE("relu_backward keeps the gradient of what is positive or NaN", "[parity]", float,
                   double) {
  const BestTargetAgain again;
  for (const std::string& target : spmm_targets()) {
    REQUIRE(spmm_use_target(target));
    Aligned<TestType> y(32), dy(32, TestType(5));
    y[0] = 1, y[1] = -1, y[2] = std::numeric_limits<TestType>::quiet_NaN(), y[16] = 2;
    REQUIRE(relu_backward(y.data(), 2, 16, 3, dy.data()) == 0);
    for (std::int64_t n = 0; n < 32; ++n) CHECK(dy[n] == (n == 0 || n == 2 || n == 16 ? 5 : 0));
  }
}

TEST_CASE("a pattern holds both orders of the connections", "[parity]") {
  const Pattern<std::uint16_t> p({1, 3, 5, 8, 9}, 4, 3);  // 0>1 1>0 1>2 2>2 3>0
  CHECK(p.by_input == std::vector<std::int64_t>{0, 1, 3, 4, 5});
  CHECK(p.output_of == std::vector<std::uint16_t>{1, 0, 2, 2, 0});
  CHECK(p.by_output == std::vector<std::int64_t>{0, 2, 3, 5});
  CHECK(p.input_of == std::vector<std::uint16_t>{1, 3, 0, 1, 2});
  CHECK(p.place == std::vector<std::uint32_t>{1, 4, 0, 2, 3});
  CHECK((p.view.inputs == 4 && p.view.outputs == 3 && p.view.nnz == 5));
}

TEST_CASE("a pattern is refused where positions or sizes are impossible", "[parity]") {
  Pattern<std::uint16_t> p({0, 1}, 2, 2);
  SparsePattern<std::uint16_t> view;
  const auto build = [&](std::vector<std::int64_t> positions, std::int64_t in, std::int64_t out) {
    return build_pattern<std::uint16_t>(positions.data(), std::ssize(positions), in, out,
                                        p.arrays(), &view);
  };
  CHECK(build({0, 3}, 2, 2) == kSpmmDone);
  CHECK(build({1, 1}, 2, 2) == kSpmmBadArguments);
  CHECK(build({2, 1}, 2, 2) == kSpmmBadArguments);
  CHECK(build({0, 4}, 2, 2) == kSpmmBadArguments);
  CHECK(build({-1, 0}, 2, 2) == kSpmmBadArguments);
  CHECK(build({0}, 0, 2) == kSpmmBadArguments);
  CHECK(build({0}, 1, 0) == kSpmmBadArguments);
  CHECK(build({}, -1, 2) == kSpmmBadArguments);
  CHECK(build({}, 1, 65537) == kSpmmBadArguments);
  CHECK(build_pattern<std::uint16_t>(nullptr, 1, 2, 2, p.arrays(), &view) == kSpmmBadArguments);
  CHECK(build_pattern<std::uint16_t>(nullptr, 0, 2, 2, {}, &view) == kSpmmBadArguments);
}

TEST_CASE("the sparse products refuse impossible arguments", "[parity]") {
  const Pattern<std::uint32_t> pattern({0}, 1, 1);
  const auto& p = pattern.view;
  Aligned<float> x(32), y(32), dx(32);
  const float w = 1;
  float dw = 0;
  const auto forward = [&](const float* from, std::int64_t stride, std::int64_t batch, float* to) {
    return spmm_forward(p, &w, static_cast<const float*>(nullptr), from, stride, batch, false, to);
  };
  CHECK(forward(x.data(), 16, 16, y.data()) == kSpmmDone);
  CHECK(forward(x.data(), 16, 17, y.data()) == kSpmmBadArguments);
  CHECK(forward(x.data(), 16, 0, y.data()) == kSpmmBadArguments);
  CHECK(forward(x.data(), 8, 8, y.data()) == kSpmmBadArguments);
  CHECK(forward(x.data() + 1, 16, 1, y.data()) == kSpmmBadArguments);
  CHECK(forward(nullptr, 16, 1, y.data()) == kSpmmBadArguments);
  CHECK(forward(x.data(), 16, 1, nullptr) == kSpmmBadArguments);
  const auto backward = [&](const float* dy, float* to, float* dvalues) {
    return spmm_backward(p, &w, x.data(), dy, 16, 16, false, to, dvalues);
  };
  CHECK(backward(y.data(), nullptr, &dw) == kSpmmDone);
  CHECK(backward(nullptr, dx.data(), &dw) == kSpmmBadArguments);
  CHECK(backward(y.data(), dx.data() + 1, &dw) == kSpmmBadArguments);
  CHECK(backward(y.data(), dx.data(), nullptr) == kSpmmBadArguments);
  CHECK(bias_gradient(y.data(), 1, 16, 16, static_cast<float*>(nullptr)) == kSpmmBadArguments);
  CHECK(bias_gradient(y.data(), -1, 16, 16, &dw) == kSpmmBadArguments);
  CHECK(relu_backward(static_cast<const float*>(nullptr), 1, 16, 16, y.data()) ==
        kSpmmBadArguments);
  CHECK(reorder(&w, nullptr, 1, &dw) == kSpmmBadArguments);
  CHECK(reorder(&w, nullptr, -1, &dw) == kSpmmBadArguments);
  CHECK_FALSE(spmm_use_target("no such set"));
}

}  // namespace tandem::test::spmm_test
