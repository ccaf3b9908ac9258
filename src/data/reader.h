// A data set registers its reader here. A reader of images gives all examples, training examples
// first, with `train` and `test` naming them all and `validation` empty; load_dataset() then splits
// and normalises. A reader of bytes gives its ranges itself, and a generator its splits.
#pragma once

#include <string>
#include <vector>

#include "config/part.h"
#include "data/dataset.h"

namespace tandem {

struct DatasetReader {
  // What read() reads, in its order. Both throw DataError where that isn't there. Null: nothing,
  // the data are generated, and their options say all of what they are.
  std::vector<std::string> (*files)(const Config&);
  Dataset (*read)(const Config&);
  // What else of the config read() depends on, as a text; null: nothing but the files.
  std::string (*options)(const Config&) = nullptr;
  bool generates() const { return files == nullptr; }
};
Registry<DatasetReader>& dataset_readers();

// $TANDEM_DATA, where data sets are searched that no option names a place for; "" where it isn't
// set.
std::string data_search_path();

// Draws the validation split from the training examples (a permutation that depends on the data
// set's name alone), keeps the first `train_examples` of the rest (0 = all), and measures mean and
// deviation of what is kept. Index lists come out ascending.
void split_images(Dataset& dataset, const Config& config);

}  // namespace tandem
