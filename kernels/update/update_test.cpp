// The fused updates against plain loops in double, with every combination of masks.
#include "kernels/update/update.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <vector>

namespace tandem::test::update_test {

using namespace tandem::kernels;

namespace {

struct Net {
  std::vector<double> weight, gradient, slot1, slot2, count;
  std::vector<std::uint8_t> active;
};

Net random_net(std::int64_t size, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  Net net;
  for (std::int64_t i = 0; i < size; ++i) {
    net.weight.push_back(normal(generator));
    net.gradient.push_back(normal(generator));
    net.slot1.push_back(normal(generator));
    net.slot2.push_back(std::abs(normal(generator)));
    net.count.push_back(static_cast<double>(generator() % 5));
    net.active.push_back(generator() % 3 == 0);
  }
  return net;
}

ReplicaUpdate update_of(int kind) {
  ReplicaUpdate update;
  update.lr = 0.07;
  update.momentum = 0.9;
  update.weight_decay = 0.01;
  update.scale = 0.5;
  update.mask_gradient = kind & 1;
  update.mask_update = kind & 2;
  update.keep_dormant = kind & 4 ? 0.9 : 1.0;
  update.step = 3;
  return update;
}

}  // namespace

TEST_CASE("SGD equals a plain loop for every combination of sets", "[parity]") {
  constexpr std::int64_t n = 37;
  for (int kind = 0; kind < 8; ++kind) {
    for (const bool nesterov : {false, true}) {
      for (const bool decoupled : {false, true}) {
        CAPTURE(kind, nesterov, decoupled);
        Net net = random_net(2 * n, 7);
        const Net before = net;
        std::vector<ReplicaUpdate> replicas = {update_of(kind), update_of(kind)};
        replicas[1].lr = 0.2;
        const UpdateMasks masks{net.active.data(), net.active.data(), net.active.data()};
        sgd_update(net.weight.data(), net.gradient.data(), net.slot1.data(), masks, n,
                   replicas.data(), 2, {nesterov, decoupled});
        for (std::int64_t i = 0; i < 2 * n; ++i) {
          const auto j = static_cast<std::size_t>(i);
          const ReplicaUpdate& u = replicas[static_cast<std::size_t>(i / n)];
          const bool on = before.active[j] != 0;
          if (u.mask_update && !on) {
            REQUIRE(net.weight[j] == before.weight[j]);
            REQUIRE(net.slot1[j] == before.slot1[j]);
            continue;
          }
          double pull = u.mask_gradient && !on ? 0 : before.gradient[j] * u.scale;
          if (!decoupled) pull += u.weight_decay * before.weight[j];
          const double m = u.momentum * before.slot1[j] + pull;
          double w = before.weight[j];
          if (decoupled) w *= 1 - u.lr * u.weight_decay;
          w -= u.lr * (nesterov ? pull + u.momentum * m : m);
          if (!on) w *= u.keep_dormant;
          REQUIRE(net.slot1[j] == Approx(m).margin(1e-14));
          REQUIRE(net.weight[j] == Approx(w).margin(1e-14));
        }
      }
    }
  }
}

// Longer than a block, so that its borders are met.
TEST_CASE("what may not change keeps every bit, and a path is along what did", "[parity]") {
  constexpr std::int64_t n = 2500;
  for (int kind = 0; kind < 8; ++kind) {
    for (const bool adam : {false, true}) {
      for (const bool restricted : {false, true}) {
        CAPTURE(kind, adam, restricted);
        const Net before = random_net(2 * n, 23), along = random_net(2 * n, 24);
        std::vector<std::uint8_t> may(2 * n, 1);
        for (std::size_t i = 0; restricted && i < may.size(); ++i) may[i] = i % 7 < 3 ? 2 : 0;
        const std::vector<ReplicaUpdate> replicas = {update_of(kind), update_of(kind)};
        const auto run = [&](Net& net, const std::uint8_t* may_change, PathTerm<double> path) {
          const UpdateMasks masks{net.active.data(), net.active.data(), net.active.data(),
                                  may_change};
          if (adam) {
            adam_update(net.weight.data(), net.gradient.data(), net.slot1.data(), net.slot2.data(),
                        net.count.data(), masks, n, replicas.data(), 2, {}, path);
          } else {
            sgd_update(net.weight.data(), net.gradient.data(), net.slot1.data(), masks, n,
                       replicas.data(), 2, {}, path);
          }
        };
        Net whole = before, own = before;
        run(whole, nullptr, {});
        std::vector<double> path = along.slot1;
        run(own, restricted ? may.data() : nullptr, {along.weight.data(), path.data()});
        for (std::size_t i = 0; i < may.size(); ++i) {
          const Net& as = may[i] != 0 ? whole : before;
          REQUIRE(own.weight[i] == as.weight[i]);
          REQUIRE(own.slot1[i] == as.slot1[i]);
          REQUIRE(own.slot2[i] == as.slot2[i]);
          REQUIRE(own.count[i] == as.count[i]);
          volatile double went = before.weight[i] - own.weight[i];
          volatile double earned = along.weight[i] * went;
          REQUIRE(path[i] == along.slot1[i] + earned);
        }
      }
    }
  }
}

TEST_CASE("Adagrad equals a plain loop for every combination of sets", "[parity]") {
  constexpr std::int64_t n = 37;
  for (int kind = 0; kind < 8; ++kind) {
    for (const bool decoupled : {false, true}) {
      CAPTURE(kind, decoupled);
      Net net = random_net(n, 19);
      const Net before = net;
      const ReplicaUpdate u = update_of(kind);
      const UpdateMasks masks{net.active.data(), net.active.data(), net.active.data()};
      sgd_update(net.weight.data(), net.gradient.data(), net.slot2.data(), masks, n, &u, 1,
                 {false, decoupled, true, true, 1e-3});
      for (std::size_t j = 0; j < n; ++j) {
        const bool on = before.active[j] != 0;
        if (u.mask_update && !on) {
          REQUIRE(net.weight[j] == before.weight[j]);
          REQUIRE(net.slot2[j] == before.slot2[j]);
          continue;
        }
        double pull = u.mask_gradient && !on ? 0 : before.gradient[j] * u.scale;
        if (!decoupled) pull += u.weight_decay * before.weight[j];
        const double squares = before.slot2[j] + pull * pull;
        double w = before.weight[j];
        if (decoupled) w *= 1 - u.lr * u.weight_decay;
        w -= u.lr * pull / (std::sqrt(squares) + 1e-3);
        if (!on) w *= u.keep_dormant;
        REQUIRE(net.slot2[j] == Approx(squares).margin(1e-14));
        REQUIRE(net.weight[j] == Approx(w).margin(1e-14));
      }
    }
  }
}

TEST_CASE("AdamW equals a plain loop, with and without counts per weight", "[parity]") {
  constexpr std::int64_t n = 41;
  const AdamRule rule{0.9, 0.99, 1e-8, true};
  for (int kind = 0; kind < 8; ++kind) {
    for (const bool counted : {false, true}) {
      CAPTURE(kind, counted);
      Net net = random_net(n, 11);
      const Net before = net;
      const ReplicaUpdate u = update_of(kind);
      const UpdateMasks masks{net.active.data(), net.active.data(), net.active.data()};
      adam_update(net.weight.data(), net.gradient.data(), net.slot1.data(), net.slot2.data(),
                  counted ? net.count.data() : nullptr, masks, n, &u, 1, rule);
      for (std::size_t j = 0; j < n; ++j) {
        const bool on = before.active[j] != 0;
        if (u.mask_update && !on) {
          REQUIRE(net.weight[j] == before.weight[j]);
          REQUIRE(net.slot2[j] == before.slot2[j]);
          REQUIRE(net.count[j] == before.count[j]);
          continue;
        }
        const double g = u.mask_gradient && !on ? 0 : before.gradient[j] * u.scale;
        const double m = rule.beta1 * before.slot1[j] + (1 - rule.beta1) * g;
        const double v = rule.beta2 * before.slot2[j] + (1 - rule.beta2) * g * g;
        const double t = counted ? before.count[j] + 1 : 3;
        double w = before.weight[j] * (1 - u.lr * u.weight_decay);
        w -= u.lr * (m / (1 - std::pow(rule.beta1, t))) /
             (std::sqrt(v / (1 - std::pow(rule.beta2, t))) + rule.epsilon);
        if (!on) w *= u.keep_dormant;
        REQUIRE(net.weight[j] == Approx(w).margin(1e-12));
        if (counted) REQUIRE(net.count[j] == t);
      }
    }
  }
}

TEST_CASE("a newborn weight's first Adam step is lr, whatever the others' age", "[parity]") {
  // Without a count of its own it would be lr (1 - b1)/sqrt(1 - b2) = 3.16 lr.
  const AdamRule rule{0.9, 0.999, 0.0, true};
  ReplicaUpdate u;
  u.lr = 0.01;
  u.step = 100000;
  double weight = 0, gradient = 0.3, first = 0, second = 0, count = 0;
  adam_update(&weight, &gradient, &first, &second, &count, {}, 1, &u, 1, rule);
  REQUIRE(weight == Approx(-0.01));
  weight = first = second = 0;
  adam_update(&weight, &gradient, &first, &second, static_cast<double*>(nullptr), {}, 1, &u, 1,
              rule);
  REQUIRE(weight == Approx(-0.0316).epsilon(0.01));
}

TEST_CASE("a replica that doesn't apply keeps every bit", "[parity]") {
  Net net = random_net(20, 3);
  const Net before = net;
  std::vector<ReplicaUpdate> replicas = {update_of(0), update_of(0)};
  replicas[0].apply = false;
  sgd_update(net.weight.data(), net.gradient.data(), net.slot1.data(), {}, 10, replicas.data(), 2,
             {});
  for (std::size_t i = 0; i < 10; ++i) {
    REQUIRE(net.weight[i] == before.weight[i]);
    REQUIRE(net.slot1[i] == before.slot1[i]);
    REQUIRE(net.weight[i + 10] != before.weight[i + 10]);
  }
}

TEST_CASE("the sum of squares sees S only", "[parity]") {
  for (const std::int64_t n : {0, 1, 7, 8, 9, 64, 1001}) {
    const Net net = random_net(n, 5);
    double all = 0, own = 0;
    for (std::size_t i = 0; i < net.gradient.size(); ++i) {
      all += net.gradient[i] * net.gradient[i];
      if (net.active[i]) own += net.gradient[i] * net.gradient[i];
    }
    REQUIRE(sum_squares(net.gradient.data(), static_cast<const std::uint8_t*>(nullptr), n) ==
            Approx(all).margin(1e-300));
    REQUIRE(sum_squares(net.gradient.data(), net.active.data(), n) == Approx(own).margin(1e-300));
  }
}

}  // namespace tandem::test::update_test
