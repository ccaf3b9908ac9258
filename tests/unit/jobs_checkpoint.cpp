// Promises of the checkpoint file: whole or ignored, whatever is cut, flipped, lost or left over;
// the older generation is used; nothing stray is left behind.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/log.h"
#include "jobs/checkpoint.h"

namespace tandem::test::jobs_checkpoint_unit {
namespace {

namespace fs = std::filesystem;

Checkpoint sample(int step) {
  const auto fill = static_cast<double>(step);
  return {fmt::format(R"({{"step":{}}})", step),
          {{"aa/parameter/w", at::full({2, 3}, fill, at::kFloat)},
           {"aa/slot/w/momentum", at::full({2, 3}, fill / 2, at::kDouble)},
           {"aa/mask/w", at::full({1}, step, at::kByte)},
           {"bb/count", at::full({}, step, at::kLong)},
           {"bb/empty", at::empty({0, 4}, at::kFloat)}}};
}

int step_of(const std::optional<Checkpoint>& checkpoint) {
  if (!checkpoint) return -1;
  int step = 0;
  REQUIRE(std::sscanf(checkpoint->state.c_str(), "{\"step\":%d}", &step) == 1);
  const Checkpoint expected = sample(step);
  std::map<std::string, at::Tensor> found(checkpoint->tensors.begin(), checkpoint->tensors.end());
  REQUIRE(found.size() == expected.tensors.size());
  for (const auto& [name, tensor] : expected.tensors) {
    REQUIRE(found.at(name).scalar_type() == tensor.scalar_type());
    REQUIRE(at::equal(found.at(name), tensor));
  }
  return step;
}

std::set<std::string> names_in(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& file : fs::directory_iterator(folder)) {
    names.insert(file.path().filename().string());
  }
  return names;
}

struct Quiet {
  Quiet() { set_log_level("off"); }
  ~Quiet() { set_log_level("info"); }
};

// Two generations (steps 1 and 2) in a fresh folder.
struct TwoGenerations {
  TemporaryFolder root;
  std::string folder = root / "group";
  Quiet quiet;
  TwoGenerations() {
    save_checkpoint(folder, sample(1));
    save_checkpoint(folder, sample(2));
  }
  std::string newest(const char* ending) const { return folder + "/checkpoint-000002" + ending; }
  std::string older(const char* ending) const { return folder + "/checkpoint-000001" + ending; }
};

void overwrite(const std::string& path, const std::string& bytes) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  REQUIRE(file != nullptr);
  REQUIRE(std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size());
  std::fclose(file);
}

// Loads, and puts the two files of the newest generation back as they were.
int load_with(const TwoGenerations& two, const char* ending, const std::string& bytes) {
  const std::string manifest = read_file(two.newest(".json"));
  const std::string tensors = read_file(two.newest(".safetensors"));
  overwrite(two.newest(ending), bytes);
  const int step = step_of(load_checkpoint(two.folder));
  fs::remove(two.newest(".json.damaged"));
  fs::remove(two.newest(".safetensors.damaged"));
  overwrite(two.newest(".json"), manifest);
  overwrite(two.newest(".safetensors"), tensors);
  return step;
}

}  // namespace

TEST_CASE("a checkpoint comes back as it was saved, two generations are kept", "[unit]") {
  TwoGenerations two;
  CHECK(step_of(load_checkpoint(two.folder)) == 2);
  save_checkpoint(two.folder, sample(3));
  CHECK(step_of(load_checkpoint(two.folder)) == 3);
  CHECK(names_in(two.folder) ==
        std::set<std::string>{"checkpoint-000002.json", "checkpoint-000002.safetensors",
                              "checkpoint-000003.json", "checkpoint-000003.safetensors"});
}

TEST_CASE("no folder, or an empty one, has no checkpoint", "[unit]") {
  TemporaryFolder root;
  CHECK_FALSE(load_checkpoint(root / "missing").has_value());
  CHECK_FALSE(load_checkpoint(root.path()).has_value());
  CHECK_FALSE(has_checkpoint(root / "missing"));
}

TEST_CASE("a checkpoint cut at any length is ignored and the older one used", "[unit]") {
  TwoGenerations two;
  for (const char* ending : {".json", ".safetensors"}) {
    const std::string whole = read_file(two.newest(ending));
    for (std::size_t length = 0; length < whole.size(); ++length) {
      INFO(ending << " cut to " << length);
      REQUIRE(load_with(two, ending, whole.substr(0, length)) == 1);
    }
    REQUIRE(load_with(two, ending, whole + "x") == 1);
    REQUIRE(load_with(two, ending, whole) == 2);
  }
}

TEST_CASE("a flipped bit anywhere is seen", "[unit]") {
  TwoGenerations two;
  for (const char* ending : {".json", ".safetensors"}) {
    const std::string whole = read_file(two.newest(ending));
    for (std::size_t place = 0; place < whole.size(); ++place) {
      std::string flipped = whole;
      flipped[place] = static_cast<char>(flipped[place] ^ (1 << (place % 8)));
      INFO(ending << " flipped at " << place);
      REQUIRE(load_with(two, ending, flipped) == 1);
    }
  }
}

TEST_CASE("a damaged checkpoint is set aside and its number is not used again", "[unit]") {
  TwoGenerations two;
  overwrite(two.newest(".safetensors"), "junk");
  CHECK(step_of(load_checkpoint(two.folder)) == 1);
  CHECK(fs::exists(two.newest(".safetensors.damaged")));
  CHECK(fs::exists(two.newest(".json.damaged")));
  save_checkpoint(two.folder, sample(3));
  CHECK(fs::exists(two.folder + "/checkpoint-000003.json"));
  CHECK(fs::exists(two.older(".json")));
  CHECK(fs::exists(two.newest(".json.damaged")));
  overwrite(two.folder + "/checkpoint-000003.json", "");
  overwrite(two.older(".json"), "{}");
  CHECK_FALSE(load_checkpoint(two.folder).has_value());
}

TEST_CASE("a save killed between any two of its steps leaves the older checkpoint", "[unit]") {
  TwoGenerations two;
  SECTION("while the tensors were written") {
    overwrite(two.folder + "/checkpoint-000003.safetensors.tmp.77.0", "half");
  }
  SECTION("before the manifest was begun") {
    overwrite(two.folder + "/checkpoint-000003.safetensors", read_file(two.newest(".safetensors")));
  }
  SECTION("while the manifest was written") {
    overwrite(two.folder + "/checkpoint-000003.safetensors", read_file(two.newest(".safetensors")));
    overwrite(two.folder + "/checkpoint-000003.json.tmp.77.1", "{\"body\":");
  }
  SECTION("before the oldest generation was removed") {
    fs::copy_file(two.newest(".json"), two.folder + "/checkpoint-000000.json");
    fs::copy_file(two.newest(".safetensors"), two.folder + "/checkpoint-000000.safetensors");
  }
  CHECK(step_of(load_checkpoint(two.folder)) == 2);
  save_checkpoint(two.folder, sample(5));
  CHECK(step_of(load_checkpoint(two.folder)) == 5);
  CHECK(names_in(two.folder).size() == 4);
}

TEST_CASE("a missing tensors file is damage, a missing manifest is no checkpoint", "[unit]") {
  TwoGenerations two;
  SECTION("tensors") { fs::remove(two.newest(".safetensors")); }
  SECTION("manifest") { fs::remove(two.newest(".json")); }
  CHECK(step_of(load_checkpoint(two.folder)) == 1);
}

TEST_CASE("a checkpoint of another format is refused, not set aside", "[unit]") {
  TwoGenerations two;
  nlohmann::json manifest = nlohmann::json::parse(read_file(two.newest(".json")));
  manifest["body"]["format"] = 2;
  manifest["sha256"] = sha256(manifest["body"].dump());
  overwrite(two.newest(".json"), manifest.dump() + "\n");
  const auto before = names_in(two.folder);
  CHECK_THROWS_AS(load_checkpoint(two.folder), StoreError);
  CHECK(names_in(two.folder) == before);
}

TEST_CASE("a failed save leaves the older checkpoints and no temporaries", "[unit]") {
  TwoGenerations two;
  const auto before = names_in(two.folder);
  SECTION("file-size limit") {
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit old{};
    getrlimit(RLIMIT_FSIZE, &old);
    const auto tensors_bytes = file_size(two.newest(".safetensors"));
    const rlim_t limits[] = {0, 10, tensors_bytes - 1, tensors_bytes, tensors_bytes + 20};
    for (const rlim_t limit : limits) {
      Checkpoint big = sample(7);
      big.state = std::string(2 * tensors_bytes, ' ') + big.state;
      rlimit tight = old;
      tight.rlim_cur = limit;
      setrlimit(RLIMIT_FSIZE, &tight);
      bool failed = false;
      try {
        save_checkpoint(two.folder, big);
      } catch (const StoreError&) {
        failed = true;
      }
      setrlimit(RLIMIT_FSIZE, &old);
      INFO("limit " << limit);
      REQUIRE(failed);
      REQUIRE(names_in(two.folder) == before);
    }
    std::signal(SIGXFSZ, SIG_DFL);
  }
  SECTION("a file where the folder should be") {
    CHECK_THROWS_AS(save_checkpoint(two.newest(".json"), sample(7)), StoreError);
  }
  SECTION("read-only folder") {
    fs::permissions(two.folder, fs::perms::owner_read | fs::perms::owner_exec);
    if (::geteuid() != 0) CHECK_THROWS_AS(save_checkpoint(two.folder, sample(7)), StoreError);
    CHECK(step_of(load_checkpoint(two.folder)) == 2);
    fs::permissions(two.folder, fs::perms::owner_all);
    if (::geteuid() == 0) return;
  }
  CHECK(step_of(load_checkpoint(two.folder)) == 2);
  CHECK(names_in(two.folder) == before);
}

TEST_CASE("removing checkpoints leaves other files alone", "[unit]") {
  TwoGenerations two;
  overwrite(two.folder + "/group.json", "{}");
  remove_checkpoints(two.folder);
  CHECK(names_in(two.folder) == std::set<std::string>{"group.json"});
  fs::remove(two.folder + "/group.json");
  save_checkpoint(two.folder, sample(1));
  remove_checkpoints(two.folder);
  CHECK_FALSE(fs::exists(two.folder));
}

}  // namespace tandem::test::jobs_checkpoint_unit
