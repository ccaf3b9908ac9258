// The program: finds the subcommand, and turns errors into messages and exit codes.
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "app/command.h"

namespace {

using tandem::Arguments;

bool asks_for_help(const std::string& word) { return word == "--help" || word == "-h"; }

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
    if (asks_for_help(word)) return print(command_help(command));
  }
  return command.run(args);
}

int report(const char* kind, const char* message, int code) {
  std::fprintf(stderr, "tandem: error: %s%s\n", kind, message);
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return dispatch(Arguments(argv + 1, argv + argc));
  } catch (const tandem::Error& error) {
    return report("", error.what(), error.exit_code());
  } catch (const std::bad_alloc&) {
    return report("", "out of memory: run fewer --jobs or a smaller --batch", tandem::kExitBug);
  } catch (const std::exception& error) {
    return report("a bug in tandem: ", error.what(), tandem::kExitBug);
  } catch (...) {
    return report("a bug in tandem: ", "an exception of unknown type", tandem::kExitBug);
  }
}
