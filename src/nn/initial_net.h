// A net that a run begins with, from a safetensors file as `tandem export` writes it: weights of
// linear layers, NAME [in,out] ([out,in] where the metadata's layout says so), or NAME.values [n]
// and NAME.indices [2,n] of what is stored; masks, NAME.mask, beside them; other parameters and
// buffers as they are. Numbers are F32, F64, F16 or BF16 and are rounded to the run's type.
//
// Names and shapes must be the net's. An attention module's own parameters may be missing, and then
// begin as they are drawn, or be in the file of another module and be left out; a strategy's are
// always left out; a buffer that is missing begins as ever. With init_strict=false the same goes
// for all tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "core/safetensors.h"
#include "nn/model.h"
#include "policy/policy.h"
#include "topology/budgets.h"
#include "topology/given_weights.h"

namespace tandem {

class InitialNet : public std::enable_shared_from_this<InitialNet> {
 public:
  // Maps the file, so that what is asked for alone is read. Throws DataError.
  static std::shared_ptr<const InitialNet> map(const std::string& path);
  // Reads it whole, and throws DataError unless its SHA-256 is this one.
  static std::shared_ptr<const InitialNet> read(const std::string& path, const std::string& sha256);
  // From bytes(), uint8 [n], as a checkpoint keeps them.
  static std::shared_ptr<const InitialNet> of_bytes(const at::Tensor& bytes,
                                                    const std::string& name);
  at::Tensor bytes() const;

  // What tables call it, given the SHA-256 of its file (config/initial_file.h).
  std::string title(const std::string& sha256) const;
  bool has_masks() const;

  // Names, in order: of tensors of the file that the net takes, of the net's that it does not have,
  // of the file's that the net does not have, and of those that are rounded to the run's type.
  struct Fit {
    std::vector<std::string> taken, drawn, left, rounded;
  };
  // How it fits the model of a run; weights of linear layers need not be there yet. Throws
  // ConfigError where it does not.
  Fit fit(Model& model, const Config& run) const;
  // Throws ConfigError unless its masks are of as many connections in each layer as the start says,
  // in its granularity. Where it has none, or the start draws none, nothing is asked.
  void expect_masks(const std::vector<LayerShape>& layers, const Start& start,
                    const Config& run) const;
  // Whether a run begins with its masks.
  bool gives_masks(const Start& start, const Config& run) const;
  // Options of the run's model with other values than the net of the file was trained with, which
  // shapes don't show: "heads = 8 (the net's is 4)".
  std::vector<std::string> differences(const Config& run) const;

  // Gives a replica of a model, on the CPU, its parameters and buffers, and its linear layers what
  // they draw weights from. The model must fit.
  void begin(Model& model, std::int64_t replica) const;
  // The first mask of a layer, by its weight's name: ascending positions.
  std::vector<std::int64_t> mask(const std::string& weight, const LayerShape& layer) const;

 private:
  explicit InitialNet(SafetensorsFile file);

  struct Entry {  // a tensor by the name that the net has it by
    const TensorView* values = nullptr;
    const TensorView* indices = nullptr;  // of what is listed
    const TensorView* mask = nullptr;
  };
  struct Listed {
    std::vector<std::int64_t> positions, places;  // ascending; entries of `values`
  };
  Listed listed(const Entry& entry, std::int64_t inputs, std::int64_t outputs) const;
  std::shared_ptr<const GivenWeights> weights(const std::string& name, std::int64_t inputs,
                                              std::int64_t outputs) const;
  void expect_entry(const Entry& entry, const std::string& name,
                    const std::vector<std::int64_t>& shape, bool is_layer, const Config& run) const;
  std::string advice(const Config& run) const;
  bool turned() const;

  SafetensorsFile file_;
  std::map<std::string, Entry> entries_;
};

}  // namespace tandem
