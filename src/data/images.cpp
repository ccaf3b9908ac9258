// Sets of four IDX files: Fashion-MNIST (arXiv 1708.07747), MNIST (LeCun et al. 1998), KMNIST
// (arXiv 1812.01718) and two splits of EMNIST (arXiv 1702.05373), with images of 28x28 pixels.
// Because the first three have the same file names, training labels that are known to be another
// set's are refused, so that a folder given by mistake can't pass for the data set asked for.
#include <fmt/format.h>

#include "config/known_content.h"
#include "config/part.h"
#include "core/error.h"
#include "core/hash.h"
#include "data/data_facts.h"
#include "data/data_place.h"
#include "data/idx.h"
#include "data/pictures.h"
#include "data/read_once.h"
#include "data/reader.h"

namespace tandem {
namespace {

constexpr std::int64_t kPixels = 28 * 28;

// Names of files, without .gz.
struct IdxNames {
  std::string train_images = "train-images-idx3-ubyte", train_labels = "train-labels-idx1-ubyte",
              test_images = "t10k-images-idx3-ubyte", test_labels = "t10k-labels-idx1-ubyte";
};

struct ImageSet {
  DataPlace place;
  IdxNames names = {};
  std::int64_t classes = 10, first_label = 0;
  bool by_column = false;                // pixels are stored column by column
  std::string train_labels_sha256 = {};  // hash of the 60,000 label bytes, or ""
};

std::string folder_remedy(const std::string& title, const std::string& subfolder) {
  return fmt::format(
      "Get the four IDX files of {} (plain or gzipped) and name their folder, or the one above its "
      "subfolder {}/, with --data-dir or TANDEM_DATA.",
      title, subfolder);
}

// EMNIST is distributed with the columns of its images as rows.
ImageSet emnist(const std::string& split, std::int64_t classes, std::int64_t first_label) {
  const std::string stem = "emnist-" + split + "-";
  return {{"emnist_" + split,
           {"emnist", "EMNIST", "EMNIST/raw", "gzip"},
           "",
           folder_remedy("EMNIST's split " + split, "emnist")},
          {stem + "train-images-idx3-ubyte", stem + "train-labels-idx1-ubyte",
           stem + "test-images-idx3-ubyte", stem + "test-labels-idx1-ubyte"},
          classes,
          first_label,
          /*by_column=*/true};
}

const std::vector<ImageSet>& image_sets() {
  static const std::vector<ImageSet> sets = {
      {.place = {"fashion_mnist",
                 {"fashion_mnist", "fashion-mnist", "FashionMNIST", "FashionMNIST/raw"},
                 "/usr/share/datasets/fashion-mnist",
                 "Install the Debian package dataset-fashion-mnist (apt-get install "
                 "dataset-fashion-mnist), or name a folder with its four files with --data-dir."},
       .train_labels_sha256 = "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7"},
      {.place = {"mnist", {"mnist", "MNIST", "MNIST/raw"}, "", folder_remedy("MNIST", "mnist")},
       .train_labels_sha256 = "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13"},
      {.place =
           {"kmnist", {"kmnist", "KMNIST", "KMNIST/raw"}, "", folder_remedy("KMNIST", "kmnist")}},
      emnist("letters", 26, 1),
      emnist("balanced", 47, 0)};
  return sets;
}

std::string find_folder(const ImageSet& set, const std::string& said) {
  const std::string& first = set.names.train_images;
  return find_data_folder(
      set.place, said, fmt::format("a file {} or {}.gz", first, first),
      [&](const std::string& folder) { return !find_idx(folder, first).empty(); });
}

std::string require_file(const ImageSet& set, const std::string& folder, const std::string& name) {
  const std::string path = find_idx(folder, name);
  if (path.empty()) {
    throw DataError(fmt::format("{}/{}: expected this file or {}.gz beside {}, found neither. {}",
                                folder, name, name, set.names.train_images, set.place.remedy));
  }
  return path;
}

void refuse_another_set(const ImageSet& set, const std::string& path,
                        const std::vector<std::int64_t>& labels) {
  const std::string bytes(labels.begin(), labels.end());
  const std::string digest = sha256(bytes);
  for (const auto& other : image_sets()) {
    if (other.place.name != set.place.name && digest == other.train_labels_sha256) {
      throw DataError(fmt::format("{}: expected the labels of {}, found those of {}. {}", path,
                                  set.place.name, other.place.name, set.place.remedy));
    }
  }
}

std::vector<std::string> files_of(const ImageSet& set, const std::string& folder) {
  std::vector<std::string> paths;
  for (const std::string& name : {set.names.train_images, set.names.train_labels,
                                  set.names.test_images, set.names.test_labels}) {
    paths.push_back(require_file(set, folder, name));
  }
  return paths;
}

void turn_to_rows(Pictures& pictures) {
  const std::vector<std::uint8_t> by_column = pictures.pixels;
  const std::int64_t height = pictures.width, width = pictures.height, area = height * width;
  for (std::int64_t i = 0; i < pictures.count; ++i) {
    for (std::int64_t y = 0; y < height; ++y) {
      for (std::int64_t x = 0; x < width; ++x) {
        pictures.pixels[static_cast<std::size_t>(i * area + y * width + x)] =
            by_column[static_cast<std::size_t>(i * area + x * height + y)];
      }
    }
  }
  pictures.height = height;
  pictures.width = width;
}

Dataset read_set(const ImageSet& set, const std::vector<std::string>& paths) {
  const auto read = [&](const std::string& images, const std::string& labels) {
    Pictures pictures =
        read_labelled_images(images, labels, set.classes, set.place.remedy, set.first_label);
    if (set.by_column) turn_to_rows(pictures);
    return pictures;
  };
  const Pictures train = read(paths[0], paths[1]), test = read(paths[2], paths[3]);
  refuse_another_set(set, paths[1], train.labels);
  Dataset dataset =
      dataset_of(set.place.name, train, test, set.classes, paths[2], paths[0], set.place.remedy);
  add_files(dataset, paths);
  return dataset;
}

template <std::size_t kSet>
std::vector<std::string> image_files(const Config& config) {
  const ImageSet& set = image_sets()[kSet];
  return files_of(set, find_folder(set, config.text("data_dir")));
}

template <std::size_t kSet>
Dataset read_images(const Config& config) {
  const std::vector<std::string> paths = image_files<kSet>(config);
  return read_once(paths, image_sets()[kSet].place.name,
                   [&] { return read_set(image_sets()[kSet], paths); });
}

// Hashes of the sets as they were published; `data/content.h` says what is hashed.
[[maybe_unused]] const bool kFashionContent = declare_known_content(
    "fashion_mnist", "1204eeb098bb8eee268f565cc92d65ce7b450c09ebb71ba39228bf4c80dfae30");
[[maybe_unused]] const bool kMnistContent = declare_known_content(
    "mnist", "e250263bbdaa7e270024beec2ef5704f9fdbd8b99b8d08e91ce099334ca33185");
[[maybe_unused]] const bool kImageFacts = [] {
  for (const ImageSet& set : image_sets()) {
    declare_data_facts(set.place.name, {Dataset::Kind::kImages, kPixels, set.classes});
  }
  return true;
}();
[[maybe_unused]] const bool kFashion = dataset_readers().add(
    image_set_facts("fashion_mnist",
                    "28x28 grey images of clothes, 10 classes (package dataset-fashion-mnist)",
                    "1708.07747", __FILE__),
    {image_files<0>, read_images<0>});
[[maybe_unused]] const bool kMnist = dataset_readers().add(
    image_set_facts("mnist", "28x28 grey images of digits, 10 classes (from --data-dir)",
                    "LeCun et al., Proc. IEEE 1998", __FILE__),
    {image_files<1>, read_images<1>});
[[maybe_unused]] const bool kKmnist = dataset_readers().add(
    image_set_facts("kmnist", "28x28 grey images of cursive kana, 10 classes (from --data-dir)",
                    "1812.01718", __FILE__),
    {image_files<2>, read_images<2>});
TANDEM_REGISTERED = dataset_readers().add(
    image_set_facts("emnist_letters", "28x28 grey images of letters, 26 classes (from --data-dir)",
                    "1702.05373", __FILE__),
    {image_files<3>, read_images<3>});
TANDEM_REGISTERED = dataset_readers().add(
    image_set_facts("emnist_balanced",
                    "28x28 grey images of digits and letters, 47 classes (from --data-dir)",
                    "1702.05373", __FILE__),
    {image_files<4>, read_images<4>});

}  // namespace
}  // namespace tandem
