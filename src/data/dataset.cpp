// This file loads data sets by name, draws the validation split, normalises, and keeps what a
// process has loaded.
#include "data/dataset.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <map>
#include <mutex>

#include "core/error.h"
#include "core/philox.h"
#include "data/pictures.h"
#include "data/reader.h"
#include "data/sampler.h"

namespace tandem {
namespace {

constexpr std::uint64_t kSplitSeed = 0;

void standardize(Dataset& dataset) {
  std::array<std::int64_t, 256> histogram{};
  const std::uint8_t* pixels = dataset.inputs.data_ptr<std::uint8_t>();
  for (const std::int64_t example : dataset.train) {
    const std::uint8_t* row = pixels + example * dataset.features;
    for (std::int64_t i = 0; i < dataset.features; ++i) ++histogram[row[i]];
  }
  double count = 0, sum = 0, squares = 0;
  for (std::size_t value = 0; value < histogram.size(); ++value) {
    const double n = static_cast<double>(histogram[value]), x = static_cast<double>(value);
    count += n;
    sum += n * x;
    squares += n * x * x;
  }
  const double mean = sum / count;
  const double variance = squares / count - mean * mean;
  if (!(variance > 0)) {
    throw DataError(
        fmt::format("{}: expected images that vary, found every training pixel at {}; "
                    "replace its files",
                    dataset.name, mean));
  }
  dataset.mean = mean / 255;
  dataset.deviation = std::sqrt(variance) / 255;
}

std::string cache_key(const Config& config) {
  std::string key = data_search_path() + "\n";
  for (const char* name :
       {"data", "data_dir", "normalize", "pixel_mean", "pixel_deviation", "pad_to", "image_size",
        "test_share", "validation", "train_examples", "corpus", "context", "evaluation_windows",
        "eval_contexts", "documents"}) {
    key += fmt::format("{}={}\n", name, config.text(name));
  }
  const DatasetReader& reader = dataset_readers().at("data", config.text("data"));
  if (reader.generates()) key += reader.options(config);
  return key;
}

}  // namespace

Registry<DatasetReader>& dataset_readers() {
  static Registry<DatasetReader> registry;
  return registry;
}

std::string data_search_path() {
  const char* folder = std::getenv("TANDEM_DATA");
  return folder == nullptr ? "" : folder;
}

void split_images(Dataset& dataset, const Config& config) {
  const double share = config.real("validation");
  const std::int64_t cut = config.integer("train_examples");
  const std::int64_t count = static_cast<std::int64_t>(dataset.train.size());
  const std::int64_t held_out = std::llround(share * static_cast<double>(count));
  const std::int64_t left = count - held_out;
  if (left < 1) {
    throw ConfigError(
        fmt::format("validation = {} leaves none of the {} training examples of {}; "
                    "choose a share below 1",
                    share, count, dataset.name));
  }
  if (share > 0 && held_out < 1) {
    throw ConfigError(
        fmt::format("validation = {} of the {} training examples of {} is none of them; give at "
                    "least {:.2g}, or 0 for no validation",
                    share, count, dataset.name, 1 / static_cast<double>(count)));
  }
  if (cut > left) {
    throw ConfigError(
        fmt::format("train_examples = {} is more than the {} training examples that "
                    "{} has after the validation split; choose 1..{}, or 0 for all",
                    cut, left, dataset.name, left));
  }
  const auto order = permutation(stream_key(kSplitSeed, "validation of " + dataset.name), count);
  const std::int64_t kept = cut > 0 ? cut : left;
  const std::vector<std::int64_t> all = std::move(dataset.train);
  dataset.train.clear();
  dataset.validation.clear();
  for (std::int64_t i = 0; i < held_out + kept; ++i) {
    (i < held_out ? dataset.validation : dataset.train).push_back(all[order[i]]);
  }
  std::sort(dataset.train.begin(), dataset.train.end());
  std::sort(dataset.validation.begin(), dataset.validation.end());
  const std::string& normalize = config.text("normalize");
  if (normalize == "standardized") standardize(dataset);
  if (normalize == "constants") {
    dataset.mean = config.real("pixel_mean");
    dataset.deviation = config.real("pixel_deviation");
  }
}

std::shared_ptr<const Dataset> load_dataset(const Config& config) {
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<const Dataset>> loaded;
  const std::string key = cache_key(config);
  const std::lock_guard<std::mutex> lock(mutex);
  auto& entry = loaded[key];
  if (entry == nullptr) {
    Dataset dataset = dataset_readers().at("data", config.text("data")).read(config);
    if (dataset.kind == Dataset::Kind::kImages) {
      if (config.integer("pad_to") > 0) pad_pictures(dataset, config.integer("pad_to"));
      split_images(dataset, config);
    }
    entry = std::make_shared<const Dataset>(std::move(dataset));
  }
  return entry;
}

}  // namespace tandem
