// Files are whole or absent, and leave nothing behind.
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <stdexcept>
#include <thread>

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

TEST_CASE("a symbolic link stays, and what it leads to is replaced", "[unit]") {
  const TemporaryFolder folder;
  ensure_folder(folder / "far");
  atomic_write(folder / "far/file", "old");
  REQUIRE(::chmod((folder / "far/file").c_str(), 0640) == 0);
  std::filesystem::create_symlink("far/file", folder / "link");
  std::filesystem::create_symlink("link", folder / "second");
  atomic_write(folder / "second", "new");
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(std::filesystem::is_symlink(folder / "second"));
  CHECK(read_file(folder / "far/file") == "new");
  struct stat facts;
  REQUIRE(::stat((folder / "far/file").c_str(), &facts) == 0);
  CHECK((facts.st_mode & 07777) == 0640);
  CHECK(entries(folder / "far") == 1);

  std::filesystem::create_symlink("far/later", folder / "dangling");
  atomic_write(folder / "dangling", "made");
  CHECK(read_file(folder / "far/later") == "made");
  std::filesystem::create_symlink("circle", folder / "circle");
  CHECK_THROWS_WITH(atomic_write(folder / "circle", "x"), Contains("lead in a circle"));
  CHECK(std::filesystem::is_symlink(folder / "circle"));
  CHECK_THROWS_AS(path_exists(folder / "circle"), StoreError);
  CHECK_THROWS_AS(ensure_folder(folder / "circle"), StoreError);
  CHECK_THROWS_AS(read_file(folder / "circle"), DataError);
}

TEST_CASE("devices and pipes are written through, and a full one is an error", "[unit]") {
  const TemporaryFolder folder;
  CHECK_NOTHROW(atomic_write("/dev/null", "x"));
  CHECK(std::filesystem::is_character_file("/dev/null"));
  CHECK_THROWS_AS(atomic_write("/dev/full", "x"), StoreError);
  CHECK(std::filesystem::is_character_file("/dev/full"));
  std::filesystem::create_symlink("/dev/full", folder / "full");
  CHECK_THROWS_WITH(atomic_write(folder / "full", "x"), Contains("No space left"));
  const std::string pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  std::string got;
  std::thread reader([&] { got = read_file(pipe); });
  atomic_write(pipe, "through");
  reader.join();
  CHECK(got == "through");
  CHECK(std::filesystem::is_fifo(pipe));
  CHECK(is_special_file(pipe));
  CHECK_FALSE(is_special_file(folder.path()));
  CHECK_FALSE(is_special_file(folder / "none"));
  CHECK_THROWS_AS(read_file("/dev/zero"), DataError);  // which has no end
}

TEST_CASE("output files appear together or not at all", "[unit]") {
  const TemporaryFolder folder;
  atomic_write(folder / "a", "old");
  {
    OutputFiles files;
    files.add(folder / "a", "new");
    files.add(folder / "b/c/d", "new");
    CHECK(read_file(folder / "a") == "old");
  }
  CHECK(read_file(folder / "a") == "old");
  CHECK(entries(folder.path()) == 1);  // the folders that it made went as well
  {
    OutputFiles files;
    files.add(folder / "a", "new");
    files.add("/dev/full", "new");
    CHECK_THROWS_AS(files.commit(), StoreError);
  }
  CHECK(read_file(folder / "a") == "old");
  {
    OutputFiles files;
    files.add(folder / "a", "new");
    CHECK_THROWS_AS(files.add(folder.path(), "x"), StoreError);
  }
  CHECK(read_file(folder / "a") == "old");
  OutputFiles files;
  files.add(folder / "a", "new");
  files.add(folder / "b/c/d", "also");
  files.commit();
  CHECK(read_file(folder / "a") == "new");
  CHECK(read_file(folder / "b/c/d") == "also");
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
  CHECK_FALSE(lock_holder(path).has_value());
  {
    const FileLock lock(path);
    CHECK(lock_holder(path) == std::to_string(::getpid()));
  }
  CHECK_FALSE(lock_holder(folder / "none").has_value());
  CHECK_NOTHROW(FileLock(path));
  CHECK_THROWS_AS(FileLock(folder / "no/such/lock"), StoreError);
}

}  // namespace tandem::test::core_files_unit
