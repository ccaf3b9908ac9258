// What goes away where a signal ends the program (core/interrupt.h), beside the temporaries of
// files that are being written.
#pragma once

#include <string>
#include <vector>

namespace tandem {

namespace staging {
struct Noted;
}

// Notes files, and folders that are empty by then, while it lives. Nobody notes more than a few;
// what no place is left for stays.
class GoneAtSignal {
 public:
  GoneAtSignal() = default;
  ~GoneAtSignal();
  GoneAtSignal(const GoneAtSignal&) = delete;
  GoneAtSignal& operator=(const GoneAtSignal&) = delete;

  void note_file(const std::string& path);
  void note_folder(const std::string& path);

 private:
  std::vector<staging::Noted*> places_;
};

}  // namespace tandem
