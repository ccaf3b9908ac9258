// The layers hold: an include goes down only, light layers and kernels know no torch header, and no
// .cu file reaches one, through whatever it includes.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "core/files.h"
#include "core/text.h"

namespace tandem::test::core_includes_unit {

namespace fs = std::filesystem;

namespace {

const std::vector<std::string> kLayers = {"core",   "kernels", "config", "store",     "analysis",
                                          "policy", "methods", "cuda",   "data",      "topology",
                                          "nn",     "readout", "probes", "continual", "plan",
                                          "train",  "eval",    "jobs",   "app",       "bench"};
const std::set<std::string> kLight = {"core",     "kernels", "config", "store",
                                      "analysis", "policy",  "methods"};

int rank_of(const std::string& layer) {
  const auto at = std::find(kLayers.begin(), kLayers.end(), layer);
  return at == kLayers.end() ? -1 : static_cast<int>(at - kLayers.begin());
}

bool is_torch(const std::string& header) {
  for (const char* prefix : {"torch/", "ATen/", "c10/", "caffe2/"}) {
    if (header.rfind(prefix, 0) == 0) return true;
  }
  return false;
}

struct Include {
  std::string header;
  bool quoted = false;
};

std::vector<Include> includes_of(const std::string& path) {
  std::vector<Include> found;
  for (const auto& raw : split(read_file(path), '\n')) {
    const std::string line = trim(raw);
    if (line.empty() || line[0] != '#') continue;
    const std::string directive = trim(line.substr(1));
    if (directive.rfind("include", 0) != 0) continue;
    const std::string target = trim(directive.substr(7));
    if (target.empty() || (target[0] != '"' && target[0] != '<')) continue;
    const bool quoted = target[0] == '"';
    const auto end = target.find(quoted ? '"' : '>', 1);
    if (end != std::string::npos) found.push_back({target.substr(1, end - 1), quoted});
  }
  return found;
}

// The tree below one root: which layer a file is in, and where a quoted include leads.
class Tree {
 public:
  explicit Tree(std::string root) : root_(std::move(root)) {}

  std::vector<std::string> violations() const {
    std::vector<std::string> found;
    for (const auto& path : files()) check(path, found);
    return found;
  }

  std::vector<std::string> files() const {
    std::vector<std::string> found;
    for (const char* folder : {"src", "analysis", "kernels"}) {
      if (!fs::exists(root_ / folder)) continue;
      for (const auto& each : fs::recursive_directory_iterator(root_ / folder)) {
        const std::string extension = each.path().extension();
        if (each.is_regular_file() && (extension == ".h" || extension == ".cpp" ||
                                       extension == ".cu" || extension == ".cuh")) {
          found.push_back(fs::relative(each.path(), root_));
        }
      }
    }
    std::sort(found.begin(), found.end());
    return found;
  }

 private:
  static std::string layer_of(const std::string& path) {
    const auto parts = split(path, '/');
    return parts[0] == "src" && parts.size() > 2 ? parts[1] : parts[0];
  }

  // Path below the root; "" where the include is none of the project's.
  std::string resolve(const std::string& from, const std::string& header) const {
    for (const fs::path& candidate :
         {fs::path(from).parent_path() / header, fs::path("src") / header, fs::path(header)}) {
      if (fs::is_regular_file(root_ / candidate)) return candidate.lexically_normal();
    }
    return "";
  }

  void check(const std::string& path, std::vector<std::string>& found) const {
    const std::string layer = layer_of(path);
    if (rank_of(layer) < 0) found.push_back(path + " lies in no layer");
    for (const auto& include : includes_of((root_ / path).string())) {
      const std::string says = path + " includes " + include.header;
      if (is_torch(include.header) && kLight.count(layer) != 0) {
        found.push_back(says + ": a torch header in a light layer");
      }
      if (!include.quoted) continue;
      const std::string target = resolve(path, include.header);
      const std::string target_layer = layer_of(target.empty() ? include.header : target);
      if (rank_of(target_layer) > rank_of(layer)) found.push_back(says + ": an upward include");
    }
    if (path.size() > 3 && path.substr(path.size() - 3) == ".cu") {
      std::set<std::string> seen;
      if (reaches_torch(path, seen)) found.push_back(path + " reaches a torch header");
    }
  }

  bool reaches_torch(const std::string& path, std::set<std::string>& seen) const {
    if (!seen.insert(path).second) return false;
    for (const auto& include : includes_of((root_ / path).string())) {
      if (is_torch(include.header)) return true;
      const std::string target = resolve(path, include.header);
      if (!target.empty() && reaches_torch(target, seen)) return true;
    }
    return false;
  }

  fs::path root_;
};

}  // namespace

TEST_CASE("includes of the project go down only and keep torch where it belongs", "[unit]") {
  const Tree tree(TANDEM_SOURCE_DIR);
  CHECK(tree.files().size() > 20);
  for (const auto& violation : tree.violations()) FAIL_CHECK(violation);
}

TEST_CASE("the include check finds each kind of violation", "[unit]") {
  const TemporaryFolder folder;
  const auto file = [&](const std::string& path, const std::string& text) {
    ensure_folder(fs::path(folder / path).parent_path());
    atomic_write(folder / path, text);
  };
  file("src/core/good.h", "#pragma once\n#include <string>\n");
  file("src/nn/good.h", "#include <torch/torch.h>\n#include \"core/good.h\"\n");
  file("kernels/op/op.h", "#include \"core/good.h\"\n");
  file("kernels/op/op_ref.cpp", "#include \"op.h\"\n#include \"kernels/op/op.h\"\n");
  file("src/topology/binding.cpp", "#include <ATen/ATen.h>\n#include \"kernels/op/op.h\"\n");
  file("src/cuda/good.cu", "#include \"core/good.h\"\n");
  CHECK(Tree(folder.path()).violations().empty());

  const auto expect_one = [&](const std::string& path, const std::string& text,
                              const std::string& reason) {
    file(path, text);
    const auto found = Tree(folder.path()).violations();
    INFO(path << ": " << join(found, "; "));
    REQUIRE(found.size() == 1);
    CHECK(found[0].find(reason) != std::string::npos);
    fs::remove(folder / path);
  };
  expect_one("src/core/up.cpp", "#include \"config/config.h\"\n", "upward");
  expect_one("src/data/up.h", "  #  include \"nn/good.h\"\n", "upward");
  expect_one("src/core/beside.cpp", "#include \"../nn/good.h\"\n", "upward");
  expect_one("analysis/up.cpp", "#include \"methods/method.h\"\n", "upward");
  expect_one("kernels/op/up.cpp", "#include \"config/config.h\"\n", "upward");
  expect_one("kernels/op/op_torch.h", "#include <c10/core/Device.h>\n", "light layer");
  expect_one("src/methods/t.cpp", "#include \"torch/torch.h\"\n", "light layer");
  expect_one("src/store/t.h", "#include <ATen/core/Tensor.h>\n", "light layer");
  expect_one("src/nn/direct.cu", "#include <torch/torch.h>\n", "reaches");
  expect_one("src/nn/through.cu", "#include \"nn/good.h\"\n", "reaches");
  expect_one("src/somewhere/x.cpp", "\n", "no layer");
}

}  // namespace tandem::test::core_includes_unit
