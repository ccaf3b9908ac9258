// CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in their binary versions, plain or gzipped: records of
// one label byte (CIFAR-100: a coarse and a fine one, of which the fine one is read) and 3 x 32 x
// 32 pixels, channel by channel.
#include <fmt/format.h>

#include <filesystem>
#include <mutex>

#include "config/part.h"
#include "core/error.h"
#include "core/log.h"
#include "data/data_facts.h"
#include "data/data_place.h"
#include "data/idx.h"
#include "data/pictures.h"
#include "data/read_once.h"
#include "data/reader.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kChannels = 3, kSide = 32, kPixels = kChannels * kSide * kSide;

struct CifarSet {
  DataPlace place;
  std::vector<std::string> train;  // names of files
  std::string test;
  std::int64_t classes, label_bytes;
};

const std::vector<CifarSet>& cifar_sets() {
  static const std::vector<CifarSet> sets = {
      {{"cifar10",
        {"cifar10", "CIFAR10", "cifar-10-batches-bin"},
        "",
        "Get the binary version of CIFAR-10 (data_batch_1.bin to data_batch_5.bin and "
        "test_batch.bin, plain or gzipped) and name their folder, or the one above its subfolder "
        "cifar10/, with --data-dir or TANDEM_DATA."},
       {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
        "data_batch_5.bin"},
       "test_batch.bin",
       10,
       1},
      {{"cifar100",
        {"cifar100", "CIFAR100", "cifar-100-binary"},
        "",
        "Get the binary version of CIFAR-100 (train.bin and test.bin, plain or gzipped) and name "
        "their folder, or the one above its subfolder cifar100/, with --data-dir or TANDEM_DATA."},
       {"train.bin"},
       "test.bin",
       100,
       2}};
  return sets;
}

std::string find_plain_or_gzipped(const std::string& folder, const std::string& name) {
  for (const std::string& candidate : {name + ".gz", name}) {
    const fs::path path = fs::path(folder) / candidate;
    std::error_code ignored;
    if (fs::is_regular_file(path, ignored)) return path.string();
  }
  return "";
}

std::vector<std::string> cifar_files(const CifarSet& set, const std::string& said) {
  const std::string folder = find_data_folder(
      set.place, said, fmt::format("a file {} or {}.gz", set.train[0], set.train[0]),
      [&set](const std::string& each) {
        return !find_plain_or_gzipped(each, set.train[0]).empty();
      });
  std::vector<std::string> names = set.train, paths;
  names.push_back(set.test);
  for (const std::string& name : names) {
    paths.push_back(find_plain_or_gzipped(folder, name));
    // The later training files may be absent: what is read is then another content, with its hash
    // in the run's id.
    const bool may_be_absent = name != set.train[0] && name != set.test;
    if (!paths.back().empty()) continue;
    if (!may_be_absent) {
      throw DataError(fmt::format("{}/{}: expected this file or {}.gz beside {}, found neither. {}",
                                  folder, name, name, set.train[0], set.place.remedy));
    }
    paths.pop_back();
  }
  if (paths.size() < names.size()) {
    static std::once_flag once;
    std::call_once(once, [&] {
      log_warn(
          fmt::format("{}: {} of {} files of training images are there, and the others are left "
                      "out",
                      folder, paths.size() - 1, set.train.size()));
    });
  }
  return paths;
}

Pictures read_records(const CifarSet& set, const std::string& path) {
  const std::vector<std::uint8_t> bytes = read_plain_or_gzipped(path, set.place.remedy);
  const std::int64_t record = set.label_bytes + kPixels;
  const auto size = static_cast<std::int64_t>(bytes.size());
  if (size == 0 || size % record != 0) {
    throw DataError(
        fmt::format("{}: expected records of {} bytes, found {} bytes, which are no "
                    "whole number of them. {}",
                    path, record, size, set.place.remedy));
  }
  Pictures pictures{size / record, kChannels, kSide, kSide, {}, {}};
  pictures.pixels.reserve(static_cast<std::size_t>(pictures.count * kPixels));
  for (std::int64_t i = 0; i < pictures.count; ++i) {
    const auto begin = bytes.begin() + i * record;
    const std::int64_t label = *(begin + set.label_bytes - 1);
    if (label >= set.classes) {
      throw DataError(fmt::format("{}: expected labels 0..{}, found {} at record {}. {}", path,
                                  set.classes - 1, label, i, set.place.remedy));
    }
    pictures.labels.push_back(label);
    pictures.pixels.insert(pictures.pixels.end(), begin + set.label_bytes, begin + record);
  }
  return pictures;
}

Dataset read_cifar_set(const CifarSet& set, const std::vector<std::string>& paths) {
  Pictures train;
  for (std::size_t i = 0; i + 1 < paths.size(); ++i) append(train, read_records(set, paths[i]));
  const Pictures test = read_records(set, paths.back());
  Dataset dataset = dataset_of(set.place.name, train, test, set.classes, paths.back(), paths[0],
                               set.place.remedy);
  add_files(dataset, paths);
  return dataset;
}

template <std::size_t kSet>
std::vector<std::string> files_of_cifar(const Config& config) {
  return cifar_files(cifar_sets()[kSet], config.text("data_dir"));
}

template <std::size_t kSet>
Dataset read_cifar(const Config& config) {
  const std::vector<std::string> paths = files_of_cifar<kSet>(config);
  return read_once(paths, cifar_sets()[kSet].place.name,
                   [&] { return read_cifar_set(cifar_sets()[kSet], paths); });
}

TANDEM_REGISTERED = [] {
  for (const CifarSet& set : cifar_sets()) {
    declare_data_facts(set.place.name, {Dataset::Kind::kImages, kPixels, set.classes, kChannels});
  }
  return true;
}();
TANDEM_REGISTERED = dataset_readers().add(
    image_set_facts("cifar10", "32x32 colour images, 10 classes (binary version, --data-dir)",
                    "Krizhevsky 2009", __FILE__),
    {files_of_cifar<0>, read_cifar<0>});
TANDEM_REGISTERED = dataset_readers().add(
    image_set_facts("cifar100", "32x32 colour images, 100 classes (binary version, --data-dir)",
                    "Krizhevsky 2009", __FILE__),
    {files_of_cifar<1>, read_cifar<1>});

}  // namespace
}  // namespace tandem
