// `--data images --data-dir DIR`: pictures of one's own, without code. DIR has one of
//   arrays    train_images.npy and train_labels.npy (or x_train.npy and y_train.npy), test_...
//   alike;
//             uint8 [N,H,W] or [N,H,W,3] and whole numbers [N] or [N,1]
//   IDX       files of any name, plain or gzipped, of the same shapes; the test split's have "test"
//             or "t10k" in theirs
//   pictures  PNG or JPEG files in a folder for each class, below train/ and test/
// Without a test split (images.npy and labels.npy, one pair of IDX files, the class folders in DIR
// itself) `test_share` of the pictures is one, drawn by their number alone. Classes are the labels
// 0 to C - 1, or the folders by name. All pictures have one size, or `image_size` makes them so.
// Nothing that may hold pictures is passed over in silence: a class without any, folders within a
// class or beside train/, and pictures outside of a class are refused, and other files beside a
// class's pictures are counted in a warning.
#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <optional>

#include "config/option.h"
#include "config/part.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/philox.h"
#include "core/text.h"
#include "data/data_facts.h"
#include "data/idx.h"
#include "data/npy.h"
#include "data/picture_file.h"
#include "data/pictures.h"
#include "data/read_once.h"
#include "data/reader.h"
#include "data/sampler.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr char kName[] = "images";
constexpr char kLayouts[] =
    "It is read with train_images.npy and train_labels.npy (test_ alike), with IDX files, or with "
    "a "
    "folder of PNG or JPEG files for each class, in train/ and test/ or in itself";
constexpr std::uint64_t kTestSeed = 0;

// A picture file, or a pair of an array of pictures and one of labels.
struct ClassFolder {
  std::string name;
  std::vector<std::string> files;
};
struct SplitFiles {
  std::string pixels, labels;  // of arrays
  std::vector<ClassFolder> classes;
  std::vector<std::string> others = {};  // files beside the classes' pictures
  bool arrays() const { return !pixels.empty(); }
};
struct UserFiles {
  enum class Layout { kNpy, kIdx, kFolders } layout = Layout::kFolders;
  SplitFiles train;
  std::optional<SplitFiles> test;
};

[[noreturn]] void refuse(const std::string& place, const std::string& why) {
  throw DataError(fmt::format("{}: {}. {}", place, why, kLayouts));
}

std::vector<fs::path> entries_of(const std::string& folder) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->path().filename().string()[0] != '.') paths.push_back(at->path());
  }
  if (error) refuse(folder, "expected a readable folder, found: " + error.message());
  std::sort(paths.begin(), paths.end());
  return paths;
}

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// The first of these names that the folder has; "" where it has none.
std::string first_there(const std::string& folder, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (is_file(fs::path(folder) / name)) return (fs::path(folder) / name).string();
  }
  return "";
}

std::optional<SplitFiles> npy_pair(const std::string& folder,
                                   const std::vector<std::string>& images,
                                   const std::vector<std::string>& labels) {
  SplitFiles pair{first_there(folder, images), first_there(folder, labels), {}, {}};
  if (pair.pixels.empty() && pair.labels.empty()) return std::nullopt;
  if (pair.pixels.empty()) refuse(pair.labels, "expected " + images[0] + " beside it, found none");
  if (pair.labels.empty()) refuse(pair.pixels, "expected " + labels[0] + " beside it, found none");
  return pair;
}

std::optional<UserFiles> find_npy(const std::string& folder) {
  const auto train = npy_pair(folder, {"train_images.npy", "x_train.npy", "X_train.npy"},
                              {"train_labels.npy", "y_train.npy"});
  const auto test = npy_pair(folder, {"test_images.npy", "x_test.npy", "X_test.npy"},
                             {"test_labels.npy", "y_test.npy"});
  const auto both = npy_pair(folder, {"images.npy", "x.npy", "X.npy"}, {"labels.npy", "y.npy"});
  if (test && !train) refuse(test->pixels, "expected train_images.npy beside it, found none");
  if (train && both) refuse(both->pixels, "expected it or train_images.npy alone, found both");
  if (!train && !both) return std::nullopt;
  return UserFiles{UserFiles::Layout::kNpy, train ? *train : *both, test};
}

// As a word of its own: "latest" names no test.
bool names_test(const fs::path& path) {
  const std::string name = path.filename().string();
  const auto letter = [&name](std::size_t at) {
    return at < name.size() && std::isalpha(static_cast<unsigned char>(name[at])) != 0;
  };
  for (const std::string word : {"test", "Test", "TEST", "t10k"}) {
    for (std::size_t at = 0; (at = name.find(word, at)) != std::string::npos; ++at) {
      if ((at == 0 || !letter(at - 1)) && !letter(at + word.size())) return true;
    }
  }
  return false;
}

std::optional<UserFiles> find_idx_files(const std::string& folder) {
  SplitFiles train, test;
  for (const fs::path& path : entries_of(folder)) {
    const int rank = is_file(path) ? idx_rank(path.string()) : 0;
    if (rank != 1 && rank != 3 && rank != 4) continue;
    SplitFiles& split = names_test(path) ? test : train;
    std::string& place = rank == 1 ? split.labels : split.pixels;
    if (!place.empty())
      refuse(path.string(), fmt::format("expected one IDX file of {} for a split, found {} as well",
                                        rank == 1 ? "labels" : "images", place));
    place = path.string();
  }
  if (train.pixels.empty() && train.labels.empty() && test.pixels.empty() && test.labels.empty())
    return std::nullopt;
  for (const SplitFiles& split : {train, test}) {
    if (split.pixels.empty() != split.labels.empty())
      refuse(split.pixels + split.labels, "expected IDX files of images and of labels, found one");
  }
  if (train.pixels.empty()) refuse(folder, "expected IDX files of training images, found none");
  return UserFiles{UserFiles::Layout::kIdx, train,
                   test.arrays() ? std::optional(test) : std::nullopt};
}

bool is_picture(const fs::path& path) { return is_file(path) && names_picture(path.string()); }

// Adds the class of a folder, and to `others` what lies in it beside its pictures.
void add_class(const fs::path& path, SplitFiles& split) {
  ClassFolder own{path.filename().string(), {}};
  const std::vector<fs::path> entries = entries_of(path.string());
  std::vector<std::string> others;
  for (const fs::path& entry : entries) {
    if (is_folder(entry))
      refuse(entry.string(),
             fmt::format("expected the pictures of class {} in {} itself, found a folder in it; "
                         "move its pictures up, or take it away",
                         own.name, path.string()));
    (is_picture(entry) ? own.files : others).push_back(entry.string());
  }
  if (entries.empty())
    refuse(path.string(), fmt::format("expected pictures of class {}, found an empty folder; put "
                                      "some into it, or take it away",
                                      own.name));
  if (own.files.empty())
    refuse(path.string(),
           fmt::format("expected PNG or JPEG files of class {}, found none, but {} others, as {}; "
                       "save these as PNG, or take the folder away",
                       own.name, others.size(), others.front()));
  split.others.insert(split.others.end(), others.begin(), others.end());
  split.classes.push_back(std::move(own));
}

void refuse_without_class(const fs::path& path) {
  if (!is_picture(path)) return;
  refuse(path.string(),
         "expected each picture in the folder of its class, found one outside of any; move it into "
         "one, or take it away");
}

SplitFiles class_folders(const std::string& folder) {
  SplitFiles split;
  for (const fs::path& path : entries_of(folder)) {
    if (is_folder(path)) add_class(path, split);
    refuse_without_class(path);
  }
  return split;
}

// Beside train/ nothing else has pictures that are read.
void check_beside_splits(const std::string& folder) {
  for (const fs::path& path : entries_of(folder)) {
    refuse_without_class(path);
    const std::string name = path.filename().string();
    if (!is_folder(path) || name == "train" || name == "test") continue;
    refuse(path.string(),
           "expected train/ and test/ alone, found another folder beside them; move its pictures "
           "into one of these (--validation draws a validation split), or take it away");
  }
}

UserFiles find_folders(const std::string& folder) {
  UserFiles files;
  const fs::path train = fs::path(folder) / "train", test = fs::path(folder) / "test";
  if (is_folder(train)) check_beside_splits(folder);
  files.train = class_folders(is_folder(train) ? train.string() : folder);
  if (is_folder(train) && is_folder(test)) {
    files.test = class_folders(test.string());
    for (const ClassFolder& each : files.test->classes) {
      const bool known = std::any_of(files.train.classes.begin(), files.train.classes.end(),
                                     [&](const ClassFolder& own) { return own.name == each.name; });
      if (!known) refuse(test.string(), "its class " + each.name + " has no training pictures");
    }
  }
  if (files.train.classes.empty())
    refuse(folder, "expected labelled images, found none that are known");
  return files;
}

UserFiles find_user_files(const std::string& folder) {
  if (folder.empty())
    throw ConfigError(std::string("data = images are pictures of one's own: name their folder with "
                                  "--data-dir. ") +
                      kLayouts);
  if (!is_folder(folder)) refuse(folder, "expected the folder that --data-dir names, found none");
  if (const auto npy = find_npy(folder)) return *npy;
  if (const auto idx = find_idx_files(folder)) return *idx;
  return find_folders(folder);
}

void add_paths(const SplitFiles& split, std::vector<std::string>& paths) {
  if (split.arrays()) paths.insert(paths.end(), {split.pixels, split.labels});
  for (const ClassFolder& each : split.classes) {
    paths.insert(paths.end(), each.files.begin(), each.files.end());
  }
}

std::vector<std::string> paths_of(const UserFiles& files) {
  std::vector<std::string> paths;
  add_paths(files.train, paths);
  if (files.test) add_paths(*files.test, paths);
  return paths;
}

void warn_of_others(const UserFiles& files, const std::string& folder) {
  std::vector<std::string> others = files.train.others;
  if (files.test) others.insert(others.end(), files.test->others.begin(), files.test->others.end());
  if (others.empty()) return;
  log_warn(
      fmt::format("{}: {} files beside the pictures of classes are not read, as {}: names of "
                  "pictures end in .png, .jpg or .jpeg",
                  folder, others.size(), others.front()));
}

// Of values [N,H,W] or [N,H,W,C] to channels first.
Pictures channels_first(const std::vector<std::int64_t>& dims, std::vector<std::uint8_t> values,
                        const std::string& path) {
  const bool colour = dims.size() == 4 && dims[3] == 3;
  const bool grey = dims.size() == 3 || (dims.size() == 4 && dims[3] == 1);
  if (!colour && !grey)
    refuse(path, fmt::format("expected [N,H,W] or [N,H,W,3], found {} dimensions{}", dims.size(),
                             dims.size() == 4 ? ", the last of " + std::to_string(dims[3]) : ""));
  Pictures pictures{dims[0], colour ? 3 : 1, dims[1], dims[2], {}, {}};
  if (grey) {
    pictures.pixels = std::move(values);
    return pictures;
  }
  pictures.pixels.resize(values.size());
  const std::int64_t area = dims[1] * dims[2];
  for (std::int64_t n = 0; n < dims[0]; ++n) {
    for (std::int64_t c = 0; c < 3; ++c) {
      for (std::int64_t i = 0; i < area; ++i) {
        pictures.pixels[static_cast<std::size_t>((n * 3 + c) * area + i)] =
            values[static_cast<std::size_t>((n * area + i) * 3 + c)];
      }
    }
  }
  return pictures;
}

Pictures read_arrays(const SplitFiles& split, UserFiles::Layout layout) {
  Pictures pictures;
  if (layout == UserFiles::Layout::kNpy) {
    NpyBytes images = read_npy_bytes(split.pixels);
    pictures = channels_first(images.dims, std::move(images.values), split.pixels);
    pictures.labels = read_npy_integers(split.labels);
  } else {
    IdxArray images = read_idx(split.pixels, idx_rank(split.pixels), kLayouts);
    pictures = channels_first(images.dims, std::move(images.values), split.pixels);
    const IdxArray labels = read_idx(split.labels, 1, kLayouts);
    pictures.labels.assign(labels.values.begin(), labels.values.end());
  }
  if (static_cast<std::int64_t>(pictures.labels.size()) != pictures.count)
    refuse(split.labels, fmt::format("expected {} labels, one for each image of {}, found {}",
                                     pictures.count, split.pixels, pictures.labels.size()));
  return pictures;
}

// All in colour where any is.
PictureFile in_channels(PictureFile picture, std::int64_t channels) {
  if (picture.channels == channels) return picture;
  const std::vector<std::uint8_t> grey = picture.pixels;
  for (std::int64_t c = 1; c < channels; ++c) {
    picture.pixels.insert(picture.pixels.end(), grey.begin(), grey.end());
  }
  picture.channels = channels;
  return picture;
}

struct ReadFolder {
  std::vector<PictureFile> pictures;
  std::vector<std::int64_t> labels;
  std::vector<std::string> paths;
};

ReadFolder read_folders(const SplitFiles& split, const SplitFiles& names, std::int64_t size) {
  ReadFolder read;
  for (const ClassFolder& each : split.classes) {
    const auto label = std::find_if(names.classes.begin(), names.classes.end(),
                                    [&](const ClassFolder& own) { return own.name == each.name; }) -
                       names.classes.begin();
    for (const std::string& file : each.files) {
      PictureFile picture = read_picture(file);
      if (size > 0) {
        picture.pixels =
            resized(picture.pixels, picture.channels, picture.height, picture.width, size);
        picture.height = picture.width = size;
      }
      read.pictures.push_back(std::move(picture));
      read.labels.push_back(label);
      read.paths.push_back(file);
    }
  }
  return read;
}

Pictures together(const ReadFolder& read, std::int64_t channels, const PictureFile& first,
                  const std::string& first_path) {
  Pictures all{static_cast<std::int64_t>(read.pictures.size()),
               channels,
               first.height,
               first.width,
               {},
               read.labels};
  for (std::size_t i = 0; i < read.pictures.size(); ++i) {
    const PictureFile& own = read.pictures[i];
    if (own.height != first.height || own.width != first.width)
      throw DataError(fmt::format(
          "{}: expected {}x{} pixels (height x width) as {} has, found {}x{}; --image-size N makes "
          "all pictures N x N",
          read.paths[i], first.height, first.width, first_path, own.height, own.width));
    const PictureFile fitted = in_channels(own, channels);
    all.pixels.insert(all.pixels.end(), fitted.pixels.begin(), fitted.pixels.end());
  }
  return all;
}

Pictures resized_all(Pictures pictures, std::int64_t size) {
  if (size == 0) return pictures;
  Pictures made{pictures.count, pictures.channels, size, size, {}, std::move(pictures.labels)};
  const std::int64_t each = pictures.features();
  for (std::int64_t i = 0; i < pictures.count; ++i) {
    const auto begin = pictures.pixels.begin() + i * each;
    const auto one =
        resized({begin, begin + each}, pictures.channels, pictures.height, pictures.width, size);
    made.pixels.insert(made.pixels.end(), one.begin(), one.end());
  }
  return made;
}

// Some of them, in this order.
Pictures chosen(const Pictures& from, const std::vector<std::int64_t>& places) {
  Pictures some{
      static_cast<std::int64_t>(places.size()), from.channels, from.height, from.width, {}, {}};
  const std::int64_t each = from.features();
  for (const std::int64_t place : places) {
    const auto begin = from.pixels.begin() + place * each;
    some.pixels.insert(some.pixels.end(), begin, begin + each);
    some.labels.push_back(from.labels[static_cast<std::size_t>(place)]);
  }
  return some;
}

std::pair<Pictures, Pictures> drawn_apart(const Pictures& all, double share,
                                          const std::string& folder) {
  const std::int64_t held = std::llround(share * static_cast<double>(all.count));
  if (held < 1 || held >= all.count)
    throw ConfigError(fmt::format(
        "test_share = {} of the {} pictures in {} is {} of them; choose a share that leaves some "
        "of both splits",
        share, all.count, folder, held));
  const auto order = permutation(stream_key(kTestSeed, "test of images"), all.count);
  std::vector<std::int64_t> test(order.begin(), order.begin() + held);
  std::vector<std::int64_t> train(order.begin() + held, order.end());
  std::sort(test.begin(), test.end());
  std::sort(train.begin(), train.end());
  return {chosen(all, train), chosen(all, test)};
}

// A class of which the drawn test split has all pictures.
[[noreturn]] void refuse_drawn(const Config& config, const SplitFiles& files, std::int64_t label,
                               std::int64_t count) {
  const auto at = static_cast<std::size_t>(label);
  throw ConfigError(fmt::format(
      "test_share = {} drew all pictures of class {} in {} ({} of them) for the test split, so "
      "that none is left to train on; give another --test-share, more pictures of the class, or a "
      "test split of its own",
      config.text("test_share"),
      at < files.classes.size() ? files.classes[at].name : std::to_string(label),
      config.text("data_dir"), count));
}

std::int64_t classes_of(const Config& config, const UserFiles& files, const Pictures& train,
                        const Pictures& test) {
  const std::string& folder = config.text("data_dir");
  std::int64_t most = -1;
  for (const Pictures* each : {&train, &test}) {
    for (const std::int64_t label : each->labels) {
      if (label < 0) refuse(folder, fmt::format("expected labels from 0 on, found {}", label));
      most = std::max(most, label);
    }
  }
  std::vector<char> seen(static_cast<std::size_t>(std::min<std::int64_t>(most, train.count)) + 1);
  for (const std::int64_t label : train.labels) {
    if (label < static_cast<std::int64_t>(seen.size())) seen[static_cast<std::size_t>(label)] = 1;
  }
  const auto absent = std::find(seen.begin(), seen.end(), 0);
  if (absent != seen.end() && !files.test) {
    const auto tested = std::count(test.labels.begin(), test.labels.end(), absent - seen.begin());
    if (tested > 0) refuse_drawn(config, files.train, absent - seen.begin(), tested);
  }
  if (absent != seen.end() || most >= train.count)
    refuse(folder,
           fmt::format("expected training pictures of every label 0 to {}, found none of {}", most,
                       absent - seen.begin()));
  if (most < 1) refuse(folder, "expected two classes or more, found one");
  return most + 1;
}

Dataset read_user_images(const Config& config, const UserFiles& files,
                         const std::vector<std::string>& paths) {
  const std::string& folder = config.text("data_dir");
  const std::int64_t size = config.integer("image_size");
  warn_of_others(files, folder);
  Pictures train, test;
  if (files.layout == UserFiles::Layout::kFolders) {
    const ReadFolder first = read_folders(files.train, files.train, size);
    const ReadFolder second =
        files.test ? read_folders(*files.test, files.train, size) : ReadFolder{};
    std::int64_t channels = 1;
    for (const ReadFolder* each : {&first, &second}) {
      for (const PictureFile& own : each->pictures) channels = std::max(channels, own.channels);
    }
    train = together(first, channels, first.pictures.front(), first.paths.front());
    if (files.test) test = together(second, channels, first.pictures.front(), first.paths.front());
  } else {
    train = resized_all(read_arrays(files.train, files.layout), size);
    if (files.test) test = resized_all(read_arrays(*files.test, files.layout), size);
  }
  if (files.test && config.text("test_share") != find_option("test_share")->default_value) {
    throw ConfigError(fmt::format(
        "test_share = {}: {} has a test split of its own, of which all is read; leave it out",
        config.text("test_share"), folder));
  }
  if (!files.test) std::tie(train, test) = drawn_apart(train, config.real("test_share"), folder);
  if (test.count == 0) refuse(folder, "expected test pictures in test/, found none");
  const std::int64_t classes = classes_of(config, files, train, test);
  const SplitFiles& tested = files.test ? *files.test : files.train;
  Dataset dataset =
      dataset_of(kName, train, test, classes, tested.arrays() ? tested.pixels : folder + "/test",
                 files.train.arrays() ? files.train.pixels : folder + "/train", kLayouts);
  if (files.layout != UserFiles::Layout::kFolders) {
    add_files(dataset, paths);
    return dataset;
  }
  std::int64_t bytes = 0;
  for (const auto& path : paths) bytes += static_cast<std::int64_t>(fs::file_size(path));
  const auto* pixels = static_cast<const char*>(dataset.inputs.const_data_ptr());
  dataset.files.push_back({fmt::format("{} ({} pictures)", folder, paths.size()),
                           sha256({pixels, dataset.inputs.nbytes()}), bytes});
  return dataset;
}

std::vector<std::string> user_image_files(const Config& config) {
  return paths_of(find_user_files(config.text("data_dir")));
}

// What of the config the pictures depend on beside the files.
std::string user_image_options(const Config& config) {
  return fmt::format("{} {} {}", kName, config.text("image_size"), config.text("test_share"));
}

Dataset read_user_set(const Config& config) {
  const UserFiles files = find_user_files(config.text("data_dir"));
  const std::vector<std::string> paths = paths_of(files);
  return read_once(paths, user_image_options(config),
                   [&] { return read_user_images(config, files, paths); });
}

// How many inputs and classes there are is known once they are read.
TANDEM_REGISTERED = declare_data_facts(kName, {Dataset::Kind::kImages, 0, 0, 0});
TANDEM_REGISTERED = dataset_readers().add(
    image_set_facts(kName,
                    "images of one's own: .npy arrays, IDX files, or a folder of PNG or JPEG files "
                    "for each class (--data-dir)",
                    "", __FILE__, {"image_size", "test_share"}),
    {user_image_files, read_user_set, user_image_options});

}  // namespace
}  // namespace tandem
