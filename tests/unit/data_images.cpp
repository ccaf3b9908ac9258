// Image sets: search, splits, normalisation, and the real files where they exist.
#include <ATen/ATen.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "core/error.h"
#include "core/hash.h"
#include "data/dataset.h"
#include "data/idx.h"
#include "support/skip.h"
#include "unit/data_files.h"

namespace tandem::test::data_images_unit {
namespace {

using Catch::Matchers::Contains;

std::shared_ptr<const Dataset> load(const std::string& data, const std::string& folder,
                                    Settings more = {}) {
  more["data"] = data;
  more["data_dir"] = folder;
  return load_dataset(Config::resolve(more));
}

bool have_fashion() {
  return !find_idx("/usr/share/datasets/fashion-mnist", "train-images-idx3-ubyte").empty();
}

}  // namespace

TEST_CASE("an image set is read with its labels, training before test", "[unit]") {
  const TemporaryFolder folder;
  test::write_image_set(folder.path(), 40, 10);
  const auto data = load("mnist", folder.path(), {{"validation", "0"}});
  CHECK(data->name == "mnist");
  CHECK(data->features == 6);
  CHECK(data->classes == 10);
  REQUIRE(data->inputs.sizes() == at::IntArrayRef({50, 6}));
  CHECK(data->inputs.scalar_type() == at::kByte);
  CHECK(data->train.size() == 40);
  CHECK(data->train.back() == 39);
  CHECK(data->validation.empty());
  CHECK(data->test.front() == 40);
  CHECK(data->test.size() == 10);
  const std::string first = test::noise(6, 1), first_test = test::noise(6, 2);
  for (int i = 0; i < 6; ++i) {
    CHECK(data->inputs[0][i].item<std::uint8_t>() == static_cast<std::uint8_t>(first[i]));
    CHECK(data->inputs[40][i].item<std::uint8_t>() == static_cast<std::uint8_t>(first_test[i]));
  }
  CHECK(data->labels[13].item<std::int64_t>() == 3);
  CHECK(data->labels[49].item<std::int64_t>() == 9);
  REQUIRE(data->files.size() == 4);
  for (const auto& file : data->files) {
    CHECK(file.sha256 == sha256_file(file.path));
    CHECK(file.bytes == static_cast<std::int64_t>(file_size(file.path)));
  }
}

TEST_CASE("a data set is found in subfolders of its name, those first", "[unit]") {
  const TemporaryFolder folder;
  test::write_image_set(folder.path(), 30, 10);
  CHECK(load("kmnist", folder.path())->inputs.size(0) == 40);
  test::write_image_set(folder / "MNIST/raw", 20, 10);
  CHECK(load("mnist", folder.path())->inputs.size(0) == 30);
  test::write_image_set(folder / "mnist", 10, 10);
  CHECK(load("mnist", folder.path(), {{"validation", "0"}})->inputs.size(0) == 20);
}

TEST_CASE("a folder that is named is the only one that is looked in", "[unit]") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "empty");
  CHECK_THROWS_WITH(load("fashion_mnist", folder / "empty"),
                    Contains("fashion_mnist: expected a file train-images-idx3-ubyte") &&
                        Contains(folder / "empty") &&
                        !Contains("/usr/share/datasets/fashion-mnist"));
  CHECK_THROWS_WITH(load("fashion_mnist", folder / "absent"), Contains(folder / "absent") &&
                                                                  Contains("--data-dir") &&
                                                                  !Contains("TANDEM_DATA"));
  test::write_image_set(folder / "own", 40, 10);
  const auto own = load("fashion_mnist", folder / "own", {{"validation", "0"}});
  CHECK(own->train.size() == 40);
  CHECK(own->files.front().path.rfind(folder / "own", 0) == 0);
}

TEST_CASE("TANDEM_DATA is searched, and what it lacks is found where it is installed", "[unit]") {
  const TemporaryFolder folder;
  test::write_image_set(folder / "mnist", 30, 10);
  const char* before = std::getenv("TANDEM_DATA");
  const std::string kept = before == nullptr ? "" : before;
  ::setenv("TANDEM_DATA", folder.path().c_str(), 1);
  const auto found = load("mnist", "", {{"validation", "0"}});
  const auto fashion = have_fashion() ? load("fashion_mnist", "") : nullptr;
  before == nullptr ? ::unsetenv("TANDEM_DATA") : ::setenv("TANDEM_DATA", kept.c_str(), 1);
  CHECK(found->train.size() == 30);
  if (fashion != nullptr) CHECK(fashion->inputs.size(0) == 70000);
}

TEST_CASE("the validation split leaves the rest and doesn't depend on the seed", "[unit]") {
  const TemporaryFolder folder;
  test::write_image_set(folder.path(), 40, 10);
  const auto data = load("mnist", folder.path(), {{"validation", "0.2"}});
  CHECK(data->validation.size() == 8);
  CHECK(data->train.size() == 32);
  std::set<std::int64_t> all(data->train.begin(), data->train.end());
  all.insert(data->validation.begin(), data->validation.end());
  CHECK(all.size() == 40);
  CHECK(*all.rbegin() == 39);
  CHECK(data->validation != std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7});
  const auto again = load("mnist", folder.path(), {{"validation", "0.2"}, {"seed", "9"}});
  CHECK(again->validation == data->validation);
}

TEST_CASE("train_examples keeps a nested part of the training examples", "[unit]") {
  const TemporaryFolder folder;
  test::write_image_set(folder.path(), 40, 10);
  const auto cut = [&](const char* n) {
    return load("mnist", folder.path(), {{"validation", "0.2"}, {"train_examples", n}});
  };
  const auto all = cut("0"), twelve = cut("12"), five = cut("5");
  CHECK(twelve->train.size() == 12);
  CHECK(five->train.size() == 5);
  CHECK(std::includes(twelve->train.begin(), twelve->train.end(), five->train.begin(),
                      five->train.end()));
  CHECK(std::includes(all->train.begin(), all->train.end(), twelve->train.begin(),
                      twelve->train.end()));
  CHECK(twelve->validation == all->validation);
  CHECK_THROWS_AS(cut("33"), ConfigError);
}

TEST_CASE("standardized data has the training examples' mean and deviation", "[unit]") {
  const TemporaryFolder folder;
  test::write_image_set(folder.path(), 40, 10);
  const auto data =
      load("mnist", folder.path(), {{"normalize", "standardized"}, {"train_examples", "7"}});
  const at::Tensor rows = at::tensor(data->train);
  const at::Tensor x = data->inputs.index_select(0, rows).to(at::kDouble) / 255;
  CHECK(data->mean == Approx(x.mean().item<double>()));
  CHECK(data->deviation == Approx(std::sqrt((x - x.mean()).square().mean().item<double>())));
  const auto raw = load("mnist", folder.path());
  CHECK(raw->mean == 0);
  CHECK(raw->deviation == 1);
}

TEST_CASE("a data set stays loaded, and configs that read alike share it", "[unit]") {
  const TemporaryFolder folder;
  test::write_image_set(folder.path(), 40, 10);
  const auto data = load("mnist", folder.path());
  CHECK(load("mnist", folder.path(), {{"lr", "0.5"}}) == data);
  const auto other = load("mnist", folder.path(), {{"validation", "0.5"}});
  CHECK(other != data);
  CHECK(other->inputs.data_ptr() == data->inputs.data_ptr());
}

TEST_CASE("a missing image set names its files and how to get them", "[unit]") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(load("kmnist", folder.path()),
                    Contains(folder / "kmnist") && Contains("--data-dir") &&
                        Contains("TANDEM_DATA") && Contains("train-images-idx3-ubyte"));
  test::write_image_set(folder.path(), 20, 10);
  std::filesystem::remove(folder / "t10k-labels-idx1-ubyte.gz");
  CHECK_THROWS_WITH(load("kmnist", folder.path()),
                    Contains("t10k-labels-idx1-ubyte") && Contains("found neither"));
}

TEST_CASE("Fashion-MNIST is what was published", "[unit]") {
  if (!have_fashion()) {
    return test::skip("the Debian package dataset-fashion-mnist is not installed");
  }
  const auto data = load_dataset(Config::resolve(
      {{"data", "fashion_mnist"}, {"validation", "0"}, {"normalize", "standardized"}}));
  CHECK(data->train.size() == 60000);
  CHECK(data->test.size() == 10000);
  CHECK(data->features == 784);
  CHECK(data->mean == Approx(0.2860).margin(5e-5));
  CHECK(data->deviation == Approx(0.3530).margin(5e-5));
  CHECK((at::bincount(data->labels) == 7000).all().item<bool>());
}

TEST_CASE("a folder of Fashion-MNIST doesn't pass for MNIST", "[unit]") {
  if (!have_fashion()) {
    return test::skip("the Debian package dataset-fashion-mnist is not installed");
  }
  CHECK_THROWS_WITH(load("mnist", "/usr/share/datasets/fashion-mnist"),
                    Contains("expected the labels of mnist, found those of fashion_mnist"));
}

TEST_CASE("MNIST is what was published", "[unit]") {
  const Config config =
      Config::resolve({{"data", "mnist"}, {"validation", "0"}, {"normalize", "standardized"}});
  std::shared_ptr<const Dataset> data;
  try {
    data = load_dataset(config);
  } catch (const DataError& error) {
    const std::string message = error.what();
    if (message.rfind("mnist: expected a file", 0) != 0) FAIL(message);
    return test::skip("MNIST is not in $TANDEM_DATA: " + message);
  }
  CHECK(data->train.size() == 60000);
  CHECK(data->test.size() == 10000);
  CHECK(data->mean == Approx(0.1307).margin(5e-5));
  CHECK(data->deviation == Approx(0.3081).margin(5e-5));
}

}  // namespace tandem::test::data_images_unit
