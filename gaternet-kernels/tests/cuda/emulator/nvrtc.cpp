// A stand-in for NVRTC beside the stand-in for the driver: it "compiles" a source to an image that says its
// name, so that compiling, caching and loading are tested without NVIDIA's compiler.
#include <cstring>
#include <string>
#include <vector>

namespace {

struct Program {
    std::string name, image;
};
constexpr int success = 0, invalid_input = 3, invalid_program = 4, compilation_failed = 6;
int compiled = 0;

}  // namespace

extern "C" {

// Programs compiled so far.
int emulator_compiled() { return compiled; }

int nvrtcVersion(int* major, int* minor) {
    *major = 13;
    *minor = 0;
    return success;
}
const char* nvrtcGetErrorString(int) { return "error of the stand-in for NVRTC"; }
int nvrtcCreateProgram(void** program, const char* source, const char* name, int headers,
                       const char* const*, const char* const*) {
    if (!source || !name || !headers) return invalid_input;
    *program = new Program{name, ""};
    return success;
}
int nvrtcDestroyProgram(void** program) {
    delete static_cast<Program*>(*program);
    *program = nullptr;
    return success;
}
int nvrtcCompileProgram(void* program, int options, const char* const* option) {
    auto* p = static_cast<Program*>(program);
    if (!p) return invalid_program;
    bool architecture = false;
    for (int i = 0; i < options; i++)
        architecture |= !strncmp(option[i], "--gpu-architecture=sm_", 22);
    if (!architecture) return compilation_failed;
    p->image = "\177ELF EMULATED " + p->name;
    compiled++;
    return success;
}
int nvrtcGetProgramLogSize(void*, size_t* bytes) {
    *bytes = sizeof "no --gpu-architecture";
    return success;
}
int nvrtcGetProgramLog(void*, char* log) {
    strcpy(log, "no --gpu-architecture");
    return success;
}
int nvrtcGetCUBINSize(void* program, size_t* bytes) {
    *bytes = static_cast<Program*>(program)->image.size() + 1;
    return success;
}
int nvrtcGetCUBIN(void* program, char* image) {
    strcpy(image, static_cast<Program*>(program)->image.c_str());
    return success;
}
int nvrtcGetPTXSize(void* program, size_t* bytes) { return nvrtcGetCUBINSize(program, bytes); }
int nvrtcGetPTX(void* program, char* image) { return nvrtcGetCUBIN(program, image); }

}  // extern "C"
