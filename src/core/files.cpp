// Atomic files, folders and the file lock, on plain POSIX calls.
#include "core/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <thread>

#include "core/error.h"
#include "core/gone_at_signal.h"
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
    case EISDIR:
      return "it is a folder: give the path of a file";
    case ELOOP:
      return "its symbolic links lead in a circle: correct the link or choose another path";
    case ENAMETOOLONG:
      return "shorten the name";
    case EPIPE:
      return "what reads it has ended";
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

}  // namespace

// What OutputFiles is made of; it has a name, since a class of the header holds it.
namespace staging {

// The temporaries that are being written, where a signal handler can find them.
struct Noted {
  static constexpr int kFree = 0, kBeingFilled = 1, kFile = 2, kFolder = 3;
  std::atomic<int> state{kFree};
  char path[PATH_MAX] = {};
};
static_assert(std::atomic<int>::is_always_lock_free);
inline std::array<Noted, 16> noted_temporaries;

inline Noted* note_temporary(const std::string& path, int kind = Noted::kFile) {
  if (path.size() >= PATH_MAX) return nullptr;
  for (Noted& slot : noted_temporaries) {
    int free = Noted::kFree;
    if (!slot.state.compare_exchange_strong(free, Noted::kBeingFilled)) continue;
    std::memcpy(slot.path, path.c_str(), path.size() + 1);
    slot.state.store(kind);
    return &slot;
  }
  return nullptr;
}

// A temporary that goes away unless it was renamed.
class Temporary {
 public:
  explicit Temporary(std::string path) : path_(std::move(path)), noted_(note_temporary(path_)) {}
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  ~Temporary() {
    if (armed_) ::unlink(path_.c_str());
    if (noted_ != nullptr) noted_->state.store(Noted::kFree);
  }
  const std::string& path() const { return path_; }
  void keep() { armed_ = false; }

 private:
  std::string path_;
  Noted* noted_;
  bool armed_ = true;
};

}  // namespace staging

namespace {

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

// Where the bytes of a file go: PATH, or what its symbolic links lead to, which need not be there.
std::string target_of(const std::string& path) {
  std::string at = path;
  for (int links = 0; links < 40; ++links) {
    std::error_code error;
    const auto next = std::filesystem::read_symlink(at, error);
    if (error) return at;
    at = (std::filesystem::path(at).parent_path() / next).string();
  }
  fail("write", path, ELOOP);
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// Standard output's own file would be replaced under its feet.
bool is_standard_output(const struct stat& facts) {
  struct stat own;
  return ::fstat(STDOUT_FILENO, &own) == 0 && same_file(own, facts);
}

void write_through(const std::string& path, const std::function<void(FileSink&)>& fill) {
  struct stat facts;
  const bool ours = ::stat(path.c_str(), &facts) == 0 && is_standard_output(facts);
  if (ours) std::fflush(stdout);
  Descriptor file{ours ? ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)
                       : ::open(path.c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC)};
  if (file.value < 0) fail("write", path, errno);
  FileSink sink(file.value, path);
  fill(sink);
  const int closed = ::close(file.value);
  file.value = -1;
  if (closed != 0) fail("close", path, errno);
}

}  // namespace

namespace staging {

// A file that is written beside its place and takes it at publish(); or the promise to write
// through.
class Staging {
 public:
  Staging(const std::string& path, const std::function<void(FileSink&)>& fill) : path_(path) {
    struct stat old;
    const bool there = ::stat(path.c_str(), &old) == 0;
    if (!there && errno != ENOENT) fail("write", path, errno);
    if (there && S_ISDIR(old.st_mode)) fail("write", path, EISDIR);
    if (there && (!S_ISREG(old.st_mode) || is_standard_output(old))) {
      through_ = fill;
      return;
    }
    target_ = target_of(path);
    temporary_ = std::make_unique<Temporary>(temporary_name(target_));
    stage(fill, there ? &old : nullptr);
  }

  bool writes_through() const { return through_ != nullptr; }

  void publish() {
    if (writes_through()) return write_through(path_, through_);
    if (::rename(temporary_->path().c_str(), target_.c_str()) != 0) fail("replace", path_, errno);
    temporary_->keep();
    sync_folder_of(target_);
  }

 private:
  // The temporary is made after its name is noted, so that no signal can leave it behind.
  void stage(const std::function<void(FileSink&)>& fill, const struct stat* old) {
    Descriptor file{
        ::open(temporary_->path().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)};
    if (file.value < 0) fail("write", path_, errno);
    if (old != nullptr) {  // rights and, where we may, the owner stay as they were
      [[maybe_unused]] const int owned = ::fchown(file.value, old->st_uid, old->st_gid);
      [[maybe_unused]] const int kept = ::fchmod(file.value, old->st_mode & 07777);
    }
    FileSink sink(file.value, path_);
    fill(sink);
    if (::fsync(file.value) != 0) fail("flush", path_, errno);
    const int closed = ::close(file.value);
    file.value = -1;
    if (closed != 0) fail("close", path_, errno);
  }

  std::string path_, target_;
  std::unique_ptr<Temporary> temporary_;
  std::function<void(FileSink&)> through_;
};

}  // namespace staging

namespace {

// The folders of a path that are not there, outermost first.
std::vector<std::string> missing_folders(const std::filesystem::path& folder) {
  std::vector<std::string> missing;
  std::error_code error;
  for (auto at = folder; !at.empty() && !std::filesystem::exists(at, error) && !error;
       at = at.parent_path()) {
    missing.insert(missing.begin(), at.string());
  }
  return missing;
}

}  // namespace

void remove_temporaries() noexcept {
  using staging::Noted;
  for (Noted& slot : staging::noted_temporaries) {
    if (slot.state.load() == Noted::kFile) ::unlink(slot.path);
  }
  // A folder may lie in another one, and places are in no order: each round empties one level.
  for (std::size_t round = 0; round < staging::noted_temporaries.size(); ++round) {
    for (Noted& slot : staging::noted_temporaries) {
      if (slot.state.load() == Noted::kFolder) ::rmdir(slot.path);
    }
  }
}

GoneAtSignal::~GoneAtSignal() {
  for (staging::Noted* place : places_) place->state.store(staging::Noted::kFree);
}

void GoneAtSignal::note_file(const std::string& path) {
  if (auto* place = staging::note_temporary(path)) places_.push_back(place);
}

void GoneAtSignal::note_folder(const std::string& path) {
  auto* place = staging::note_temporary(path, staging::Noted::kFolder);
  if (place != nullptr) places_.push_back(place);
}

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
  staging::Staging(path, fill).publish();
}

void atomic_write(const std::string& path, std::string_view bytes) {
  atomic_write(path, [&](FileSink& sink) { sink.write(bytes); });
}

struct OutputFiles::Staged {
  std::unique_ptr<GoneAtSignal> folders;  // that were made for it
  staging::Staging file;
};

OutputFiles::OutputFiles() = default;

OutputFiles::~OutputFiles() {
  files_.clear();
  for (auto at = made_folders_.rbegin(); at != made_folders_.rend(); ++at) ::rmdir(at->c_str());
}

void OutputFiles::add(const std::string& path, const std::function<void(FileSink&)>& fill) {
  const auto folder = std::filesystem::path(path).parent_path();
  auto folders = std::make_unique<GoneAtSignal>();
  for (auto& missing : missing_folders(folder)) {
    folders->note_folder(missing);
    made_folders_.push_back(std::move(missing));
  }
  ensure_folder(folder.string());
  files_.push_back(
      std::make_unique<Staged>(Staged{std::move(folders), staging::Staging(path, fill)}));
}

void OutputFiles::add(const std::string& path, std::string_view bytes) {
  add(path, [bytes = std::string(bytes)](FileSink& sink) { sink.write(bytes); });
}

void OutputFiles::commit() {
  for (const bool through : {true, false}) {
    for (auto& file : files_) {
      if (file->file.writes_through() == through) file->file.publish();
    }
  }
  files_.clear();
  made_folders_.clear();
}

bool path_exists(const std::string& path) {
  struct stat facts;
  if (::stat(path.c_str(), &facts) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  fail("look at", path, errno);
}

bool is_special_file(const std::string& path) {
  struct stat facts;
  if (::stat(path.c_str(), &facts) != 0 || S_ISDIR(facts.st_mode)) return false;
  return !S_ISREG(facts.st_mode) || is_standard_output(facts);
}

std::string whole_path(const std::string& path) {
  std::error_code error;
  const std::filesystem::path whole = std::filesystem::weakly_canonical(path, error);
  return error ? path : whole.string();
}

std::string read_file(const std::string& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  std::string bytes;
  int error = file.value < 0 ? errno : 0;
  struct stat facts;
  if (error == 0 && ::fstat(file.value, &facts) == 0 && S_ISCHR(facts.st_mode)) {
    throw DataError(path +
                    " is a device, which may have no end; a readable file was expected there");
  }
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
  if (!error && !std::filesystem::is_directory(path, error) && !error) {
    fail("make the folder", path, ENOTDIR);
  }
  if (error) fail("make the folder", path, error.value());
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

namespace {

std::string text_of_lock(int descriptor) {
  char text[32] = {};
  const ssize_t got = ::pread(descriptor, text, sizeof(text) - 1, 0);
  return trim(std::string(text, got > 0 ? static_cast<std::size_t>(got) : 0));
}

// Who asks whether a lock is held has it for some microseconds (lock_holder): so more than once.
bool try_lock(int descriptor, const std::string& path) {
  constexpr int kTries = 20;
  for (int i = 0; i < kTries; ++i) {
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return true;
    if (errno != EWOULDBLOCK) fail("lock", path, errno);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}

// Whether the lock file is still the one at its path: a database that came to nothing takes its
// lock file along.
bool still_there(int descriptor, const std::string& path) {
  struct stat opened, now;
  return ::fstat(descriptor, &opened) == 0 && ::stat(path.c_str(), &now) == 0 &&
         same_file(opened, now);
}

}  // namespace

std::optional<std::string> lock_holder(const std::string& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.value < 0) return std::nullopt;
  if (::flock(file.value, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK) return std::nullopt;
  return text_of_lock(file.value);
}

FileLock::FileLock(const std::string& path) : path_(path) {
  Descriptor file;
  do {
    if (file.value >= 0) ::close(file.value);
    file.value = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file.value < 0) fail("open the lock", path, errno);
    if (!try_lock(file.value, path)) {
      const std::string holder = text_of_lock(file.value);
      throw StoreError(
          fmt::format("{} is locked by {}; wait until that ends, or stop it", path,
                      holder.empty() ? std::string("another process") : "process " + holder));
    }
  } while (!still_there(file.value, path));
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
