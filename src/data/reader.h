// A data set registers its reader here. A reader of images gives all examples, training examples
// first, with `train` and `test` naming them all and `validation` empty; load_dataset() then splits
// and normalises. A reader of bytes gives its ranges itself.
#pragma once

#include "config/part.h"
#include "data/dataset.h"

namespace tandem {

using DatasetReader = Dataset (*)(const Config&);
Registry<DatasetReader>& dataset_readers();

// Draws the validation split from the training examples (a permutation that depends on the data
// set's name alone), keeps the first `train_examples` of the rest (0 = all), and measures mean and
// deviation of what is kept. Index lists come out ascending.
void split_images(Dataset& dataset, const Config& config);

}  // namespace tandem
