// A data set lies whole on the device, in whole numbers as small as they fit. Images and sequences
// of tokens are addressed by index, and a byte corpus by the offset where a window starts.
//
// Shapes: N examples of the data set, F inputs of an example (pixels), L bytes of a corpus, T
// tokens of a sequence, Q tokens of a sequence that are asked what follows them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"

namespace tandem {

struct FileFact {
  std::string path, sha256;
  std::int64_t bytes = 0;
};

struct Dataset {
  enum class Kind { kImages, kBytes, kSequences };
  Kind kind = Kind::kImages;
  // Examples are windows of a corpus, which start anywhere within ranges, and not a list.
  bool windows() const { return kind == Kind::kBytes; }
  // An example is a sequence of tokens, whose outputs are what comes next: it has no class.
  bool sequences() const { return kind != Kind::kImages; }

  std::string name;
  // kImages: uint8 [N,F], training examples then test; kBytes: uint8 [L]; kSequences: int16 [N,T],
  // training examples, validation, test.
  at::Tensor inputs;
  at::Tensor labels;  // int64 [N]; undefined where examples have no classes
  // int16 [N,Q] of kSequences: the places that are asked, in ascending order, and the right
  // answers.
  at::Tensor asked, answers;
  // int16 [N,Q], where in the sequence each answer stands; undefined where it stands nowhere.
  at::Tensor sources;
  std::int64_t features = 0;  // F = channels x height x width; 0 of sequences, as these are
  std::int64_t channels = 0, height = 0, width = 0;
  std::int64_t classes = 0;  // of sequences the tokens that there are
  // These are indices of examples. For kBytes, validation and test are the starts of
  // windows that don't overlap (each valid for `context` + 1 bytes), and train is {begin, end,
  // begin, end, ...} of the training ranges of the corpus' parts, which lie one after the other,
  // each with its validation and test behind its training range.
  std::vector<std::int64_t> train, validation, test;
  // Of kBytes the ranges of validation and of test, {begin, end, ...} of the parts as in train.
  std::vector<std::int64_t> validation_ranges, test_ranges;
  // Of kBytes whose documents are packed: where each document (file) begins, ascending from 0, and
  // where a part does. Empty: a window is one document, whatever files it spans.
  std::vector<std::int64_t> documents;
  double mean = 0, deviation = 1;  // x = (u8/255 - mean)/deviation; (0,1) where normalize = raw
  std::vector<FileFact> files;     // none where it is generated
};

// Loads (and keeps, per process) the data set that a config names, on the CPU. The validation split
// is a function of the data set and the `validation` share only, never of a run's seed.
// Throws DataError naming the file, what was expected, what was found and how to get it.
std::shared_ptr<const Dataset> load_dataset(const Config& config);

}  // namespace tandem
