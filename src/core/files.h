// Files that are either whole or absent, and a lock that says who holds it.
// atomic_write: a temporary name in the same folder, write, fsync, rename, fsync of the folder. A
// symbolic link stays: the file that it leads to is replaced, with the rights that it had. What is
// no regular file (a device, a pipe, standard output's own file) is written through.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// What a callback of atomic_write writes to. Throws StoreError.
class FileSink {
 public:
  FileSink(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  void write(const void* data, std::size_t size_bytes);
  void write(std::string_view bytes) { write(bytes.data(), bytes.size()); }

 private:
  int descriptor_;
  std::string path_;
};

// Throw StoreError naming the path, the cause and what to do; the old file, if any, is then
// untouched and no temporary is left. What the callback itself throws goes through.
void atomic_write(const std::string& path, std::string_view bytes);
void atomic_write(const std::string& path, const std::function<void(FileSink&)>& fill);

// The files that one command writes: they appear together at commit(), or none of them does. add()
// makes the folder that is missing and writes a file beside its place; without commit() both go
// away again. What is written through is written at commit(), before any file appears.
class OutputFiles {
 public:
  OutputFiles();
  ~OutputFiles();
  OutputFiles(const OutputFiles&) = delete;
  OutputFiles& operator=(const OutputFiles&) = delete;

  void add(const std::string& path, const std::function<void(FileSink&)>& fill);
  void add(const std::string& path, std::string_view bytes);
  void commit();

 private:
  struct Staged;
  std::vector<std::unique_ptr<Staged>> files_;
  std::vector<std::string> made_folders_;  // outermost first
};

// Takes away the temporaries that are being written. Safe in a signal handler.
void remove_temporaries() noexcept;

// Whether something is at PATH, links followed. Throws StoreError where that can't be said: links
// in a circle, a folder that can't be searched.
bool path_exists(const std::string& path);
// Something is there that is written through: a device, a pipe, standard output's own file.
bool is_special_file(const std::string& path);

// From the root on, with links followed as far as something is there.
std::string whole_path(const std::string& path);

std::string read_file(const std::string& path);    // throws DataError
std::uint64_t file_size(const std::string& path);  // bytes; throws DataError
void ensure_folder(const std::string& path);       // with its parents; throws StoreError
std::string make_temporary_folder(const std::string& prefix = "tandem");  // in $TMPDIR or /tmp

// A folder that goes away with its object.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::string& prefix = "tandem")
      : path_(make_temporary_folder(prefix)) {}
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// An exclusive flock on PATH, which is made where missing, holds the owner's process id, and stays
// when the lock is released. Doesn't wait: throws StoreError that names the holder.
class FileLock {
 public:
  explicit FileLock(const std::string& path);
  ~FileLock();
  FileLock(FileLock&& other) noexcept
      : path_(std::move(other.path_)), descriptor_(other.descriptor_) {
    other.descriptor_ = -1;
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int descriptor_ = -1;
};

// The process id that a FileLock on PATH wrote ("" where it can't be read), while somebody holds
// it; none where nobody does.
std::optional<std::string> lock_holder(const std::string& path);

}  // namespace tandem
