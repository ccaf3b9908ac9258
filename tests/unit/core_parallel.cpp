// Pieces of work on several threads: each once, and an exception reaches the caller.
#include <atomic>
#include <catch2/catch.hpp>
#include <stdexcept>
#include <vector>

#include "core/parallel.h"

namespace tandem::test::core_parallel_unit {

TEST_CASE("every index is visited once, on any number of threads", "[unit]") {
  for (const int threads : {-1, 0, 1, 2, 7, 100}) {
    for (const std::size_t count : {0, 1, 5, 64}) {
      CAPTURE(threads, count);
      std::vector<std::atomic<int>> visits(count);
      for_each_index(count, threads, [&](std::size_t i) { ++visits[i]; });
      for (const auto& each : visits) CHECK(each == 1);
    }
  }
}

TEST_CASE("a process has one thread for host work until it is told otherwise", "[unit]") {
  CHECK(host_threads() == 1);
  set_host_threads(5);
  CHECK(host_threads() == 5);
  set_host_threads(0);
  CHECK(host_threads() == 1);
}

TEST_CASE("an exception is thrown once all have ended", "[unit]") {
  for (const int threads : {1, 3}) {
    std::atomic<int> visited = 0;
    const auto work = [&](std::size_t i) {
      ++visited;
      if (i == 8) throw std::runtime_error("ninth");
    };
    CHECK_THROWS_WITH(for_each_index(9, threads, work), "ninth");
    CHECK(visited == 9);
  }
}

}  // namespace tandem::test::core_parallel_unit
