#include "app/draw_figure.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "core/error.h"
#include "core/files.h"
#include "core/gone_at_signal.h"
#include "core/text.h"
#include "jobs/process.h"

namespace tandem {
namespace {

// "" where there is none.
std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  for (const std::string& folder : split(path == nullptr ? "" : path, ':')) {
    const std::string file = (folder.empty() ? "." : folder) + "/" + name;
    if (::access(file.c_str(), X_OK) == 0 && std::filesystem::is_regular_file(file)) return file;
  }
  return "";
}

std::string read_all(const Descriptor& from) {
  std::string text;
  char buffer[4096];
  for (ssize_t count; (count = ::read(from.get(), buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(count));
  }
  return text;
}

}  // namespace

std::string gnuplot_program(const std::string& csv) {
  const std::string gnuplot = find_program("gnuplot");
  if (!gnuplot.empty()) return gnuplot;
  throw ConfigError(
      "gnuplot draws figures and is not on the PATH: install it (on Debian the package "
      "gnuplot-nox) and say this again; --out " +
      csv + " writes the points alone");
}

std::string drawn_by(const std::string& gnuplot, const Figure& figure, const std::string& out) {
  const TemporaryFolder folder;
  const std::string drawn = folder / ("figure" + std::filesystem::path(out).extension().string());
  const std::string script = folder / "figure.gp";
  GoneAtSignal noted;
  noted.note_folder(folder.path());
  for (const std::string& file : {drawn, script}) noted.note_file(file);
  atomic_write(script, gnuplot_script(figure, drawn));
  ChildProcess child = spawn({.path = gnuplot, .arguments = {script}, .environment = {}});
  child.input.close();
  const std::string said = read_all(child.errors);
  const int status = wait_for(child.pid);
  std::error_code error;
  if (status != 0 || !std::filesystem::exists(drawn, error) ||
      std::filesystem::file_size(drawn, error) == 0) {
    throw ConfigError(fmt::format(
        "gnuplot ended with {} and drew nothing; it is tried with version 5.4. It said: {}",
        describe_status(status), trim(said)));
  }
  return read_file(drawn);
}

}  // namespace tandem
