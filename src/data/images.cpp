// Fashion-MNIST (arXiv 1708.07747), MNIST (LeCun et al. 1998) and KMNIST (arXiv 1812.01718): four
// IDX files each, 28x28 pixels, ten classes. Because the three have the same file names, training
// labels that are known to be another set's are refused, so that a folder given by mistake can't
// pass for the data set asked for.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <numeric>

#include "config/part.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/text.h"
#include "data/data_facts.h"
#include "data/idx.h"
#include "data/reader.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kClasses = 10, kPixels = 28 * 28;
constexpr const char* kTrainImages = "train-images-idx3-ubyte";
constexpr const char* kTrainLabels = "train-labels-idx1-ubyte";
constexpr const char* kTestImages = "t10k-images-idx3-ubyte";
constexpr const char* kTestLabels = "t10k-labels-idx1-ubyte";

struct ImageSet {
  std::string name;
  std::vector<std::string> subfolders;  // of the data folder, in the order of search
  std::string installed;                // folder of a Debian package, or ""
  std::string train_labels_sha256;      // of the 60,000 label bytes, or ""
  std::string remedy;
};

std::string folder_remedy(const std::string& title, const std::string& subfolder) {
  return fmt::format(
      "Get the four IDX files of {} (plain or gzipped) and name their folder, or the one above its "
      "subfolder {}/, with --data-dir or TANDEM_DATA.",
      title, subfolder);
}

const std::vector<ImageSet>& image_sets() {
  static const std::vector<ImageSet> sets = {
      {"fashion_mnist",
       {"fashion_mnist", "fashion-mnist", "FashionMNIST", "FashionMNIST/raw"},
       "/usr/share/datasets/fashion-mnist",
       "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
       "Install the Debian package dataset-fashion-mnist (apt-get install dataset-fashion-mnist), "
       "or name a folder with its four files with --data-dir."},
      {"mnist",
       {"mnist", "MNIST", "MNIST/raw"},
       "",
       "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
       folder_remedy("MNIST", "mnist")},
      {"kmnist", {"kmnist", "KMNIST", "KMNIST/raw"}, "", "", folder_remedy("KMNIST", "kmnist")}};
  return sets;
}

std::string find_folder(const ImageSet& set, const std::string& given) {
  std::error_code missing;
  if (!given.empty() && !fs::is_directory(given, missing)) {
    throw DataError(given +
                    ": expected the folder that --data-dir or TANDEM_DATA names, found none; "
                    "name one that exists, or leave both out");
  }
  std::vector<std::string> folders;
  if (!given.empty()) {
    for (const auto& subfolder : set.subfolders) folders.push_back(fs::path(given) / subfolder);
  }
  // A package's folder holds what its name says; the given one may hold another set's files.
  if (!set.installed.empty()) folders.push_back(set.installed);
  if (!given.empty()) folders.push_back(given);
  for (const auto& folder : folders) {
    if (!find_idx(folder, kTrainImages).empty()) return folder;
  }
  const std::string found = folders.empty()
                                ? "no folder to look in: neither --data-dir nor TANDEM_DATA is set"
                                : "none in " + join(folders, ", ");
  throw DataError(fmt::format("{}: expected a file {} or {}.gz, found {}. {}", set.name,
                              kTrainImages, kTrainImages, found, set.remedy));
}

std::string require_file(const ImageSet& set, const std::string& folder, const std::string& name) {
  const std::string path = find_idx(folder, name);
  if (path.empty()) {
    throw DataError(fmt::format("{}/{}: expected this file or {}.gz beside {}, found neither. {}",
                                folder, name, name, kTrainImages, set.remedy));
  }
  return path;
}

void refuse_another_set(const ImageSet& set, const std::string& path,
                        const std::vector<std::uint8_t>& labels) {
  const std::string digest = sha256({reinterpret_cast<const char*>(labels.data()), labels.size()});
  for (const auto& other : image_sets()) {
    if (other.name != set.name && digest == other.train_labels_sha256) {
      throw DataError(fmt::format("{}: expected the labels of {}, found those of {}. {}", path,
                                  set.name, other.name, set.remedy));
    }
  }
}

at::Tensor bytes_tensor(const LabelledImages& train, const LabelledImages& test) {
  at::Tensor inputs = at::empty({train.count + test.count, train.features}, at::kByte);
  auto* to = inputs.data_ptr<std::uint8_t>();
  std::copy(test.pixels.begin(), test.pixels.end(),
            std::copy(train.pixels.begin(), train.pixels.end(), to));
  return inputs;
}

at::Tensor labels_tensor(const LabelledImages& train, const LabelledImages& test) {
  at::Tensor labels = at::empty({train.count + test.count}, at::kLong);
  auto* to = labels.data_ptr<std::int64_t>();
  std::copy(test.labels.begin(), test.labels.end(),
            std::copy(train.labels.begin(), train.labels.end(), to));
  return labels;
}

Dataset read_folder(const ImageSet& set, const std::string& folder) {
  Dataset dataset;
  std::vector<std::string> paths;
  for (const char* name : {kTrainImages, kTrainLabels, kTestImages, kTestLabels}) {
    paths.push_back(require_file(set, folder, name));
  }
  const auto train = read_labelled_images(paths[0], paths[1], kClasses, set.remedy);
  const auto test = read_labelled_images(paths[2], paths[3], kClasses, set.remedy);
  refuse_another_set(set, paths[1], train.labels);
  if (test.features != train.features) {
    throw DataError(fmt::format("{}: expected images of {} pixels as in {}, found {}. {}", paths[2],
                                train.features, paths[0], test.features, set.remedy));
  }
  dataset.kind = Dataset::Kind::kImages;
  dataset.name = set.name;
  dataset.inputs = bytes_tensor(train, test);
  dataset.labels = labels_tensor(train, test);
  dataset.features = train.features;
  dataset.classes = kClasses;
  dataset.train.resize(train.count);
  std::iota(dataset.train.begin(), dataset.train.end(), 0);
  dataset.test.resize(test.count);
  std::iota(dataset.test.begin(), dataset.test.end(), train.count);
  for (const auto& path : paths) {
    dataset.files.push_back(
        {path, sha256_file(path), static_cast<std::int64_t>(fs::file_size(path))});
  }
  return dataset;
}

// The tensors are shared by all configs of a process that read the same folder.
template <std::size_t kSet>
Dataset read_images(const Config& config) {
  static std::mutex mutex;
  static std::map<std::string, Dataset> read;
  const ImageSet& set = image_sets()[kSet];
  const std::string folder = find_folder(set, config.text("data_dir"));
  const std::lock_guard<std::mutex> lock(mutex);
  const auto at = read.find(folder);
  return at != read.end() ? at->second
                          : read.emplace(folder, read_folder(set, folder)).first->second;
}

Part facts(const std::string& name, const std::string& summary, const std::string& cite) {
  Part part;
  part.kind = "data";
  part.name = name;
  part.summary = summary;
  part.cite = cite;
  part.uses = {"normalize", "validation", "train_examples"};
  part.file = __FILE__;
  return part;
}

[[maybe_unused]] const bool kImageFacts = [] {
  for (const ImageSet& set : image_sets()) {
    declare_data_facts(set.name, {Dataset::Kind::kImages, kPixels, kClasses});
  }
  return true;
}();
[[maybe_unused]] const bool kFashion = dataset_readers().add(
    facts("fashion_mnist",
          "28x28 grey images of clothes, 10 classes (package dataset-fashion-mnist)", "1708.07747"),
    read_images<0>);
[[maybe_unused]] const bool kMnist = dataset_readers().add(
    facts("mnist", "28x28 grey images of digits, 10 classes (from --data-dir)",
          "LeCun et al., Proc. IEEE 1998"),
    read_images<1>);
[[maybe_unused]] const bool kKmnist = dataset_readers().add(
    facts("kmnist", "28x28 grey images of cursive kana, 10 classes (from --data-dir)",
          "1812.01718"),
    read_images<2>);

}  // namespace
}  // namespace tandem
