// Independent pieces of host work on several threads. Workers on a CPU have one thread each; those
// of GPUs share the machine's cores out among themselves (see jobs/worker_main.cpp), and have
// groups of a thousand runs to prepare. LibTorch's own operations on the CPU stay on one thread in
// either: on several, workers that share the cores keep each other waiting inside of every small
// operation.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace tandem {

// How many threads this process has for such work; 1 unless it was told otherwise.
inline std::atomic<int>& host_thread_count() {
  static std::atomic<int> count{1};
  return count;
}
inline int host_threads() { return host_thread_count(); }
inline void set_host_threads(int count) { host_thread_count() = std::max(1, count); }

// Calls work(i) for i = 0 .. count - 1 in any order, on at most `most_threads` threads. The first
// exception is thrown once all have ended.
template <class Work>
void for_each_index(std::size_t count, int most_threads, const Work& work) {
  const std::size_t threads = std::clamp<std::size_t>(
      static_cast<std::size_t>(std::max(1, most_threads)), 1, std::max<std::size_t>(1, count));
  std::vector<std::exception_ptr> errors(threads);
  const auto share = [&](std::size_t own) {
    try {
      for (std::size_t i = own; i < count; i += threads) work(i);
    } catch (...) {
      errors[own] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (std::size_t t = 1; t < threads; ++t) helpers.emplace_back(share, t);
    share(0);
  }
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace tandem
