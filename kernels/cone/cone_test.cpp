// The projection against the optimality conditions of its dual and against a search through all
// sets of tight bounds, which share no line with it.
#include "kernels/cone/cone.h"

#include <Eigen/Dense>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace tandem::test::cone_test {

using namespace tandem::kernels;

namespace {

// The best v by trying every set of coordinates at their bound.
Eigen::VectorXd best_of_all(const Eigen::MatrixXd& p, const Eigen::VectorXd& q, double margin) {
  const int n = static_cast<int>(q.size());
  Eigen::VectorXd best;
  double least = std::numeric_limits<double>::infinity();
  for (int set = 0; set < (1 << n); ++set) {
    std::vector<int> open;
    Eigen::VectorXd v = Eigen::VectorXd::Constant(n, margin);
    for (int i = 0; i < n; ++i) {
      if ((set >> i) % 2 == 0) open.push_back(i);
    }
    const int m = static_cast<int>(open.size());
    Eigen::MatrixXd a(m, m);
    Eigen::VectorXd b(m);
    for (int i = 0; i < m; ++i) {
      b[i] = -q[open[i]];
      for (int j = 0; j < n; ++j) {
        if ((set >> j) % 2 == 1) b[i] -= p(open[i], j) * margin;
      }
      for (int j = 0; j < m; ++j) a(i, j) = p(open[i], open[j]);
    }
    const Eigen::VectorXd solved = a.ldlt().solve(b);
    bool allowed = true;
    for (int i = 0; i < m; ++i) {
      v[open[i]] = solved[i];
      allowed = allowed && solved[i] >= margin - 1e-12;
    }
    const double value = 0.5 * v.dot(p * v) + q.dot(v);
    if (allowed && value < least) {
      least = value;
      best = v;
    }
  }
  return best;
}

}  // namespace

TEST_CASE("the projection is the best of all sets of tight bounds", "[parity]") {
  std::mt19937 random(7);
  std::normal_distribution<double> normal;
  int projected = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const int n = 1 + trial % 6, features = 3 + trial % 9;
    const double margin = trial % 3 == 0 ? 0 : 0.5;
    Eigen::MatrixXd rows(n, features);
    Eigen::VectorXd gradient(features);
    for (int i = 0; i < n * features; ++i) rows.data()[i] = normal(random);
    for (int i = 0; i < features; ++i) gradient[i] = normal(random);
    const Eigen::MatrixXd gram = rows * rows.transpose();
    const Eigen::VectorXd along = rows * gradient;
    const std::vector<double> part(static_cast<std::size_t>(n), 1);
    std::vector<double> v(static_cast<std::size_t>(n), -1);
    project_onto_cone({.gram = gram.data(),
                       .along = along.data(),
                       .part = part.data(),
                       .margin = &margin,
                       .replicas = 1,
                       .n = n,
                       .sweeps = 20000},
                      v.data());
    CAPTURE(trial, n, features, margin);
    if (along.minCoeff() >= 0) {
      for (const double each : v) CHECK(each == 0);
      continue;
    }
    ++projected;
    const Eigen::VectorXd best =
        best_of_all(gram + 1e-3 * Eigen::MatrixXd::Identity(n, n), along, margin);
    for (int i = 0; i < n; ++i)
      CHECK(v[static_cast<std::size_t>(i)] == Approx(best[i]).margin(1e-7));
  }
  CHECK(projected > 100);
}

TEST_CASE("rows that take no part change nothing, and replicas are apart", "[parity]") {
  // Two of the second replica's rows take part; the first's gradient raises nothing.
  const std::vector<double> gram = {1, 0, 0, 0, 1, 0, 0, 0, 1, 2, 9, 1, 9, 9, 9, 1, 9, 3};
  const std::vector<double> along = {1, 0, 2, -4, -9, -1}, part = {1, 1, 1, 1, 0, 1};
  const std::vector<double> margin = {0.5, 0};
  std::vector<double> v(6, -1);
  project_onto_cone({.gram = gram.data(),
                     .along = along.data(),
                     .part = part.data(),
                     .margin = margin.data(),
                     .replicas = 2,
                     .n = 3,
                     .ridge = 0},
                    v.data());
  CHECK(v[0] == 0);
  CHECK(v[1] == 0);
  CHECK(v[2] == 0);
  // 2 a + b = 4, a + 3 b = 1, both not below 0: b is at its bound.
  CHECK(v[3] == Approx(2));
  CHECK(v[4] == 0);
  CHECK(v[5] == Approx(0).margin(1e-12));
}

}  // namespace tandem::test::cone_test
