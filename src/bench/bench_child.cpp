#include "bench/bench_child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/text.h"

namespace tandem {

BenchChild start_child(const std::string& bench, const std::string& work) {
  const std::string command = "TANDEM_BENCH_WORK='" + work + "' exec /proc/" +
                              std::to_string(getpid()) + "/exe bench " + bench;
  BenchChild child{popen(command.c_str(), "r")};
  if (child.pipe == nullptr) throw DeviceError("a process of the benchmark could not be started");
  return child;
}

std::vector<double> numbers_of(BenchChild child) {
  std::string text;
  char buffer[256];
  while (std::fgets(buffer, sizeof(buffer), child.pipe) != nullptr) text += buffer;
  const int status = pclose(child.pipe);
  std::vector<double> numbers;
  for (const std::string& word : split(trim(text), ' ')) {
    if (const auto number = parse_real(word)) numbers.push_back(*number);
  }
  if (status != 0 || numbers.empty()) {
    throw DeviceError("a process of the benchmark ended with status " + std::to_string(status) +
                      " and said '" + trim(text) + "'");
  }
  return numbers;
}

std::vector<std::string> work_of_child() {
  const char* said = std::getenv("TANDEM_BENCH_WORK");
  return said == nullptr ? std::vector<std::string>() : split(said, ' ');
}

ProgramCost cost_of_program(const std::vector<std::string>& arguments) {
  const auto program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "tandem";
  std::vector<std::string> words = {program.string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const auto begin = std::chrono::steady_clock::now();
  const pid_t child = ::fork();
  if (child == 0) {
    const int nothing = ::open("/dev/null", O_WRONLY);
    ::dup2(nothing, STDOUT_FILENO);
    ::dup2(nothing, STDERR_FILENO);
    ::execv(pointers.front(), pointers.data());
    ::_exit(127);
  }
  int status = 0;
  rusage usage{};
  if (child < 0 || ::wait4(child, &status, 0, &usage) < 0 || status != 0) {
    throw DeviceError(fmt::format("{} ended with status {}", join(words, " "), status));
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  return {taken.count(), static_cast<double>(usage.ru_maxrss) / 1024};
}

double memory_now(const char* what) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(what, 0) != 0) continue;
    const auto number = trim(line.substr(std::string(what).size()));
    return 1024.0 * std::strtod(number.c_str(), nullptr);
  }
  throw DeviceError(std::string("/proc/self/status has no line ") + what);
}

void forget_peak() { std::ofstream("/proc/self/clear_refs") << 5; }

}  // namespace tandem
