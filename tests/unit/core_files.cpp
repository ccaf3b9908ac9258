// Files are whole or absent, and leave nothing behind.
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <stdexcept>

#include "core/error.h"
#include "core/files.h"

namespace tandem::test::core_files_unit {

using Catch::Matchers::Contains;

namespace {

std::size_t entries(const std::string& folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

// No file of this process may grow beyond `bytes` while it lives: a disk that is full, portably.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limited{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limited);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_;
  void (*handler_)(int);
};

}  // namespace

TEST_CASE("atomic_write makes and replaces a file", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "a.bin";
  const std::string bytes("\0one\n", 5);
  atomic_write(path, bytes);
  CHECK(read_file(path) == bytes);
  CHECK(file_size(path) == 5);
  atomic_write(path, [](FileSink& sink) {
    sink.write("tw");
    sink.write("o", 1);
  });
  CHECK(read_file(path) == "two");
  CHECK(entries(folder.path()) == 1);
  atomic_write(path, std::string_view());
  CHECK(read_file(path).empty());
}

TEST_CASE("read_file reads files of every size around its buffer", "[unit]") {
  const TemporaryFolder folder;
  for (const std::size_t size : {1u, 65535u, 65536u, 65537u, 131072u, 300001u}) {
    std::string bytes(size, 'a');
    bytes.back() = 'b';
    atomic_write(folder / "x", bytes);
    CHECK(read_file(folder / "x") == bytes);
  }
  CHECK_THROWS_AS(read_file(folder / "missing"), DataError);
  CHECK_THROWS_WITH(read_file(folder / "missing"), Contains("missing: No such file"));
  CHECK_THROWS_AS(read_file(folder.path()), DataError);
  CHECK_THROWS_AS(file_size(folder / "missing"), DataError);
  CHECK_THROWS_AS(file_size(folder.path()), DataError);
}

TEST_CASE("a write that fails half way leaves the old file and no temporary", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  atomic_write(path, "old");
  std::string message;
  {
    const FileSizeLimit limit(4096);
    try {
      atomic_write(path, std::string(1 << 20, 'x'));
    } catch (const StoreError& error) {
      message = error.what();
    }
  }
  CHECK_THAT(message, Contains(path) && Contains("File too large") && Contains("ulimit"));
  CHECK(read_file(path) == "old");
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("what a callback throws goes through and leaves no temporary", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  CHECK_THROWS_AS(atomic_write(path,
                               [](FileSink& sink) {
                                 sink.write("half");
                                 throw std::logic_error("stop");
                               }),
                  std::logic_error);
  CHECK(entries(folder.path()) == 0);
}

TEST_CASE("atomic_write names the path, the cause and what to do", "[unit]") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(atomic_write(folder / "no/such/a", "x"),
                    Contains("no/such/a") && Contains("No such file") && Contains("make it first"));
  atomic_write(folder / "plain", "x");
  CHECK_THROWS_AS(atomic_write(folder / "plain/a", "x"), StoreError);
  ensure_folder(folder / "full");
  atomic_write(folder / "full/inside", "x");
  CHECK_THROWS_AS(atomic_write(folder / "full", "x"), StoreError);
  CHECK(entries(folder.path()) == 2);
  CHECK_THROWS_AS(atomic_write("/proc/tandem", "x"), StoreError);
}

TEST_CASE("ensure_folder makes parents, twice, and refuses a file", "[unit]") {
  const TemporaryFolder folder;
  ensure_folder(folder / "a/b/c");
  ensure_folder(folder / "a/b/c");
  CHECK(std::filesystem::is_directory(folder / "a/b/c"));
  atomic_write(folder / "file", "x");
  CHECK_THROWS_AS(ensure_folder(folder / "file"), StoreError);
  CHECK_THROWS_AS(ensure_folder(folder / "file/below"), StoreError);
}

TEST_CASE("a temporary folder goes away with what is in it", "[unit]") {
  std::string path;
  {
    const TemporaryFolder folder("prefix");
    path = folder.path();
    CHECK_THAT(path, Contains("prefix"));
    atomic_write(folder / "x", "x");
  }
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("a file lock excludes, says who holds it, and can be had again", "[unit]") {
  const TemporaryFolder folder;
  const std::string path = folder / "db.lock";
  {
    FileLock lock(path);
    CHECK(read_file(path) == std::to_string(::getpid()) + "\n");
    CHECK_THROWS_AS(FileLock(path), StoreError);
    CHECK_THROWS_WITH(FileLock(path), Contains(path) && Contains(std::to_string(::getpid())));
    const FileLock moved(std::move(lock));
    CHECK_THROWS_AS(FileLock(path), StoreError);
  }
  CHECK_NOTHROW(FileLock(path));
  CHECK_THROWS_AS(FileLock(folder / "no/such/lock"), StoreError);
}

}  // namespace tandem::test::core_files_unit
