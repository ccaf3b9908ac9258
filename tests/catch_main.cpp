// The entry of both test programs. MKL reads MKL_CBWR at its first product: with it a test that is
// started by hand computes the same bits as under CTest. What a planner measures stays in the build
// folder.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "support/skip.h"
#include "unpacked_data.h"

namespace {
bool some_skipped = false;
}

void tandem::test::skip(const std::string& reason) {
  some_skipped = true;
  std::cout << "SKIPPED: " << reason << std::endl;
}

int main(int argc, char* argv[]) {
  setenv("MKL_CBWR", "AUTO,STRICT", 0);
  setenv("TANDEM_CACHE", TANDEM_TEST_CACHE, 1);
  tandem::test::use_unpacked_data();
  const bool failed = Catch::Session().run(argc, argv) != 0;
  std::cout.flush();
  std::fflush(nullptr);
  // At once, as the program does: what LibTorch undoes at the exit of a process takes a while.
  std::_Exit(failed ? 1 : some_skipped ? tandem::test::kSkipped : 0);
}
