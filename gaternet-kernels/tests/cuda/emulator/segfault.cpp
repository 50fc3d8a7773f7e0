#include "segfault.h"

#include <dlfcn.h>
#include <signal.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

#include "engine.h"

namespace emulator {
namespace {

thread_local uintptr_t faulting_code, faulting_address;

// "file.cu:12" for an address in the code of this library: the innermost frame that is in a kernel's source
// (an access may be inlined from a header). Binutils' addr2line comes with g++.
std::string source_line(uintptr_t code) {
    Dl_info info;
    if (!dladdr(reinterpret_cast<void*>(code), &info)) return "unknown line";
    char command[512];
    snprintf(command, sizeof command, "addr2line -i -s -e '%s' 0x%zx 2>/dev/null", info.dli_fname,
             static_cast<size_t>(code - reinterpret_cast<uintptr_t>(info.dli_fbase)));
    FILE* pipe = popen(command, "r");
    if (!pipe) return "unknown line";
    std::string found, innermost;
    char line[256];
    while (fgets(line, sizeof line, pipe)) {
        line[strcspn(line, " \n")] = 0;
        if (innermost.empty()) innermost = line;
        if (found.empty() && strstr(line, ".cu:")) found = line;
    }
    pclose(pipe);
    return found.empty() ? innermost : found;
}

// Where the signal handler continues: on the fiber's own stack, outside of the handler.
void report() {
    std::string place = source_line(faulting_code);
    size_t colon = place.rfind(':');
    static thread_local char file[128];
    snprintf(file, sizeof file, "%s", place.substr(0, colon).c_str());
    unsigned line = colon == std::string::npos ? 0 : atoi(place.c_str() + colon + 1);
    fault(error_illegal_address, {file, line}, "out of bounds: address 0x%zx is no one's",
          static_cast<size_t>(faulting_address));
}

struct sigaction previous;

void on_segfault(int, siginfo_t* info, void* context) {
    if (!block) {  // not a kernel's: as if this handler did not exist
        sigaction(SIGSEGV, &previous, nullptr);
        return;
    }
    auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    faulting_code = registers[REG_RIP];
    faulting_address = reinterpret_cast<uintptr_t>(info->si_addr);
    // Below the red zone, aligned as after a call.
    registers[REG_RSP] = ((registers[REG_RSP] - 256) & ~15ll) - 8;
    registers[REG_RIP] = reinterpret_cast<greg_t>(report);
}

}  // namespace

void catch_segfaults() {
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action = {};
        action.sa_sigaction = on_segfault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaction(SIGSEGV, &action, &previous);
    });
    // The handler must not run on a fiber's stack, which may be what overflowed.
    thread_local bool has_stack = false;
    if (has_stack) return;
    has_stack = true;
    stack_t stack = {};
    stack.ss_size = 64 << 10;
    stack.ss_sp = malloc(stack.ss_size);
    sigaltstack(&stack, nullptr);
}

}  // namespace emulator
