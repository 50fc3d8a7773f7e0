// A stand-in for the driver, libcuda.so.1, whose device is the emulator: the launch code is tested as it is.
//
// It has the functions that cudarc and gaternet-kernels call, with the driver's rules that a caller can break:
// bounds of copies, the 48 KiB of dynamic shared memory without opting in, no synchronisation and no
// copy in a capture. A module is an image made by the stand-in compiler (nvrtc.cpp): "EMULATED file.cu".
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "engine.h"
#include "memory.h"

using emulator::dim3;
using emulator::Kernel;

namespace {

using Result = int;
using DevicePointer = uint64_t;
constexpr Result success = 0, invalid_value = 1, out_of_memory = 2, no_device = 100,
                 invalid_device = 101, invalid_image = 200, not_found = 500, unsupported_in_capture = 900;

// A launch, or setting bytes where there is no kernel.
struct Node {
    const Kernel* kernel;
    dim3 grid, block;
    unsigned shared_bytes;
    std::vector<std::vector<unsigned char>> arguments;
    DevicePointer cleared = 0;
    size_t cleared_bytes = 0;
    unsigned char value = 0;
};
using Graph = std::vector<Node>;

struct Stream {
    bool capturing = false;
    Graph captured;
};

struct Module {
    char file[64];
    std::string fault;
};

struct Function {
    const Kernel* kernel;
    unsigned max_shared_bytes = 48 << 10;
};

constexpr unsigned shared_limit = 227 << 10;
int context_object;
thread_local void* current_context = nullptr;
thread_local std::string planted;

bool capturing(void* stream) { return stream && static_cast<Stream*>(stream)->capturing; }

bool owned(DevicePointer pointer, size_t bytes) {
    return emulator::is_device_memory(reinterpret_cast<void*>(pointer), bytes);
}

int from_environment(const char* name, int otherwise) {
    const char* text = getenv(name);
    return text ? atoi(text) : otherwise;
}

int device_count() { return from_environment("EMULATOR_DEVICES", 1); }

// 10 · major + minor.
int compute_capability() { return from_environment("EMULATOR_COMPUTE_CAPABILITY", 90); }

Result set_bytes(DevicePointer to, unsigned char value, size_t bytes) {
    if (!owned(to, bytes)) return invalid_value;
    memset(reinterpret_cast<void*>(to), value, bytes);
    return success;
}

}  // namespace

extern "C" {

// Why the last launch of this thread failed.
const char* emulator_last_fault() { return emulator::last_fault().c_str(); }

// Modules that this thread loads from now on have kernels with this fault, where there are any; "" for none.
void emulator_plant(const char* fault) { planted = fault; }

Result cuInit(unsigned) { return device_count() ? success : no_device; }
Result cuDriverGetVersion(int* version) {
    *version = from_environment("EMULATOR_DRIVER_VERSION", 13000);
    return success;
}
Result cuDeviceGetCount(int* count) {
    *count = device_count();
    return success;
}
Result cuDeviceGet(int* device, int ordinal) {
    if (ordinal < 0 || ordinal >= device_count()) return invalid_device;
    *device = ordinal;
    return success;
}
Result cuDeviceGetName(char* name, int length, int) {
    snprintf(name, length, "emulator");
    return success;
}
Result cuDeviceGetAttribute(int* value, int attribute, int) {
    switch (attribute) {
        case 16: *value = 2; break;             // multiprocessors
        case 97: *value = shared_limit; break;  // shared memory of a block, on request
        case 75: *value = compute_capability() / 10; break;
        case 76: *value = compute_capability() % 10; break;
        case 115: *value = 1; break;  // memory pools
        default: return invalid_value;
    }
    return success;
}
Result cuDevicePrimaryCtxRetain(void** context, int) {
    *context = &context_object;
    return success;
}
Result cuDevicePrimaryCtxRelease_v2(int) { return success; }
Result cuCtxSetCurrent(void* context) {
    current_context = context;
    return success;
}
Result cuCtxGetCurrent(void** context) {
    *context = current_context;
    return success;
}
Result cuCtxSynchronize() { return success; }

Result cuStreamCreate(void** stream, unsigned) {
    *stream = new Stream;
    return success;
}
Result cuStreamDestroy_v2(void* stream) {
    delete static_cast<Stream*>(stream);
    return success;
}
Result cuStreamSynchronize(void* stream) {
    return capturing(stream) ? unsupported_in_capture : success;
}
Result cuStreamWaitEvent(void*, void*, unsigned) { return success; }
Result cuEventCreate(void** event, unsigned) {
    *event = new char;
    return success;
}
Result cuEventDestroy_v2(void* event) {
    delete static_cast<char*>(event);
    return success;
}
Result cuEventRecord(void*, void*) { return success; }

Result cuMemAllocAsync(DevicePointer* pointer, size_t bytes, void* stream) {
    if (!bytes) return invalid_value;
    if (capturing(stream)) return unsupported_in_capture;
    void* memory = emulator::allocate(bytes);
    *pointer = reinterpret_cast<DevicePointer>(memory);
    return memory ? success : out_of_memory;
}
Result cuMemFreeAsync(DevicePointer pointer, void*) {
    return emulator::release(reinterpret_cast<void*>(pointer)) ? success : invalid_value;
}
Result cuMemcpyHtoDAsync_v2(DevicePointer to, const void* from, size_t bytes, void* stream) {
    if (capturing(stream)) return unsupported_in_capture;
    if (!owned(to, bytes)) return invalid_value;
    memcpy(reinterpret_cast<void*>(to), from, bytes);
    return success;
}
Result cuMemcpyDtoHAsync_v2(void* to, DevicePointer from, size_t bytes, void* stream) {
    if (capturing(stream)) return unsupported_in_capture;
    if (!owned(from, bytes)) return invalid_value;
    memcpy(to, reinterpret_cast<void*>(from), bytes);
    return success;
}
Result cuMemsetD8Async(DevicePointer to, unsigned char value, size_t bytes, void* stream) {
    if (!capturing(stream)) return set_bytes(to, value, bytes);
    Node node{};
    node.cleared = to;
    node.cleared_bytes = bytes;
    node.value = value;
    static_cast<Stream*>(stream)->captured.push_back(std::move(node));
    return success;
}

Result cuModuleLoadData(void** module, const void* image) {
    auto* made = new Module;
    if (sscanf(static_cast<const char*>(image), "\177ELF EMULATED %63s", made->file) != 1) {
        delete made;
        return invalid_image;
    }
    made->fault = planted;
    *module = made;
    return success;
}
Result cuModuleUnload(void* module) {
    delete static_cast<Module*>(module);
    return success;
}
Result cuModuleGetFunction(void** function, void* module, const char* name) {
    const auto* m = static_cast<Module*>(module);
    const Kernel* kernel = emulator::find_kernel((std::string(m->file) + "@" + m->fault).c_str(), name);
    if (!kernel) kernel = emulator::find_kernel(m->file, name);
    if (!kernel) return not_found;
    // A function lives as long as its module: the process, here.
    *function = new Function{kernel};
    return success;
}
Result cuFuncSetAttribute(void* function, int attribute, int value) {
    constexpr int max_dynamic_shared_bytes = 8;
    if (attribute != max_dynamic_shared_bytes || value < 0 || unsigned(value) > shared_limit)
        return invalid_value;
    static_cast<Function*>(function)->max_shared_bytes = unsigned(value);
    return success;
}
Result cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                      unsigned bz, unsigned shared_bytes, void* stream, void** arguments, void**) {
    auto* f = static_cast<Function*>(function);
    if (shared_bytes > f->max_shared_bytes) return invalid_value;
    dim3 grid{gx, gy, gz}, block{bx, by, bz};
    if (!capturing(stream))
        return emulator::launch(*f->kernel, grid, block, shared_bytes, arguments);
    Node node{f->kernel, grid, block, shared_bytes, {}};
    for (size_t i = 0; i < f->kernel->argument_sizes.size(); i++) {
        auto* bytes = static_cast<unsigned char*>(arguments[i]);
        node.arguments.emplace_back(bytes, bytes + f->kernel->argument_sizes[i]);
    }
    static_cast<Stream*>(stream)->captured.push_back(std::move(node));
    return success;
}

Result cuStreamBeginCapture_v2(void* stream, int) {
    if (!stream) return invalid_value;  // the legacy stream cannot be captured
    *static_cast<Stream*>(stream) = {true, {}};
    return success;
}
Result cuStreamEndCapture(void* stream, void** graph) {
    auto* s = static_cast<Stream*>(stream);
    *graph = new Graph(std::move(s->captured));
    *s = {};
    return success;
}
Result cuGraphInstantiateWithFlags(void** executable, void* graph, uint64_t) {
    *executable = new Graph(*static_cast<Graph*>(graph));
    return success;
}
Result cuGraphDestroy(void* graph) {
    delete static_cast<Graph*>(graph);
    return success;
}
Result cuGraphExecDestroy(void* graph) {
    delete static_cast<Graph*>(graph);
    return success;
}
Result cuGraphLaunch(void* graph, void*) {
    for (Node& node : *static_cast<Graph*>(graph)) {
        std::vector<void*> arguments;
        for (auto& bytes : node.arguments) arguments.push_back(bytes.data());
        Result result = node.kernel ? emulator::launch(*node.kernel, node.grid, node.block, node.shared_bytes,
                                                       arguments.data())
                                    : set_bytes(node.cleared, node.value, node.cleared_bytes);
        if (result) return result;
    }
    return success;
}

Result cuGetErrorName(Result error, const char** name) {
    switch (error) {
        case invalid_value: *name = "CUDA_ERROR_INVALID_VALUE"; break;
        case no_device: *name = "CUDA_ERROR_NO_DEVICE"; break;
        case invalid_image: *name = "CUDA_ERROR_INVALID_IMAGE"; break;
        case not_found: *name = "CUDA_ERROR_NOT_FOUND"; break;
        case emulator::error_illegal_address: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
        case emulator::error_misaligned_address: *name = "CUDA_ERROR_MISALIGNED_ADDRESS"; break;
        case emulator::error_launch_failed: *name = "CUDA_ERROR_LAUNCH_FAILED"; break;
        default: *name = "CUDA_ERROR"; break;
    }
    return success;
}
// The driver's text, and for a failed launch the emulator's.
Result cuGetErrorString(Result error, const char** text) {
    cuGetErrorName(error, text);
    if (!emulator::last_fault().empty()) *text = emulator::last_fault().c_str();
    return success;
}

}  // extern "C"
