// Fashion-MNIST (arXiv 1708.07747), MNIST (LeCun et al. 1998) and KMNIST (arXiv 1812.01718) are
// four IDX files each, with images of 28x28 pixels in ten classes. Because the three have the same
// file names, training labels that are known to be another set's are refused, so that a folder
// given by mistake can't pass for the data set asked for.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <numeric>

#include "config/known_content.h"
#include "config/part.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/text.h"
#include "data/content.h"
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
  std::vector<std::string> subfolders;  // below the data folder, in the order of search
  std::string installed;                // folder of a Debian package, or ""
  std::string train_labels_sha256;      // hash of the 60,000 label bytes, or ""
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

void expect_folder(const std::string& given, const std::string& source) {
  std::error_code missing;
  if (given.empty() || fs::is_directory(given, missing)) return;
  throw DataError(fmt::format(
      "{}: expected the folder that {} names, found none; name one that exists, or leave it out",
      given, source));
}

std::vector<std::string> subfolders_of(const ImageSet& set, const std::string& folder) {
  std::vector<std::string> folders;
  for (const auto& subfolder : set.subfolders) {
    folders.push_back((fs::path(folder) / subfolder).string());
  }
  return folders;
}

// A folder that --data-dir names is the only one that is looked in. TANDEM_DATA is a search path:
// before it itself, which may hold another set's files, comes a package's folder, which holds what
// its name says.
std::vector<std::string> folders_to_search(const ImageSet& set, const std::string& said) {
  if (!said.empty()) {
    expect_folder(said, "--data-dir");
    std::vector<std::string> folders = subfolders_of(set, said);
    folders.push_back(said);
    return folders;
  }
  const std::string path = data_search_path();
  expect_folder(path, "TANDEM_DATA");
  std::vector<std::string> folders;
  if (!path.empty()) folders = subfolders_of(set, path);
  if (!set.installed.empty()) folders.push_back(set.installed);
  if (!path.empty()) folders.push_back(path);
  return folders;
}

std::string find_folder(const ImageSet& set, const std::string& said) {
  const std::vector<std::string> folders = folders_to_search(set, said);
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

std::vector<std::string> files_of(const ImageSet& set, const std::string& folder) {
  std::vector<std::string> paths;
  for (const char* name : {kTrainImages, kTrainLabels, kTestImages, kTestLabels}) {
    paths.push_back(require_file(set, folder, name));
  }
  return paths;
}

Dataset read_set(const ImageSet& set, const std::vector<std::string>& paths) {
  Dataset dataset;
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

template <std::size_t kSet>
std::vector<std::string> image_files(const Config& config) {
  const ImageSet& set = image_sets()[kSet];
  return files_of(set, find_folder(set, config.text("data_dir")));
}

// The tensors are shared by all configs of a process that read the same files.
template <std::size_t kSet>
Dataset read_images(const Config& config) {
  static std::mutex mutex;
  static std::map<std::string, Dataset> read;
  const std::vector<std::string> paths = image_files<kSet>(config);
  const std::lock_guard<std::mutex> lock(mutex);
  const auto [at, added] = read.try_emplace(stamp_of(paths).text);
  try {
    if (added) at->second = read_set(image_sets()[kSet], paths);
  } catch (...) {
    read.erase(at);
    throw;
  }
  return at->second;
}

Part facts(const std::string& name, const std::string& summary, const std::string& cite) {
  Part part;
  part.kind = "data";
  part.name = name;
  part.summary = summary;
  part.cite = cite;
  part.uses = {"data_dir", "data_hash", "normalize", "validation", "train_examples"};
  part.file = __FILE__;
  return part;
}

// Hashes of the sets as they were published; `data/content.h` says what is hashed.
[[maybe_unused]] const bool kFashionContent = declare_known_content(
    "fashion_mnist", "1204eeb098bb8eee268f565cc92d65ce7b450c09ebb71ba39228bf4c80dfae30");
[[maybe_unused]] const bool kMnistContent = declare_known_content(
    "mnist", "e250263bbdaa7e270024beec2ef5704f9fdbd8b99b8d08e91ce099334ca33185");
[[maybe_unused]] const bool kImageFacts = [] {
  for (const ImageSet& set : image_sets()) {
    declare_data_facts(set.name, {Dataset::Kind::kImages, kPixels, kClasses});
  }
  return true;
}();
[[maybe_unused]] const bool kFashion = dataset_readers().add(
    facts("fashion_mnist",
          "28x28 grey images of clothes, 10 classes (package dataset-fashion-mnist)", "1708.07747"),
    {image_files<0>, read_images<0>});
[[maybe_unused]] const bool kMnist = dataset_readers().add(
    facts("mnist", "28x28 grey images of digits, 10 classes (from --data-dir)",
          "LeCun et al., Proc. IEEE 1998"),
    {image_files<1>, read_images<1>});
[[maybe_unused]] const bool kKmnist = dataset_readers().add(
    facts("kmnist", "28x28 grey images of cursive kana, 10 classes (from --data-dir)",
          "1812.01718"),
    {image_files<2>, read_images<2>});

}  // namespace
}  // namespace tandem
