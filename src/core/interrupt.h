// Being asked to stop: SIGINT, SIGTERM and SIGUSR2 (what a cluster sends before its time limit) set
// a flag that the step loop reads between steps. A second SIGINT ends the program at once.
#pragma once

namespace tandem {

void install_interrupt_handlers();  // also after clear_stop(), to arm SIGINT again
bool stop_requested();
int stop_signal();  // the signal that asked first; 0 where none did
void request_stop(int signal);
void clear_stop();

}  // namespace tandem
