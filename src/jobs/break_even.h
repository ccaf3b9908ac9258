// The density below which a training step of a linear layer is faster with sparse connections than
// with masked ones, on this machine and one thread. A masked step takes c whatever its density, a
// sparse one about a + b density; two densities give a and b, and
//   break-even = (c - a) / b, clamped to [0, 1].
// A step is the product with a bias and a ReLU, its gradients (the input's too) and SGD's update
// with momentum. Input and output gradient lie as a masked neighbour has them, so that a sparse
// step pays for its copies. Shapes beyond a limit take the answer of the limit.
//
// What is measured is remembered in a JSON file per processor and kernel version. That file is a
// convenience: a damaged or unwritable one costs a measurement and is no error.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "topology/storage.h"

namespace tandem {

struct LayerCase {
  std::int64_t inputs = 0, outputs = 0;
  std::int64_t rows = 0;  // that a step multiplies: examples, or tokens
  std::string dtype = "float32";
};

struct TimedStep {
  Storage storage = Storage::kMasked;
  double density = 1;
};

// Seconds of each step, timed in turns. Tests bring their own.
using StepTimer =
    std::function<std::vector<double>(const LayerCase&, const std::vector<TimedStep>&)>;
std::vector<double> time_layer_steps(const LayerCase& layer, const std::vector<TimedStep>& steps);

// Processor and instruction set of the sparse kernels, e.g. "Xeon ... / avx512".
std::string break_even_machine();
// break_even.json in the cache folder; "": nowhere.
std::string break_even_file();

class BreakEven {
 public:
  // Smaller layers are masked unasked: the calls cost more than the work.
  static constexpr std::int64_t kLeastPositions = 4096;
  static constexpr std::int64_t kMostInputs = 2048, kMostOutputs = 2048, kMostRows = 1024;
  static constexpr std::int64_t kMostProducts = kMostInputs * kMostOutputs * 256;  // by fewer rows

  explicit BreakEven(std::string file = break_even_file(), StepTimer timer = time_layer_steps,
                     std::string machine = break_even_machine());

  // 0: never sparse. Measures what nobody remembers, in about half a second at most.
  double density(const LayerCase& layer);
  // These are this machine's densities by shape, as "784x400, 128 rows, float32" -> density.
  const std::map<std::string, double>& remembered() const { return of_shape_; }
  const std::string& file() const { return file_; }

 private:
  using Shapes = std::map<std::string, double>;
  std::map<std::string, Shapes> read();
  double measure(const LayerCase& layer) const;
  void remember(const std::string& shape, double density);
  void tell_once(const std::string& what);

  std::string file_;
  StepTimer timer_;
  std::string machine_;
  Shapes of_shape_;
  bool told_ = false;
};

}  // namespace tandem
