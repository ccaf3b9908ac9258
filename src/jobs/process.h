// Child processes by posix_spawn, with pipes on their three standard descriptors. Nothing is ever
// forked: LibTorch's threads don't survive a fork.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace tandem {

// An open descriptor, closed with its object.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() { close(); }

  int get() const { return value_; }
  bool open() const { return value_ >= 0; }
  int release();
  void close();

 private:
  int value_ = -1;
};

struct ChildProcess {
  pid_t pid = -1;
  Descriptor input, output, errors;  // our ends of its stdin, stdout and stderr
};

struct Program {
  std::string path;
  std::vector<std::string> arguments;              // without the program's own name
  std::map<std::string, std::string> environment;  // laid over this process's own
  bool own_group = false;  // a process group of its own: the terminal's Ctrl-C doesn't reach it
};

// Throws StoreError where the system refuses (memory, descriptors, a missing file).
ChildProcess spawn(const Program& program);

// Waits for its end. What it died of, for a message: "exit code 3", "signal 9 (Killed)".
int wait_for(pid_t pid);  // the status of waitpid
std::string describe_status(int status);

void set_nonblocking(int descriptor);

// Cuts a stream of bytes into lines.
class LineBuffer {
 public:
  void append(const char* data, std::size_t size) { bytes_.append(data, size); }
  bool next(std::string& line);  // false: no whole line is there yet
  const std::string& rest() const { return bytes_; }

 private:
  std::string bytes_;
  std::size_t searched_ = 0;
};

}  // namespace tandem
