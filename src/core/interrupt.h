// Being asked to stop: SIGINT, SIGTERM and SIGUSR2 (what a cluster sends before its time limit) set
// a flag that the step loop reads between steps. A second SIGINT ends the program at once. A
// program that has nothing to save ends at the first one: with one line that says so, exit code 75,
// and no temporary file left.
#pragma once

namespace tandem {

// `last_line` is printed to standard error; it must live as long as the program.
void end_at_interrupt(const char* last_line);
void install_interrupt_handlers();  // the flag, from now on
bool stop_requested();
int stop_signal();  // the signal that asked first; 0 where none did
void request_stop(int signal);
void clear_stop();

}  // namespace tandem
