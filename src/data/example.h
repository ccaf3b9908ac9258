// An example as steps, buffers and checkpoints have it: one number for its place in the data set
// (an image's index, or the start of a window) and the task whose view of it is meant. Task 0: the
// task that its class belongs to, in the view of the first task.
#pragma once

#include <cstdint>

namespace tandem {

constexpr int kSourceBits = 40;
constexpr std::int64_t kSourceMask = (std::int64_t{1} << kSourceBits) - 1;

constexpr std::int64_t example_of(std::int64_t source, std::int64_t task) {
  return (task << kSourceBits) | source;
}
constexpr std::int64_t source_of(std::int64_t example) { return example & kSourceMask; }
constexpr std::int64_t task_of(std::int64_t example) { return example >> kSourceBits; }

}  // namespace tandem
