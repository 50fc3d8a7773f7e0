// Shared memory: who touched which word since the last block barrier, and asynchronous copies to it.
#include <cstring>

#include "engine.h"
#include "memory.h"

namespace emulator {
namespace {

constexpr size_t copy_bytes = 16;

Word* words_at(const void* pointer, size_t bytes, Where where) {
    auto address = reinterpret_cast<uintptr_t>(pointer);
    auto first = reinterpret_cast<uintptr_t>(block->shared);
    if (address < first || address + bytes > first + block->shared_bytes)
        fault(error_illegal_address, where,
              "out of bounds: byte %lld of %zu bytes of shared memory",
              static_cast<long long>(address - first), block->shared_bytes);
    if (address % bytes)
        fault(error_misaligned_address, where, "misaligned access of %zu bytes", bytes);
    return &block->words[(address - first) / 4];
}

void on_write(Word& word, Where where) {
    uint16_t self = static_cast<uint16_t>(running().index);
    if (word.in_flight)
        fault(error_launch_failed, where, "race: written while a copy of thread %u is in flight",
              word.writer);
    if (word.write_epoch == block->epoch && word.writer != self)
        fault(error_launch_failed, where, "race: thread %u wrote it, no barrier since", word.writer);
    if (word.read_epoch == block->epoch && word.reader != self)
        fault(error_launch_failed, where, "race: another thread read it, no barrier since");
    word.writer = self;
    word.write_epoch = block->epoch;
    if (!word.unfenced) running().unfenced.push_back(&word);
    word.unfenced = true;
}

}  // namespace

void on_shared_read(const void* pointer, size_t bytes, Where where) {
    Word* words = words_at(pointer, bytes, where);
    uint16_t self = static_cast<uint16_t>(running().index);
    for (size_t i = 0; i < (bytes + 3) / 4; i++) {
        Word& word = words[i];
        if (word.in_flight)
            fault(error_launch_failed, where, "race: a copy of thread %u has not landed",
                  word.writer);
        if (word.write_epoch == block->epoch && word.writer != self)
            fault(error_launch_failed, where, "race: thread %u wrote it, no barrier since",
                  word.writer);
        bool others = word.read_epoch == block->epoch && word.reader != self;
        word.reader = others ? many : self;
        word.read_epoch = block->epoch;
    }
}

void on_shared_write(void* pointer, size_t bytes, Where where) {
    Word* words = words_at(pointer, bytes, where);
    for (size_t i = 0; i < (bytes + 3) / 4; i++) on_write(words[i], where);
}

void issue_copy(void* target, const void* source, bool valid, Where where) {
    if (valid && reinterpret_cast<uintptr_t>(source) % copy_bytes)
        fault(error_misaligned_address, where, "cp.async from an address not aligned to 16 bytes");
    if (valid && !is_device_memory(source, copy_bytes))
        fault(error_illegal_address, where, "out of bounds: cp.async reads outside of an allocation");
    Word* words = words_at(target, copy_bytes, where);
    for (size_t i = 0; i < copy_bytes / 4; i++) {
        on_write(words[i], where);
        words[i].in_flight = true;
    }
    memset(target, 0xff, copy_bytes);
    Thread& self = running();
    self.copies.push_back({static_cast<unsigned char*>(target),
                           valid ? static_cast<const unsigned char*>(source) : nullptr,
                           self.copy_groups, where});
}

void wait_for_copies(size_t groups_left) {
    Thread& self = running();
    size_t landed = 0;
    for (const AsyncCopy& copy : self.copies) {
        if (copy.group + groups_left >= self.copy_groups) break;
        if (copy.source)
            memcpy(copy.target, copy.source, copy_bytes);
        else
            memset(copy.target, 0, copy_bytes);
        Word* words = words_at(copy.target, copy_bytes, copy.where);
        for (size_t i = 0; i < copy_bytes / 4; i++) {
            words[i].in_flight = false;
            words[i].write_epoch = block->epoch;
            if (!words[i].unfenced) self.unfenced.push_back(&words[i]);
            words[i].unfenced = true;
        }
        landed++;
    }
    self.copies.erase(self.copies.begin(), self.copies.begin() + static_cast<long>(landed));
}

}  // namespace emulator
