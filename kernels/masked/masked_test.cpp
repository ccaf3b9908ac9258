// The masked kernels against the sentence they implement, bit for bit.
#include "kernels/masked/masked.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace tandem::test::masked_test {
namespace {

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T>
std::vector<T> awkward_values(std::int64_t n, std::mt19937_64& random) {
  std::vector<T> values(n);
  for (auto& v : values) v = static_cast<T>(static_cast<double>(random() % 2001) / 1000 - 1);
  const T special[] = {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity(),
                       std::numeric_limits<T>::denorm_min(), T(-0.0)};
  for (std::int64_t i = 0; i < n; i += 5) values[i] = special[random() % 4];
  return values;
}

std::vector<std::uint8_t> flags(std::int64_t n, std::mt19937_64& random) {
  const std::uint8_t kinds[] = {0, 1, 255, 0};
  std::vector<std::uint8_t> m(n);
  for (auto& f : m) f = kinds[random() % 4];
  return m;
}

}  // namespace

TEMPLATE_TEST_CASE("masked copies select and never multiply", "[parity]", float, double) {
  using T = TestType;
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (const std::int64_t n : {0, 1, 7, 31, 64, 1023}) {
    const auto w = awkward_values<T>(n, random);
    const auto m = flags(n, random);
    std::vector<T> expected(n), out(n, T(7));
    for (std::int64_t i = 0; i < n; ++i) expected[i] = m[i] ? w[i] : T(0);
    REQUIRE(masked_copy(w.data(), m.data(), n, out.data()) == 0);
    CHECK(same_bits(out, expected));
    auto g = w;
    REQUIRE(multiply_mask_in_place(g.data(), m.data(), n) == 0);
    CHECK(same_bits(g, expected));
  }
}

TEMPLATE_TEST_CASE("selected segments are copied whole", "[parity]", float, double) {
  using T = TestType;
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (const std::int64_t n : {0, 1, 9, 257}) {
    const std::int64_t segments = 5;
    const auto w = awkward_values<T>(segments * n, random);
    const auto m = flags(segments * n, random);
    const auto full = flags(segments, random);
    std::vector<T> expected(segments * n), out(segments * n, T(7));
    for (std::int64_t i = 0; i < segments * n; ++i) {
      expected[i] = full[i / n] || m[i] ? w[i] : T(0);
    }
    REQUIRE(masked_copy_selected(w.data(), m.data(), segments, n, full.data(), out.data()) == 0);
    CHECK(same_bits(out, expected));
  }
}

TEST_CASE("masked kernels refuse impossible arguments", "[parity]") {
  float x = 0;
  const std::uint8_t m = 1;
  CHECK(masked_copy(&x, &m, -1, &x) != 0);
  CHECK(masked_copy(static_cast<const float*>(nullptr), &m, 1, &x) != 0);
  CHECK(masked_copy_selected(&x, &m, 1, 1, nullptr, &x) != 0);
  CHECK(multiply_mask_in_place(&x, nullptr, 1) != 0);
}

}  // namespace tandem::test::masked_test
