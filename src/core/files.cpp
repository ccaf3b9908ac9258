// Atomic files, folders and the file lock, on plain POSIX calls.
#include "core/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

std::string advice(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "the disk or quota is full: free some space or choose another folder";
    case EFBIG:
      return "the file-size limit is reached: raise it (ulimit -f) or choose another folder";
    case EROFS:
      return "the file system is read-only: choose another folder";
    case EACCES:
    case EPERM:
      return "permission is missing: change it or choose another folder";
    case ENOENT:
      return "a folder of the path is missing: make it first";
    case ENOTDIR:
      return "a part of the path is no folder: correct the path";
    default:
      return "correct the cause or choose another path";
  }
}

[[noreturn]] void fail(const std::string& doing, const std::string& path, int error) {
  throw StoreError(
      fmt::format("cannot {} {}: {}; {}", doing, path, std::strerror(error), advice(error)));
}

struct Descriptor {
  int value = -1;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

// Removes the temporary unless it was renamed.
struct Remover {
  std::string path;
  bool armed = true;
  ~Remover() {
    if (armed) ::unlink(path.c_str());
  }
};

void sync_folder_of(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  const Descriptor opened{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (opened.value < 0) fail("open the folder", folder, errno);
  if (::fsync(opened.value) != 0 && errno != EINVAL && errno != ENOTSUP) {
    fail("flush the folder", folder, errno);
  }
}

std::string temporary_name(const std::string& path) {
  static std::atomic<unsigned> counter{0};
  return fmt::format("{}.tmp.{}.{}", path, ::getpid(), counter.fetch_add(1));
}

}  // namespace

void FileSink::write(const void* data, std::size_t size_bytes) {
  const auto* at = static_cast<const char*>(data);
  while (size_bytes > 0) {
    const ssize_t wrote = ::write(descriptor_, at, size_bytes);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) fail("write", path_, errno);
    at += wrote;
    size_bytes -= static_cast<std::size_t>(wrote);
  }
}

void atomic_write(const std::string& path, const std::function<void(FileSink&)>& fill) {
  const std::string temporary = temporary_name(path);
  Descriptor file{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)};
  if (file.value < 0) fail("write", path, errno);
  Remover remover{temporary};
  FileSink sink(file.value, path);
  fill(sink);
  if (::fsync(file.value) != 0) fail("flush", path, errno);
  const int closed = ::close(file.value);
  file.value = -1;
  if (closed != 0) fail("close", path, errno);
  if (::rename(temporary.c_str(), path.c_str()) != 0) fail("replace", path, errno);
  remover.armed = false;
  sync_folder_of(path);
}

void atomic_write(const std::string& path, std::string_view bytes) {
  atomic_write(path, [&](FileSink& sink) { sink.write(bytes); });
}

std::string read_file(const std::string& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  std::string bytes;
  int error = file.value < 0 ? errno : 0;
  std::size_t size = 0;
  while (error == 0) {
    bytes.resize(size + (size < (1u << 16) ? (1u << 16) : size));
    const ssize_t got = ::read(file.value, bytes.data() + size, bytes.size() - size);
    if (got < 0 && errno != EINTR) error = errno;
    if (got == 0) break;
    if (got > 0) size += static_cast<std::size_t>(got);
  }
  if (error != 0) {
    throw DataError(fmt::format("cannot read {}: {}; a readable file was expected there", path,
                                std::strerror(error)));
  }
  bytes.resize(size);
  return bytes;
}

std::uint64_t file_size(const std::string& path) {
  struct stat facts;
  if (::stat(path.c_str(), &facts) != 0) {
    throw DataError(fmt::format("cannot look at {}: {}; a readable file was expected there", path,
                                std::strerror(errno)));
  }
  if (!S_ISREG(facts.st_mode)) {
    throw DataError(fmt::format("{} is no regular file; give the path of one", path));
  }
  return static_cast<std::uint64_t>(facts.st_size);
}

void ensure_folder(const std::string& path) {
  if (path.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) fail("make the folder", path, error.value());
  if (!std::filesystem::is_directory(path)) fail("make the folder", path, ENOTDIR);
}

std::string make_temporary_folder(const std::string& prefix) {
  const char* root = std::getenv("TMPDIR");
  std::string name =
      fmt::format("{}/{}.XXXXXX", root != nullptr && *root != '\0' ? root : "/tmp", prefix);
  if (::mkdtemp(name.data()) == nullptr) fail("make a temporary folder like", name, errno);
  return name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

FileLock::FileLock(const std::string& path) : path_(path) {
  Descriptor file{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)};
  if (file.value < 0) fail("open the lock", path, errno);
  if (::flock(file.value, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) fail("lock", path, errno);
    char text[32] = {};
    const ssize_t got = ::pread(file.value, text, sizeof(text) - 1, 0);
    const std::string holder = trim(std::string(text, got > 0 ? static_cast<std::size_t>(got) : 0));
    throw StoreError(
        fmt::format("{} is locked by {}; wait until that ends, or stop it", path,
                    holder.empty() ? std::string("another process") : "process " + holder));
  }
  const std::string mine = fmt::format("{}\n", ::getpid());
  if (::ftruncate(file.value, 0) != 0) fail("write the lock", path, errno);
  FileSink(file.value, path).write(mine);
  descriptor_ = file.value;
  file.value = -1;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace tandem
