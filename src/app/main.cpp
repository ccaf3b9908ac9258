// The program: finds the subcommand, and turns errors into messages and exit codes.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <new>
#include <string>
#include <system_error>

#include "app/command.h"
#include "config/command_line.h"
#include "core/interrupt.h"

namespace {

using tandem::Arguments;

constexpr const char* kLastLine =
    "\ntandem: stopped before the end; nothing half-written is left, and the same command begins "
    "anew\n";

bool asks_for_help(const std::string& word) {
  return word == "--help" || word == "-h" || word == "--help-all";
}

int print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  return tandem::kExitDone;
}

int dispatch(Arguments args) {
  if (args.empty()) {
    std::fputs(tandem::program_help().c_str(), stderr);
    return tandem::kExitConfig;
  }
  const std::string name = args.front();
  if (asks_for_help(name) || (name == "help" && args.size() == 1)) {
    return print(tandem::program_help());
  }
  if (name == "--version") return print(tandem::version_text() + "\n");
  if (name == "help") return print(command_help(tandem::find_command(args[1])));
  const tandem::Command& command = tandem::find_command(name);
  args.erase(args.begin());
  for (const auto& word : args) {
    if (word == "--") break;
    if (asks_for_help(word)) return print(command_help(command, word == "--help-all"));
  }
  if (!command.hidden) tandem::end_at_interrupt(kLastLine);
  return command.run(args);
}

int report(const std::string& message, int code) {
  std::fprintf(stderr, "tandem: error: %s\n", message.c_str());
  return code;
}

// A message that names no file is about the command line, where options have hyphens.
std::string as_said(const tandem::Error& error) {
  const std::string message = error.what();
  const bool of_command_line =
      message.rfind("option '", 0) == 0 || message.rfind("unknown value of option '", 0) == 0;
  return of_command_line ? tandem::words_of_command_line(message) : message;
}

// What an error of the library below says, and what it means for who waits.
int report_foreign(const std::exception& error) {
  const std::string said = error.what();
  if (const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&error)) {
    return report(fmt::format("{}: {}; correct the path, or what is there", file->path1().string(),
                              file->code().message()),
                  tandem::kExitStore);
  }
  const bool no_memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
                         said.find("DefaultCPUAllocator") != std::string::npos;
  if (no_memory) {
    return report(
        "out of memory: fewer --jobs, a smaller --batch or a smaller net need less; a "
        "query needs less with LIMIT",
        tandem::kExitDevice);
  }
  if (dynamic_cast<const std::system_error*>(&error) != nullptr) {
    if (std::ferror(stdout) != 0) return tandem::kExitDone;  // flush_output() says so
    return report("the system refused: " + said +
                      "; are its limits of processes, threads or open "
                      "files too low?",
                  tandem::kExitDevice);
  }
  return report("a bug in tandem: " + said, tandem::kExitBug);
}

template <class Work>
int guarded(const Work& work) {
  try {
    return work();
  } catch (const tandem::Error& error) {
    return report(as_said(error), error.exit_code());
  } catch (const std::exception& error) {
    return report_foreign(error);
  } catch (...) {
    return report("a bug in tandem: an exception of unknown type", tandem::kExitBug);
  }
}

// A file that is opened must not get the number of a standard stream that was closed, where what is
// printed would go into it.
void open_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) >= 0) continue;
    [[maybe_unused]] const int opened =
        ::open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY);
  }
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_streams();
  const int code = guarded([&] { return dispatch(Arguments(argv + 1, argv + argc)); });
  const int flushed = guarded([] {
    tandem::flush_output();
    return int{tandem::kExitDone};
  });
  // At once: what LibTorch undoes at the exit of a process takes as long as half of its start, and
  // all that was printed is flushed.
  std::_Exit(code == tandem::kExitDone ? flushed : code);
}
