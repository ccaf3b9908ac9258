// The plug-in's loader where it cannot load: it says why and what to do, and never throws. The
// plug-in that loads is the subject of tests/gpu.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "cuda/plugin.h"

namespace tandem::test::cuda_plugin_unit {

namespace {

struct TemporaryFolder {
  TemporaryFolder() {
    char name[] = "/tmp/tandem_plugin_XXXXXX";
    path = mkdtemp(name);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

}  // namespace

TEST_CASE("a folder without the CUDA plug-in names the library and the remedy", "[unit]") {
  const TemporaryFolder folder;
  const PluginStatus status = load_cuda_plugin_from(folder.path / "inner");
  CHECK_FALSE(status.loaded);
  CHECK_THAT(status.message, Catch::Contains("libtandem_cuda.so") && Catch::Contains("nvcc"));
}

TEST_CASE("a broken CUDA plug-in is reported with the loader's reason", "[unit]") {
  const TemporaryFolder folder;
  std::ofstream(folder.path / "libtandem_cuda.so") << "not a library";
  std::filesystem::create_directory(folder.path / "tests");
  for (const auto& place : {folder.path, folder.path / "tests"}) {
    const PluginStatus status = load_cuda_plugin_from(place);
    CHECK_FALSE(status.loaded);
    CHECK_THAT(status.message,
               Catch::Contains("did not load") && Catch::Contains("./tandem build"));
  }
}

TEST_CASE("the CUDA plug-in is asked for once and always says something", "[unit]") {
  const PluginStatus& first = load_cuda_plugin();
  CHECK_FALSE(first.message.empty());
  CHECK(&first == &load_cuda_plugin());
}

}  // namespace tandem::test::cuda_plugin_unit
