// Orders of examples are drawn from Philox streams.
#include "data/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "core/error.h"
#include "core/philox.h"

namespace tandem {
namespace {

std::uint64_t task_key(std::uint64_t key, std::int64_t task) {
  return sub_key(key, static_cast<std::uint64_t>(task));
}

void expect_positive(std::int64_t value, const char* what) {
  if (value < 1) {
    throw std::invalid_argument(fmt::format("sampler: {} = {}, at least 1 expected", what, value));
  }
}

std::vector<std::int64_t> natural_order(std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

}  // namespace

std::vector<std::int64_t> permutation(std::uint64_t key, std::int64_t n) {
  const RandomStream stream{key};
  std::vector<std::int64_t> order = natural_order(n);
  for (std::int64_t i = n - 1; i > 0; --i) {
    const auto draw = static_cast<std::uint64_t>(i);
    std::swap(order[draw], order[stream.below(draw, draw + 1)]);
  }
  return order;
}

EpochSampler::EpochSampler(std::uint64_t key, std::int64_t task, std::int64_t n, std::int64_t batch,
                           bool drop_last, bool in_order)
    : key_(task_key(key, task)), n_(n), batch_(batch), drop_last_(drop_last), in_order_(in_order) {
  expect_positive(n, "examples");
  expect_positive(batch, "batch");
}

std::vector<std::int64_t> EpochSampler::batch(std::int64_t step) {
  const std::int64_t epoch = step / steps_per_epoch();
  if (epoch != epoch_) {
    order_ = in_order_ ? natural_order(n_)
                       : permutation(sub_key(key_, static_cast<std::uint64_t>(epoch)), n_);
    epoch_ = epoch;
  }
  const std::int64_t first = step % steps_per_epoch() * batch_;
  return {order_.begin() + first, order_.begin() + std::min(first + batch_, n_)};
}

WindowStarts::WindowStarts(const std::vector<std::int64_t>& edges, std::int64_t context)
    : edges_(edges), context_(context) {
  expect_positive(context, "context");
  for (std::size_t i = 0; i + 1 < edges_.size(); i += 2) {
    const std::int64_t bytes = edges_[i + 1] - edges_[i];
    if (bytes < context + 1) {
      throw ConfigError(
          fmt::format("context = {} needs {} bytes of training text, the corpus{} has {}; "
                      "choose a shorter context or a longer corpus",
                      context, context + 1,
                      edges_.size() > 2 ? fmt::format("'s part {}", i / 2 + 1) : "", bytes));
    }
    count_ += bytes - context;
  }
}

std::int64_t WindowStarts::at(std::int64_t i) const {
  for (std::size_t e = 0; e + 1 < edges_.size(); e += 2) {
    const std::int64_t own = edges_[e + 1] - edges_[e] - context_;
    if (i < own) return edges_[e] + i;
    i -= own;
  }
  throw std::invalid_argument(fmt::format("window {} of {}", i + count_, count_));
}

std::vector<std::int64_t> WindowStarts::side_by_side() const {
  std::vector<std::int64_t> starts;
  for (std::size_t e = 0; e + 1 < edges_.size(); e += 2) {
    for (std::int64_t at = edges_[e]; at + context_ < edges_[e + 1]; at += context_) {
      starts.push_back(at);
    }
  }
  return starts;
}

std::int64_t WindowStarts::windows() const { return (bytes() + context_ - 1) / context_; }

std::int64_t WindowStarts::bytes() const {
  std::int64_t sum = 0;
  for (std::size_t e = 0; e + 1 < edges_.size(); e += 2) sum += edges_[e + 1] - edges_[e];
  return sum;
}

ByteSampler::ByteSampler(std::uint64_t key, std::int64_t task, WindowStarts starts,
                         std::int64_t batch)
    : key_(task_key(key, task)), starts_(std::move(starts)), batch_(batch) {
  expect_positive(batch, "batch");
}

std::vector<std::int64_t> ByteSampler::batch(std::int64_t step) const {
  const RandomStream stream{key_};
  const auto valid = static_cast<std::uint64_t>(starts_.count());
  std::vector<std::int64_t> starts;
  for (std::int64_t i = 0; i < batch_; ++i) {
    const auto draw = static_cast<std::uint64_t>(step * batch_ + i);
    starts.push_back(starts_.at(static_cast<std::int64_t>(stream.below(draw, valid))));
  }
  return starts;
}

}  // namespace tandem
