// Processes that begin at once each unpack into a folder of their own, and the first gives its
// name.
#include "unpacked_data.h"

#include <unistd.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <system_error>
#include <vector>

namespace tandem::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kInstalled = "/usr/share/datasets/fashion-mnist";
constexpr std::size_t kChunkBytes = 1u << 20;

bool unpack_file(const fs::path& from, const fs::path& to) {
  const gzFile in = gzopen(from.c_str(), "rb");
  if (in == nullptr) return false;
  std::ofstream out(to, std::ios::binary);
  std::vector<char> chunk(kChunkBytes);
  int got = 0;
  while ((got = gzread(in, chunk.data(), static_cast<unsigned>(chunk.size()))) > 0) {
    out.write(chunk.data(), got);
  }
  out.close();
  return gzclose_r(in) == Z_OK && got == 0 && out.good();
}

// Whether `to` has all of the installed files.
bool unpack_images(const fs::path& to) {
  std::error_code error;
  if (fs::is_directory(to, error)) return true;
  const fs::path own = to.string() + "." + std::to_string(::getpid());
  fs::create_directories(own, error);
  bool whole = !error;
  for (const auto& entry : fs::directory_iterator(kInstalled, error)) {
    if (entry.path().extension() != ".gz") continue;
    whole = whole && unpack_file(entry.path(), own / entry.path().stem());
  }
  if (whole) fs::rename(own, to, error);
  fs::remove_all(own, error);
  return fs::is_directory(to, error);
}

bool has_images(const fs::path& folder) {
  std::error_code error;
  for (const char* name : {"fashion_mnist", "fashion-mnist", "FashionMNIST"}) {
    if (fs::exists(folder / name, error)) return true;
  }
  return false;
}

void link_all(const fs::path& from, const fs::path& into) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(from, error)) {
    fs::create_symlink(fs::absolute(entry.path()), into / entry.path().filename(), error);
  }
}

}  // namespace

void use_unpacked_data() {
  const char* given = std::getenv("TANDEM_DATA");
  const std::string before = given == nullptr ? "" : given;
  std::error_code error;
  if (!fs::is_directory(kInstalled, error)) return;
  if (!before.empty() && (!fs::is_directory(before, error) || has_images(before))) return;
  const fs::path unpacked = fs::path(TANDEM_TEST_CACHE) / "unpacked" / "fashion_mnist";
  if (!unpack_images(unpacked)) return;
  fs::path folder = unpacked.parent_path();
  if (!before.empty()) {
    const std::string whole = fs::absolute(before).lexically_normal().string();
    folder = fs::path(TANDEM_TEST_CACHE) / "data" / std::to_string(std::hash<std::string>{}(whole));
    fs::create_directories(folder, error);
    fs::create_directory_symlink(unpacked, folder / "fashion_mnist", error);
    link_all(whole, folder);
  }
  ::setenv("TANDEM_DATA", folder.c_str(), 1);
}

}  // namespace tandem::test
