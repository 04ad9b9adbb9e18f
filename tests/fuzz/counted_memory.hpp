/// Counts every operator new of a program: live and peak bytes. To be included by one file of it. Not for threads.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

struct CountedMemory {
  std::size_t live = 0, peak = 0;
};
inline CountedMemory counted_memory;

inline constexpr std::size_t counted_prefix = 16;  // keeps the alignment of malloc and holds the size

inline void* counted_new(std::size_t size) {
  // Nothing needs this much here; refusing it fails the run that asked.
  if (size > std::size_t{1} << 32) throw std::bad_alloc();
  auto* block = static_cast<unsigned char*>(std::malloc(size + counted_prefix));
  if (!block) throw std::bad_alloc();
  std::memcpy(block, &size, sizeof size);
  counted_memory.live += size;
  counted_memory.peak = std::max(counted_memory.peak, counted_memory.live);
  return block + counted_prefix;
}

inline void counted_delete(void* pointer) noexcept {
  if (!pointer) return;
  auto* block = static_cast<unsigned char*>(pointer) - counted_prefix;
  std::size_t size = 0;
  std::memcpy(&size, block, sizeof size);
  counted_memory.live -= size;
  std::free(block);
}

void* operator new(std::size_t size) { return counted_new(size); }
void* operator new[](std::size_t size) { return counted_new(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return counted_new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept { return operator new(size, tag); }
void operator delete(void* pointer) noexcept { counted_delete(pointer); }
void operator delete[](void* pointer) noexcept { counted_delete(pointer); }
void operator delete(void* pointer, std::size_t) noexcept { counted_delete(pointer); }
void operator delete[](void* pointer, std::size_t) noexcept { counted_delete(pointer); }
void operator delete(void* pointer, const std::nothrow_t&) noexcept { counted_delete(pointer); }
void operator delete[](void* pointer, const std::nothrow_t&) noexcept { counted_delete(pointer); }
