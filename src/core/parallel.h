// Work over the replicas of a large group on all cores. Workers on a CPU have one thread each and
// groups of at most a few replicas; a group as large as kLargeGroup is a GPU's, and its worker has
// the machine's cores for itself.
#pragma once

#include <algorithm>
#include <cstddef>
#include <thread>
#include <vector>

namespace tandem {

constexpr std::size_t kLargeGroup = 32;

// Calls work(i) for i = 0 .. count - 1, in any order and at once where count is large. Calls must
// not depend on each other and must not throw.
template <class Work>
void for_each_replica(std::size_t count, const Work& work) {
  const std::size_t cores = std::max(1u, std::thread::hardware_concurrency());
  const std::size_t threads = count >= kLargeGroup ? std::min(cores, count) : 1;
  const auto share = [&](std::size_t first) {
    for (std::size_t i = first; i < count; i += threads) work(i);
  };
  std::vector<std::jthread> helpers;
  for (std::size_t t = 1; t < threads; ++t) helpers.emplace_back(share, t);
  share(0);
}

}  // namespace tandem
