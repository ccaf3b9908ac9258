// The images that most tests read, unpacked once.
#pragma once

namespace tandem::test {

// Points TANDEM_DATA at a folder in the build folder that has Fashion-MNIST as plain files beside
// links to what TANDEM_DATA named before. Inflating them takes a third of a second of each process,
// the program's and its workers' too. Nothing changes where the set isn't installed, or where
// TANDEM_DATA has one of its own.
void use_unpacked_data();

}  // namespace tandem::test
