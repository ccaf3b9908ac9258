// The passage between rows of samples and rows of features, and the ReLU's gradient with the
// bias's in one pass, against plain loops, on each instruction set.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "kernels/spmm/spmm.h"

namespace tandem::test::layout_test {

using namespace kernels;
namespace {

// n values from `shift` elements after a multiple of 64 bytes on.
template <class T>
class Values {
 public:
  Values(std::int64_t n, T value, std::int64_t shift = 0) : size_(n) {
    room_.resize(static_cast<std::size_t>(n + shift) * sizeof(T) + 64);
    void* from = room_.data();
    std::size_t room = room_.size();
    data_ = static_cast<T*>(std::align(64, sizeof(T), from, room)) + shift;
    std::fill_n(data_, n, value);
  }
  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;
  T* data() { return data_; }
  T& operator[](std::int64_t i) { return data_[i]; }
  bool same_bits(const Values& other) const {
    return size_ == other.size_ &&
           std::memcmp(data_, other.data_, static_cast<std::size_t>(size_) * sizeof(T)) == 0;
  }

 private:
  std::int64_t size_;
  std::vector<unsigned char> room_;
  T* data_;
};

struct BestTargetAgain {
  ~BestTargetAgain() { spmm_use_target(""); }
};

template <class T>
void check_there_and_back(std::int64_t batch, std::int64_t features, std::int64_t row_stride,
                          std::int64_t stride, std::int64_t shift) {
  const T poison = std::numeric_limits<T>::quiet_NaN();
  Values<T> x(batch * row_stride, poison, shift), back(batch * row_stride, T(-7), shift);
  Values<T> expected_back(batch * row_stride, T(-7), shift);
  Values<T> y(features * stride, poison), expected(features * stride, T(0));
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t f = 0; f < features; ++f) {
      const auto value = static_cast<T>(b * features + f + 1);
      x[b * row_stride + f] = expected_back[b * row_stride + f] = value;
      expected[f * stride + b] = value;
    }
  }
  REQUIRE(to_features(x.data(), batch, features, row_stride, stride, y.data()) == kSpmmDone);
  CHECK(y.same_bits(expected));
  REQUIRE(from_features(y.data(), batch, features, row_stride, stride, back.data()) == kSpmmDone);
  CHECK(back.same_bits(expected_back));
}

template <class T>
void check_gradients(std::int64_t outputs, std::int64_t batch, std::int64_t stride,
                     std::mt19937_64& random) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  std::normal_distribution<double> normal;
  Values<T> y(outputs * stride, nan), dy(outputs * stride, nan), dz(outputs * stride, nan);
  Values<T> in_place(outputs * stride, nan), expected(outputs * stride, nan);
  for (std::int64_t o = 0; o < outputs; ++o) {
    for (std::int64_t b = 0; b < batch; ++b) {
      const std::int64_t at = o * stride + b;
      y[at] = random() % 50 == 0 ? nan : std::max(T(0), static_cast<T>(normal(random)));
      dy[at] = in_place[at] = expected[at] = static_cast<T>(normal(random));
    }
    for (std::int64_t b = batch; b < stride; ++b) expected[o * stride + b] = 0;
  }
  REQUIRE(relu_backward(y.data(), outputs, stride, batch, expected.data()) == kSpmmDone);
  Values<T> db(outputs, nan), db_in_place(outputs, nan), expected_db(outputs, nan);
  REQUIRE(bias_gradient(expected.data(), outputs, stride, batch, expected_db.data()) == kSpmmDone);
  REQUIRE(relu_bias_gradient(y.data(), dy.data(), outputs, stride, batch, dz.data(), db.data()) ==
          kSpmmDone);
  CHECK(dz.same_bits(expected));
  CHECK(db.same_bits(expected_db));
  REQUIRE(relu_bias_gradient(y.data(), in_place.data(), outputs, stride, batch, in_place.data(),
                             db_in_place.data()) == kSpmmDone);
  CHECK(in_place.same_bits(expected));
  CHECK(db_in_place.same_bits(expected_db));
  for (std::int64_t o = 0; o < outputs; ++o) {
    double sum = 0;
    for (std::int64_t b = 0; b < batch; ++b) {
      const std::int64_t at = o * stride + b;
      const T value = y[at] <= 0 ? T(0) : dy[at];
      CHECK(dz[at] == value);
      sum += static_cast<double>(value);
    }
    CHECK(static_cast<double>(db[o]) ==
          Approx(sum).margin(1000 * static_cast<double>(std::numeric_limits<T>::epsilon())));
  }
}

}  // namespace

TEMPLATE_TEST_CASE("to_features and from_features move every value to its place", "[parity]", float,
                   double) {
  const BestTargetAgain again;
  for (const std::string& target : spmm_targets()) {
    REQUIRE(spmm_use_target(target));
    for (const std::int64_t batch : {1, 3, 4, 15, 16, 17, 37, 64, 128, 259}) {
      for (const std::int64_t features : {0, 1, 2, 5, 16, 31, 64, 65, 200}) {
        const std::int64_t stride = (batch + kSpmmAlign - 1) / kSpmmAlign * kSpmmAlign;
        CAPTURE(target, batch, features);
        check_there_and_back<TestType>(batch, features, features, stride, 0);
        check_there_and_back<TestType>(batch, features, features + 3, stride + 2 * kSpmmAlign, 1);
      }
    }
    check_there_and_back<TestType>(64, 1024, 1024, 1024, 0);
  }
}

TEMPLATE_TEST_CASE("relu_bias_gradient is relu_backward and then bias_gradient", "[parity]", float,
                   double) {
  const BestTargetAgain again;
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (const std::string& target : spmm_targets()) {
    REQUIRE(spmm_use_target(target));
    for (const std::int64_t outputs : {0, 1, 15, 16, 17, 33}) {
      for (const std::int64_t batch : {1, 15, 16, 17, 33, 64, 100, 128, 200}) {
        const std::int64_t stride = (batch + kSpmmAlign - 1) / kSpmmAlign * kSpmmAlign;
        CAPTURE(target, outputs, batch);
        check_gradients<TestType>(outputs, batch, stride, random);
        check_gradients<TestType>(outputs, batch, stride + kSpmmAlign, random);
      }
    }
  }
}

TEST_CASE("the layouts and the gradient in one pass refuse impossible arguments", "[parity]") {
  Values<float> x(64, 0), y(64, 0), db(2, 0);
  const auto there = [&](const float* from, std::int64_t batch, std::int64_t features,
                         std::int64_t row_stride, std::int64_t stride, float* to) {
    return to_features(from, batch, features, row_stride, stride, to);
  };
  CHECK(there(x.data(), 2, 2, 2, 16, y.data()) == kSpmmDone);
  CHECK(there(x.data() + 1, 2, 2, 2, 16, y.data()) == kSpmmDone);
  CHECK(there(nullptr, 2, 0, 0, 16, nullptr) == kSpmmDone);
  CHECK(there(x.data(), 2, 2, 1, 16, y.data()) == kSpmmBadArguments);
  CHECK(there(x.data(), 0, 2, 2, 16, y.data()) == kSpmmBadArguments);
  CHECK(there(x.data(), 17, 2, 2, 16, y.data()) == kSpmmBadArguments);
  CHECK(there(x.data(), 2, 2, 2, 8, y.data()) == kSpmmBadArguments);
  CHECK(there(x.data(), 2, -1, 2, 16, y.data()) == kSpmmBadArguments);
  CHECK(there(x.data(), 2, 2, 2, 16, y.data() + 1) == kSpmmBadArguments);
  CHECK(there(nullptr, 2, 2, 2, 16, y.data()) == kSpmmBadArguments);
  CHECK(there(x.data(), 2, 2, 2, 16, nullptr) == kSpmmBadArguments);
  CHECK(from_features(y.data(), 2, 2, 1, 16, x.data()) == kSpmmBadArguments);
  const auto gradients = [&](const float* dy, std::int64_t stride, float* dz, float* to) {
    return relu_bias_gradient(static_cast<const float*>(x.data()), dy, 2, stride, 2, dz, to);
  };
  CHECK(gradients(y.data(), 16, y.data(), db.data()) == kSpmmDone);
  CHECK(gradients(y.data(), 15, y.data(), db.data()) == kSpmmBadArguments);
  CHECK(gradients(nullptr, 16, y.data(), db.data()) == kSpmmBadArguments);
  CHECK(gradients(y.data(), 16, y.data() + 1, db.data()) == kSpmmBadArguments);
  CHECK(gradients(y.data(), 16, y.data(), nullptr) == kSpmmBadArguments);
}

}  // namespace tandem::test::layout_test
